"""
A rule as ``nft list ruleset`` prints it.

Lives here: following registers from load to use, for the patterns that nft writes.
Not here: rules of other patterns, which are printed expression by expression (netlink).
"""

from nettrace.model.nft import NftRule, NftTable
from nettrace.parse.nft.netlink import expression_text

__all__ = ["rule_text"]


def rule_text(rule: NftRule, table: NftTable, byteorder: str = "little") -> str:
    """Return the rule's text without its comment."""
    return " ".join(expression_text(one) for one in rule.expressions)
