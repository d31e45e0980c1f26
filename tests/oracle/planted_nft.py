"""
Mistakes in the walk of native nftables and of bridges' rules, for the oracle to find.

Lives here: mistakes in chains, sets and the hooks of a bridge.
Not here: the list of all (planted), iptables.
"""

from bisect import bisect_left
from typing import Any

from tests.oracle.planting import Bug, bug, in_table

__all__ = ["PLANTED_NFT"]


def _goto_comes_back(rules: Any) -> Any:
    def wrong(self: Any, name: str, held: Any, start: int) -> Any:
        went = rules(self, name, held, start)
        return went._replace(code="jump") if went is not None and went.code == "goto" else went

    return wrong


def _begins_one_later(bisect: Any) -> Any:
    return bisect_left


def _masks_ignored(step: Any) -> Any:
    def wrong(rule: Any, expr: Any) -> None:
        rule.registers.store(expr.dreg, rule.registers.load(expr.sreg, expr.length))

    return wrong


def _policies_accept(policy: Any) -> Any:
    return lambda self: None


def _all_before_br_netfilter(bridge_hook: Any) -> Any:
    """Chains of the bridge family run before the ip hooks, whatever their priority is."""

    def wrong(run: Any, skb: Any, point: Any, *, above: int | None = None, below: int | None = None) -> None:
        if above is None:
            bridge_hook(run, skb, point)

    return wrong


def _bridges_have_no_rules(bridge_hook: Any) -> Any:
    return lambda *arguments, **options: None


PLANTED_NFT: tuple[Bug, ...] = (
    bug("nftables: goto comes back", "nft_chain._Walker._rules", _goto_comes_back),
    bug("nftables: an interval begins one later", "nft_set.bisect_right", _begins_one_later),
    bug(
        "nftables: masks are ignored",
        "nft_rule._STEPS",
        lambda steps: in_table(steps, "BitwiseExpr", _masks_ignored),
    ),
    bug("nftables: policies accept", "nft_chain._Walker._policy", _policies_accept),
    bug("bridge: all rules are before br_netfilter", "bridge.bridge_hook", _all_before_br_netfilter, "pods"),
    bug("bridge: its family has no rules", "bridge.bridge_hook", _bridges_have_no_rules, "pods"),
)
