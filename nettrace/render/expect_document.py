"""
From what is owed to the documents of ``nettrace expect``.

Lives here: making them.  Not here: their text (nettrace.render.expect_text).
"""

from typing import Literal

from nettrace.kube.expected import Expected
from nettrace.model.section import Known
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import rule_text
from nettrace.render.contract_expect import ExpectedChainView, ExpectedDocument

__all__ = ["expected_document"]


def expected_document(expected: Expected) -> ExpectedDocument:
    """Make the document of what is owed."""
    family: Literal[4, 6] = 6 if expected.family == 6 else 4
    return ExpectedDocument(
        node=expected.node,
        mode=expected.mode,
        version=expected.version,
        family=family,
        chains=_chains(expected, expected.iptables) if expected.iptables is not None else (),
        nft=expected.nft,
        ipvs=expected.ipvs,
        sysctls=expected.sysctls,
    )


def _chains(expected: Expected, rules: XtRuleset) -> tuple[ExpectedChainView, ...]:
    return tuple(
        ExpectedChainView(
            table=table,
            chain=name,
            policy=chain.value.policy,
            ordered=(table, name) not in expected.unordered,
            rules=tuple(map(rule_text, chain.value.rules)),
        )
        for table, section in rules.tables.items()
        if isinstance(section, Known)
        for name, chain in section.value.chains.items()
        if isinstance(chain, Known)
    )
