"""
Rules that refuse what an agent says to its peers.

Lives here: finding them among the built-in chains of a namespace, as evidence.
Not here: walking a packet through them (nettrace.walk).
"""

from collections.abc import Iterator

from nettrace.diagnose.look import chains_in, rule_ref
from nettrace.model.finding import Evidence
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Tcp
from nettrace.model.xt_target import Drop, Reject
from nettrace.parse.iptables import rule_text

__all__ = ["refusing_tcp"]


def refusing_tcp(snapshot: Snapshot, netns: str, port: int) -> Iterator[Evidence]:
    """Yield the rules of INPUT and OUTPUT that refuse TCP packets for *port* or from it, by its number."""
    for name in ("INPUT", "OUTPUT"):
        for backend, chain in chains_in(snapshot, netns, "filter", name):
            for position, rule in enumerate(chain.rules, 1):
                if _refuses(rule, port):
                    text = f"-A {name} {rule_text(rule)}"
                    yield Evidence(ref=rule_ref(netns, backend, "filter", name, position), text=text)


def _refuses(rule: XtRule, port: int) -> bool:
    tests = [side for one in rule.matches if isinstance(one, Tcp) for side in (one.sport, one.dport)]
    named = any(
        side is not None and not side.invert and side.range.lo <= port <= side.range.hi for side in tests
    )
    return named and isinstance(rule.target, Drop | Reject)
