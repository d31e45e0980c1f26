"""mtu-pod-too-big: the pods' devices take more than the way to other nodes."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import chains_in, link_in, links_in, subject_of, where
from nettrace.model.change import RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import Link
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.parse.iptables import parse_rule

__all__ = ["MTU_POD_TOO_BIG"]

#: iptables-extensions(8): what is agreed on in the handshake then fits the way it takes.
_CLAMP = parse_rule("-p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu")
_ENDS = ("pod", "container")


def _candidates(context: Context) -> Iterator[Candidate]:
    snapshot = context.snapshot
    nodes = {node.netns for node in snapshot.nodes.values()}
    seen: set[tuple[str, str]] = set()
    for failure in context.failures:
        step = failure.step
        if failure.verdict is not Verdict.TOO_BIG or step is None or step.netns not in nodes:
            continue
        narrow = link_in(snapshot, step.netns, step.device)
        wide = _wide(snapshot, context, narrow) if narrow is not None else []
        if narrow is None or not wide or (step.netns, narrow.name) in seen:
            continue
        seen.add((step.netns, narrow.name))
        backend = next((name for name, _ in chains_in(snapshot, step.netns, "mangle", "FORWARD")), "nft")
        place = where(snapshot, step.netns)
        pod, link = wide[0]
        yield Candidate(
            cause="mtu-pod-too-big",
            netns=step.netns,
            where=place,
            subject=subject_of(snapshot, step.netns),
            message=(
                f"pods send {link.mtu} bytes ({link.name} of {pod}), and {narrow.name} on {place} carries "
                f"{narrow.mtu}: small packets arrive, full ones do not"
            ),
            changes=(
                RuleInsert(
                    netns=step.netns,
                    backend=backend,
                    table="mangle",
                    chain="FORWARD",
                    position=1,
                    rule=_CLAMP,
                ),
            ),
            evidence=(
                Evidence(
                    ref=f"{step.netns}/links/{narrow.name}",
                    text=f"{narrow.name} {narrow.kind} mtu {narrow.mtu}",
                    note="the way to the other node",
                ),
                *(
                    Evidence(
                        ref=f"{name}/links/{one.name}", text=f"{one.name} mtu {one.mtu}", note=f"of {name}"
                    )
                    for name, one in wide[:2]
                ),
            ),
            safety=Safety.GUARDED,
            owner="the CNI configuration",
            overwritten="not by itself; it goes with the next reload of the firewall, and covers TCP only",
            lasting=(
                f"set the MTU of pods to {narrow.mtu} in the CNI configuration and make the pods anew; let "
                "ICMP 'fragmentation needed' through, by which senders would have learned it"
            ),
        )


def _wide(snapshot: Snapshot, context: Context, narrow: Link) -> list[tuple[str, Link]]:
    """Return the pods on the way whose device has a larger MTU than *narrow*."""
    return [
        (name, link)
        for name in context.visited
        if name in snapshot.namespaces and snapshot.namespaces[name].role in _ENDS
        for link in links_in(snapshot, name)
        if link.kind == "veth" and link.mtu > narrow.mtu
    ]


MTU_POD_TOO_BIG = Cause(
    id="mtu-pod-too-big",
    title="the pods' MTU is larger than the tunnel's",
    what=(
        "Pods send packets as large as their own device takes; the tunnel takes less (50 bytes "
        "for VXLAN, 20 for IPIP). The ICMP message that would tell the sender is lost or filtered."
    ),
    shows="Connections come about and then hang: TLS handshakes, large answers; small requests work.",
    dies="On the pod's node, at the tunnel's device: too big, and may not be fragmented.",
    proof="`ip link` shows a larger mtu in the pod than on the tunnel; `ping -M do -s 1472` is not answered.",
    repair="iptables -t mangle -I FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    owner="The CNI configuration.",
    source="flannel#1999, flannel#1614, kube-ovn#4254",
    verdicts=frozenset({Verdict.TOO_BIG}),
    candidates=_candidates,
)
