"""mtu-underlay-blackhole: somewhere between the nodes less fits than the overlay sends."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context, Failure
from nettrace.diagnose.look import chains_in, link_in, subject_of, where
from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Stage, Verdict
from nettrace.parse.iptables import parse_rule

__all__ = ["MTU_UNDERLAY_BLACKHOLE"]

#: Outer IPv4, UDP, VXLAN and inner Ethernet; then IPv4 and TCP inside.
_TUNNEL, _HEADERS = 50, 40


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        narrow = _narrow(snapshot, failure)
        sender = _sender(snapshot, failure)
        if narrow is None or sender is None or (sender[0], narrow[0]) in seen:
            continue
        seen.add((sender[0], narrow[0]))
        (netns, tunnel), (far, link) = sender, narrow
        fits = link.mtu - _TUNNEL
        backend = next((name for name, _ in chains_in(snapshot, netns, "mangle", "FORWARD")), "nft")
        clamp = f"-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {fits - _HEADERS}"
        place = where(snapshot, netns)
        yield Candidate(
            cause="mtu-underlay-blackhole",
            netns=netns,
            where=place,
            subject=subject_of(snapshot, netns),
            message=(
                f"{tunnel.name} on {place} sends packets of {tunnel.mtu + _TUNNEL} bytes, and {link.name} on "
                f"{where(snapshot, far)} takes {link.mtu}: what is larger is lost, and nobody is told"
            ),
            changes=(
                RuleInsert(
                    netns=netns,
                    backend=backend,
                    table="mangle",
                    chain="FORWARD",
                    position=1,
                    rule=parse_rule(clamp),
                ),
            ),
            evidence=(
                Evidence(
                    ref=f"{netns}/links/{tunnel.name}",
                    text=f"{tunnel.name} mtu {tunnel.mtu}, and {_TUNNEL} bytes around it",
                    note="what is sent",
                ),
                Evidence(
                    ref=f"{far}/links/{link.name}", text=f"{link.name} mtu {link.mtu}", note="what is taken"
                ),
            ),
            safety=Safety.GUARDED,
            owner="whoever runs the network between the nodes; the CNI configuration",
            overwritten="not by itself; it goes with the next reload of the firewall, and covers TCP only",
            lasting=(
                f"give all devices between the nodes one MTU, or the tunnel and the pods {fits} "
                "in the CNI configuration"
            ),
        )


def _narrow(snapshot: Snapshot, failure: Failure) -> tuple[str, Link] | None:
    """Return the device that did not take a tunnel's outer packet."""
    step = failure.step
    if failure.verdict is not Verdict.TOO_BIG or step is None or step.why is None:
        return None
    packet = step.before or step.after
    if packet is None or packet.inner is None or packet.is_icmp_error:
        return None
    netns, _, device = step.why.ref.partition("/links/")
    link = link_in(snapshot, netns, device)
    return (netns, link) if link is not None else None


def _sender(snapshot: Snapshot, failure: Failure) -> tuple[str, Link] | None:
    """Return the VXLAN device that wrapped the packet up, and its namespace."""
    steps = failure.leg.steps if failure.leg is not None else ()
    into = [s for s in steps if s.stage is Stage.TUNNEL and s.verdict == "encapsulate"]
    link = link_in(snapshot, into[-1].netns, into[-1].device) if into else None
    return (into[-1].netns, link) if link is not None and link.vxlan is not None else None


MTU_UNDERLAY_BLACKHOLE = Cause(
    id="mtu-underlay-blackhole",
    title="less fits between the nodes than the overlay sends",
    what=(
        "The tunnel's outer packets are larger than some device on the way between the nodes takes (another "
        "MTU on one node or switch, a VPN): they are lost there, and no ICMP message says so."
    ),
    shows="Between two nodes connections come about and hang with the first full packet; small ones work.",
    dies="Between the nodes: dropped by a device that takes less.",
    proof="`ping -M do -s` between the nodes fails above a size smaller than the tunnel's MTU and 50.",
    repair="iptables -t mangle -I FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss UNDERLAY-90",
    owner="Whoever runs the network between the nodes; the CNI configuration.",
    source="spiderpool#5677, kubernetes#124511",
    verdicts=frozenset({Verdict.TOO_BIG}),
    candidates=_candidates,
)
