"""route-localnet-off: a node does not let its own NodePorts be called by 127.0.0.1."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import chains_in, where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.addr import is_loopback
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedSysctl
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.iptables import rule_text

__all__ = ["ROUTE_LOCALNET_OFF"]

_GUARD = "KUBE-FIREWALL"
_BACKENDS = ("nft", "legacy")


def _reads(context: Context) -> Iterator[SectionKey]:
    """The guard's chain: without it the setting opens 127.0.0.0/8 to the network."""
    for item in context.owed:
        if _is_ours(context, item) and item.netns in context.visited:
            for backend in _BACKENDS:
                yield SectionKey(item.netns, f"xt/{backend}/filter/{_GUARD}")


def _is_ours(context: Context, owed: object) -> bool:
    named = isinstance(owed, OwedSysctl) and owed.name.endswith(".route_localnet")
    return named and is_loopback(context.walk.flow.packet.dst)


def _candidates(context: Context) -> Iterator[Candidate]:
    for difference in context.differences:
        owed = difference.owed
        if not _is_ours(context, owed) or not difference.restored.changes:
            continue
        place, guard = where(context.snapshot, owed.netns), _guard(context.snapshot, owed.netns)
        yield owed_candidate(
            context,
            "route-localnet-off",
            [difference],
            f"{place} does not route 127.0.0.0/8, so its own NodePorts cannot be called by 127.0.0.1",
            safety=Safety.GUARDED if guard is not None else Safety.ADVICE,
            overwritten="kube-proxy sets it again when it starts",
            lasting=(
                "call the node's own address instead, which always works; or keep others from setting "
                "net.ipv4.conf.all.route_localnet to 0 (/etc/sysctl.d). "
                + ("" if guard else f"Not without kube-proxy's guard in {_GUARD}: 127.0.0.0/8 would be open")
            ).strip(),
            before=(guard,) if guard is not None else (),
        )


def _guard(snapshot: Snapshot, netns: str) -> Evidence | None:
    """Return kube-proxy's rule that keeps others from 127.0.0.0/8, None where it is not there or not read."""
    for backend, chain in chains_in(snapshot, netns, "filter", _GUARD):
        for number, rule in enumerate(chain.rules, 1):
            text = rule_text(rule)
            if "127.0.0.0/8" in text and text.endswith("-j DROP"):
                ref = f"{netns}/xt/{backend}/filter/{_GUARD}/{number}"
                return Evidence(ref=ref, text=f"-A {_GUARD} {text}", note="it keeps others from 127.0.0.0/8")
    return None


ROUTE_LOCALNET_OFF = Cause(
    id="route-localnet-off",
    title="a node's own NodePorts cannot be called by 127.0.0.1",
    what=(
        "What a node sends to 127.0.0.1:NODEPORT is translated and leaves with a source of 127.0.0.0/8; "
        "the kernel allows that with route_localnet only. kube-proxy sets it, and keeps others out by a rule."
    ),
    shows="`curl 127.0.0.1:NODEPORT` on the node hangs; by the node's own address it works.",
    dies="At the routing decision behind the translation: a martian source.",
    proof="net.ipv4.conf.all.route_localnet is 0 where kube-proxy serves NodePorts on localhost.",
    repair="sysctl -w net.ipv4.conf.all.route_localnet=1, where kube-proxy's guard stands",
    owner="kube-proxy; the node's sysctl configuration.",
    source="kubernetes#90236, kubernetes#90259, kubernetes#28988",
    candidates=_candidates,
    reads=_reads,
)
