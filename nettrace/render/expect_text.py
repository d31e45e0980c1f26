"""
What kube-proxy owes a node, as the tools print it that show it on the node.

Lives here: iptables-save's text.  Lines are never wrapped: the text can be read back.
"""

from collections.abc import Iterator

from nettrace.render.contract_expect import ExpectedChainView, ExpectedDocument
from nettrace.render.page import Look, Page, line

__all__ = ["expected_page"]


def expected_page(document: ExpectedDocument, look: Look) -> Page:
    """Lay the tables out as iptables-save does, one after the other."""
    return tuple(line(text) for text in _iptables(document.chains))


def _iptables(chains: tuple[ExpectedChainView, ...]) -> Iterator[str]:
    for table in dict.fromkeys(chain.table for chain in chains):
        mine = [chain for chain in chains if chain.table == table]
        yield f"*{table}"
        for chain in mine:
            yield f":{chain.chain} {chain.policy or '-'} [0:0]"
        for chain in mine:
            yield from (f"-A {chain.chain} {rule}" for rule in chain.rules)
        yield "COMMIT"
