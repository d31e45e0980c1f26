"""
Trace: resolve, walk, diagnose, and if asked prove it with a real connection.

Lives here: the use case behind `nettrace trace`, and the parts that repair runs again.
"""

from pathlib import Path

from msgspec.structs import replace

from nettrace.align.outcome import compare
from nettrace.app.arrival import arrival_of
from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.names import looked_up
from nettrace.app.owed import owed_state
from nettrace.app.remember import CONNECTED, Question, remember, state_directory
from nettrace.diagnose import Diagnosis, diagnose
from nettrace.diagnose.policies import enforced
from nettrace.kube.describe import describe_chain
from nettrace.kube.resolve import FIRST_SIZES, resolve
from nettrace.model.observation import Observed
from nettrace.model.packet import Packet
from nettrace.model.report import TraceReport
from nettrace.model.walk import Walk
from nettrace.observe.dissect import dissect
from nettrace.observe.pcapng import write_pcapng
from nettrace.observe.rule_trace import watched_connect
from nettrace.observe.shape import Shape
from nettrace.walk import walk

__all__ = ["diagnosis_of", "probe", "trace", "walk_of"]

#: Seconds to wait for a connection.  BRIEF ends it before TCP sends its SYN again: where the
#: first one is lost before its connection is confirmed, the kernel draws another endpoint for
#: the second.  PATIENT waits for ARP to fail (three tries, a second apart: ip-neighbour(8)).
BRIEF = 0.9
PATIENT = 4.0


def trace(
    context: Context,
    question: Question,
    *,
    with_probe: bool = False,
    count: int = 1,
    pcap: Path | None = None,
    dissected: bool = False,
    crafted: bool = False,
) -> TraceReport:
    """
    Answer *question* on *context*.

    With *with_probe*, *count* real connections are made afterwards and compared with the walk;
    their frames are written to *pcap*, and those of the first one *dissected*.  *crafted*: single
    packets by a raw socket instead.
    """
    asked, said = looked_up(context, question)
    walked = walk_of(context, asked)
    diagnosis = diagnosis_of(context, walked, connected=question.goal == CONNECTED)
    remember(context.label, question)
    observed = (
        probe(context, walked, count=count, sport=question.sport, crafted=crafted) if with_probe else None
    )
    if observed is not None and pcap is not None:
        frames = [(n, frame) for n, attempt in enumerate(observed.attempts) for frame in attempt.frames]
        write_pcapng(pcap, frames)
    if observed is not None and dissected and observed.attempts:
        first, *others = observed.attempts
        first = replace(first, frames=dissect(first.first_frames))
        observed = replace(observed, attempts=(first, *others))
    return TraceReport(
        walk=walked,
        findings=diagnosis.findings,
        goal=diagnosis.goal,
        goal_met=diagnosis.met,
        notes=(*said, *diagnosis.notes),
        policies=enforced(context.snapshot, walked),
        observed=observed,
        agreement=compare(walked, observed) if observed is not None else None,
        context=context.label,
        names=names_of(context, walked),
    )


def names_of(context: Context, walked: Walk) -> dict[str, str]:
    """Return what the chains and devices of a walk are to their owners."""
    found: dict[str, str] = {}
    for step in (step for path in walked.paths for leg in path.legs for step in leg.steps):
        things = [f"links/{step.device}"] if step.device else []
        things += [f"xt/{step.table}/{step.chain}"] if step.table and step.chain else []
        for thing in things:
            ref = f"{step.netns}/{thing}"
            if ref not in found:
                said = context.plugins.name(context.snapshot, step.netns, thing)
                chain = step.chain or ""
                if said is None and thing.startswith("xt/") and chain.startswith("KUBE-"):
                    said = describe_chain(context.snapshot.kube, chain)
                found[ref] = said or ""
    return {ref: words for ref, words in found.items() if words}


def walk_of(context: Context, question: Question) -> Walk:
    """Resolve and walk, reading what is needed on the way, a DNS name looked up."""
    question, _ = looked_up(context, question)
    flow = ask(
        context,
        lambda snapshot: resolve(
            snapshot,
            question.source,
            question.target,
            sport=question.sport,
            size=question.size,
            mark=question.mark,
            ttl=question.ttl,
            df=question.df,
            at=question.at,
        ),
    )
    return ask(context, lambda snapshot: walk(snapshot, flow))


def diagnosis_of(context: Context, walked: Walk, *, connected: bool = False) -> Diagnosis:
    """Say why the walk ends as it does, and what would mend it; *connected*: it is stated that it should."""
    owed = owed_state(context)
    return ask(
        context,
        lambda snapshot: diagnose(
            snapshot,
            walked,
            owed=owed,
            causes=context.plugins.causes(),
            owners=context.plugins.owners(),
            connected=connected,
        ),
    )


def probe(
    context: Context, walked: Walk, *, count: int = 1, sport: int | None = None, crafted: bool = False
) -> Observed:
    """
    Make *count* real connections from the flow's source, or send as many *crafted* packets.

    A flow that arrives as a frame is sent by the other end of the device it arrives at; UserError
    where that is not reachable from here.
    """
    flow = walked.flow
    packet = flow.packet
    shape = _shape(packet)._replace(crafted=crafted)
    path = context.path(flow.origin.netns)
    if flow.origin.device is not None:
        arrival = arrival_of(context, flow)
        shape = shape._replace(arrival=arrival.frame)
        path = context.path(arrival.netns)
    return watched_connect(
        {name: context.path(name) for name in _namespaces(walked)},
        path,
        packet.src or None,
        packet.dst,
        packet.dport.single if packet.dport else None,
        packet.proto,
        timeout=PATIENT if any(path.delay for path in walked.paths) else BRIEF,
        count=count,
        sport=sport,
        replies=_replies(walked),
        shape=shape,
        journal=state_directory() / "journal",
    )


def _shape(packet: Packet) -> Shape:
    """Return what the probe's first packet is to look like; what is usual is left to the kernel."""
    usual = FIRST_SIZES[packet.family].get(packet.proto)
    return Shape(
        mark=packet.mark,
        ttl=packet.ttl,
        tos=packet.tos or None,
        size=packet.size if packet.size != usual else None,
        df=packet.df if not packet.df or packet.size != usual else None,
    )


def _namespaces(walked: Walk) -> list[str]:
    """Return the namespaces of all branches, in the order of the way."""
    found = [step.netns for path in walked.paths for leg in path.legs for step in leg.steps]
    return list(dict.fromkeys([walked.flow.origin.netns, *found]))


def _replies(walked: Walk) -> list[Packet]:
    """Return the predicted answers in every shape they have on the way, tunnels left out."""
    found = [
        packet
        for path in walked.paths
        for leg in path.legs
        if leg.kind == "reply"
        for step in leg.steps
        for packet in (step.before, step.after)
        if packet is not None and packet.inner is None
    ]
    return list(dict.fromkeys(found))
