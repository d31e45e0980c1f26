"""bpf-datapath-opaque: a program of BPF decides, and nothing shows how."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, where
from nettrace.model.bpf import BpfProgram, what_was_found
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owner import owner_of_program
from nettrace.model.section import Known
from nettrace.model.step import Verdict

__all__ = ["BPF_DATAPATH_OPAQUE"]


def _candidates(context: Context) -> Iterator[Candidate]:
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        if failure.verdict is not Verdict.UNKNOWN or failure.leg is None:
            continue
        for netns, ref, program in _programs(context):
            # the walk's reason names the programs that it ended at
            named = f"{program.name or 'BPF'} (id {program.id})" in failure.leg.reason
            if named and (ref, str(program)) not in seen:
                seen.add((ref, str(program)))
                yield _candidate(context, netns, ref, program)


def _programs(context: Context) -> Iterator[tuple[str, str, BpfProgram]]:
    """Yield namespace, reference and program of all that was read."""
    for name, space in context.snapshot.namespaces.items():
        for link in space.links.value if isinstance(space.links, Known) else ():
            yield from ((name, f"{name}/links/{link.name}", program) for program in link.bpf)
        sockets = space.socket_programs.value if isinstance(space.socket_programs, Known) else ()
        yield from ((name, f"{name}/socket_programs", program) for program in sockets)


def _candidate(context: Context, netns: str, ref: str, program: BpfProgram) -> Candidate:
    place, owner = where(context.snapshot, netns), owner_of_program(context.owners, program.name)
    look = f"look at it: bpftool prog dump xlated id {program.id}"
    return Candidate(
        cause="bpf-datapath-opaque",
        netns=netns,
        where=place,
        subject=subject_of(context.snapshot, netns),
        message=f"{program} on {place} decides about these packets, and no rule shows how",
        changes=(),
        evidence=(Evidence(ref=ref, text=str(program), note=what_was_found([program])),),
        safety=Safety.ADVICE,
        owner=owner.name if owner is not None else "whoever loaded the program",
        lasting=f"ask its owner: {owner.watch}" if owner is not None and owner.watch else look,
    )


BPF_DATAPATH_OPAQUE = Cause(
    id="bpf-datapath-opaque",
    title="a program of BPF decides, and nothing shows how",
    what=(
        "A program on tc, tcx, XDP or netkit, or on the cgroup of the processes, sees the packet and may "
        "drop, change or redirect it.  What it does cannot be told from outside."
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
