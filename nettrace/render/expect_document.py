"""
From what is owed to the documents of ``nettrace expect``.

Lives here: making them.  Not here: their text (nettrace.render.expect_text).
"""

from typing import Literal

from nettrace.diagnose.departure import Departure, DepartureReport
from nettrace.kube.expected import Expected
from nettrace.model.section import Known
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import rule_text
from nettrace.render.contract_expect import (
    DepartureView,
    ExpectDiffDocument,
    ExpectedChainView,
    ExpectedDocument,
    ShareView,
)
from nettrace.render.contract_state import MissingView

__all__ = ["diff_document", "expected_document"]


def expected_document(expected: Expected) -> ExpectedDocument:
    """Make the document of what is owed."""
    return ExpectedDocument(
        node=expected.node,
        mode=expected.mode,
        version=expected.version,
        family=_family(expected.family),
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


def diff_document(report: DepartureReport) -> ExpectDiffDocument:
    """Make the document of a comparison."""
    return ExpectDiffDocument(
        context=report.label,
        node=report.node,
        mode=report.mode,
        version=report.version,
        families=tuple(map(_family, report.families)),
        equal=False if report.departures else None if report.missing else True,
        differences=tuple(map(_departure, report.departures)),
        missing=tuple(
            MissingView(netns=report.netns, section=name, reason=reason)
            for name, reason in report.missing.items()
        ),
    )


def _family(family: int) -> Literal[4, 6]:
    return 6 if family == 6 else 4


def _departure(found: Departure) -> DepartureView:
    return DepartureView(
        kind=found.kind,
        cause=found.cause,
        meaning=found.meaning,
        subject=found.subject or None,
        family=_family(found.family),
        table=found.table or None,
        chain=found.chain or None,
        owed=found.owed or None,
        found=found.found or None,
        position=found.position,
        shares=tuple(
            ShareView(endpoint=share.endpoint, owed=share.owed, found=share.found) for share in found.shares
        ),
        unmatched=found.unmatched,
    )
