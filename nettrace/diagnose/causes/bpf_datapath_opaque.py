"""bpf-datapath-opaque: a program of BPF decides, and nothing shows how."""

from collections.abc import Iterator
from typing import NamedTuple

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, where
from nettrace.model.bpf import BpfProgram, what_was_found
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owner import Owner, owner_of_program
from nettrace.model.section import Known
from nettrace.model.step import Verdict

__all__ = ["BPF_DATAPATH_OPAQUE"]


class _Met(NamedTuple):
    """What hangs somewhere, as the walk's reason names it; a program of classic BPF has no id."""

    netns: str
    ref: str
    words: str
    program: BpfProgram | None


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    # a stranger's program is told before those of a known data path, which let packets pass every day
    hanging = sorted(_hanging(context), key=lambda met: _owner(context, met) is not None)
    for failure in context.failures:
        if failure.verdict is not Verdict.UNKNOWN or failure.leg is None:
            continue
        for met in hanging:
            # the walk's reason names what it ended at, and where
            place = met.ref.rpartition("/")[2] if met.program is None else ""
            named = met.words in failure.leg.reason and place in failure.leg.reason
            if named and (met.ref, met.words) not in seen:
                seen.add((met.ref, met.words))
                yield _candidate(context, met)


def _hanging(context: Context) -> Iterator[_Met]:
    """Yield what hangs on devices and cgroups, of all namespaces that were read."""
    for name, space in context.snapshot.namespaces.items():
        for link in space.links.value if isinstance(space.links, Known) else ():
            ref = f"{name}/links/{link.name}"
            known = {str(program): program for program in link.bpf}
            # a queue that loses packets, or a tunnel without an end, is no program
            words = (word for word in link.programs if word.startswith(("tc ", "tcx ", "xdp ", "netkit ")))
            yield from (_Met(name, ref, word, known.get(word)) for word in words)
        sockets = space.socket_programs.value if isinstance(space.socket_programs, Known) else ()
        yield from (_Met(name, f"{name}/socket_programs", str(program), program) for program in sockets)


def _owner(context: Context, met: _Met) -> Owner | None:
    return owner_of_program(context.owners, met.program.name) if met.program is not None else None


def _candidate(context: Context, met: _Met) -> Candidate:
    place, program = where(context.snapshot, met.netns), met.program
    owner = _owner(context, met)
    device = met.ref.rpartition("/")[2]
    look = "look at it: "
    look += f"tc filter show dev {device}" if program is None else f"bpftool prog dump xlated id {program.id}"
    return Candidate(
        cause="bpf-datapath-opaque",
        netns=met.netns,
        where=place,
        subject=subject_of(context.snapshot, met.netns),
        message=f"{met.words} on {place} decides about these packets, and no rule shows how",
        changes=(),
        evidence=(
            Evidence(
                ref=met.ref,
                text=met.words,
                note=what_was_found([program]) if program is not None else f"on {device}",
            ),
        ),
        safety=Safety.ADVICE,
        owner=owner.name if owner is not None else "whoever loaded it",
        lasting=f"ask its owner: {owner.watch}" if owner is not None and owner.watch else look,
    )


BPF_DATAPATH_OPAQUE = Cause(
    id="bpf-datapath-opaque",
    title="a program of BPF decides, and nothing shows how",
    what=(
        "A program on tc, tcx, XDP or netkit, at a hook of netfilter, or on the cgroup of the processes, "
        "sees the packet and may drop, change or redirect it.  What it does cannot be told from outside."
    ),
    shows="Rules and routes look right, and packets vanish, or arrive although no rule leads them there.",
    dies="In the program, if at all: the kernel's drop reason is TC_INGRESS, TC_EGRESS or XDP.",
    proof="`nettrace show programs`; `bpftool net`, `bpftool cgroup tree`.",
    repair="Its owner's tools say what it did; the finding names them where the owner is known.",
    owner="Whoever loaded the program.",
    source="cilium#18610, cilium#32411, cilium#14341",
    verdicts=frozenset({Verdict.UNKNOWN}),
    candidates=_candidates,
)
