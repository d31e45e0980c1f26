"""Loading native rule sets into test networks, and holding walks over them against what was watched."""

from nettrace.align.outcome import compare
from nettrace.model.flow import Flow
from nettrace.model.packet import Packet
from nettrace.model.walk import Outcome, Walk
from nettrace.observe.rule_trace import watched_connect
from nettrace.observe.shape import PLAIN, Shape
from tests.kernel.walkbed import Net

__all__ = ["load", "replies", "steps", "watched"]


def load(net: Net, label: str, text: str) -> None:
    """Load a rule set in place of all others, and forget all connections."""
    net[label].run("nft", "-f", "-", stdin=f"flush ruleset\n{text}\n")
    net[label].run("conntrack", "-F", check=False)


def watched(net: Net, flow: Flow, *, count: int = 1) -> Walk:
    """Walk, try under watch, and compare every step; AssertionError with both where they part."""
    answer = net.walked(flow)
    said = "\n".join(
        f"{path.probability:.2f} {path.verdict} {path.outcome}: {path.reason}" for path in answer.paths
    )
    assert answer.outcome is not Outcome.UNKNOWN, said
    packet = flow.packet
    silent = any(path.outcome is Outcome.TIMEOUT for path in answer.paths)
    slow = any(path.delay for path in answer.paths)
    observed = watched_connect(
        {label: space.path for label, space in net.spaces.items()},
        net[flow.origin.netns].path,
        packet.src or None,
        packet.dst,
        packet.dport.single if packet.dport else None,
        packet.proto,
        timeout=0.6 if silent and not slow else 4.0,
        count=count,
        sport=packet.sport.single if packet.sport else None,
        shape=Shape(size=packet.size) if packet.proto == "udp" else PLAIN,
        replies=replies(answer) if packet.proto == "udp" else (),
    )
    agreement = compare(answer, observed, names=tuple(net.spaces))
    assert agreement.agrees, f"{agreement.differences}\nwalk: {said}\n{steps(answer)}"
    for comparison in agreement.comparisons:
        assert comparison.parted is None, f"{comparison.parted}\nwalk: {said}\n{steps(answer)}"
    assert agreement.comparisons
    return answer


def replies(answer: Walk) -> list[Packet]:
    """The answers of a walk as they are anywhere on their way, by which a probe of UDP knows its own."""
    found: dict[Packet, None] = {}
    for path in answer.paths:
        for leg in path.legs:
            for step in leg.steps if leg.kind == "reply" else ():
                found.update(dict.fromkeys(one for one in (step.before, step.after) if one is not None))
    return list(found)


def steps(answer: Walk) -> str:
    """All steps of a walk, for reading."""
    return "\n".join(
        f"{leg.kind} {step.netns} {step.stage} {step.hook or ''} {step.table or ''} {step.chain or ''} "
        f"{step.rule if step.rule is not None else ''} {step.verdict} {step.note}"
        for path in answer.paths
        for leg in path.legs
        for step in leg.steps
    )
