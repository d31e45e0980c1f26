"""
nftables rules as text.

Lives here: a rule's expressions -> what nft would print.
Not here: the expressions themselves (nettrace.model.nft_expr), reading them (nettrace.collect).
"""

from nettrace.parse.nft.text import rule_text

__all__ = ["rule_text"]
