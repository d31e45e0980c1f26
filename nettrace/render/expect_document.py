"""
From what is owed to the documents of ``nettrace expect``.

Lives here: making them.  Not here: their text (nettrace.render.expect_text).
"""

from collections.abc import Sequence
from typing import Literal

from nettrace.diagnose.departure import Departure, DepartureReport
from nettrace.kube.expected import Expected
from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.system import Claim
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import rule_text
from nettrace.render.command import command
from nettrace.render.contract_expect import (
    ComparedView,
    DepartureView,
    ExpectDiffDocument,
    ExpectedChainView,
    ExpectedDocument,
    OwedView,
    OwingView,
    ShareView,
)
from nettrace.render.contract_state import MissingView
from nettrace.render.owed_text import owed_family, owed_lines, owed_tool
from nettrace.render.undo_commands import undo_commands

__all__ = ["claims_document", "diff_document", "expected_document"]


def expected_document(expected: Expected, claims: Sequence[Claim] = ()) -> ExpectedDocument:
    """Make the document of what is owed: by kube-proxy, and by the systems that *claims* are of."""
    return ExpectedDocument(
        node=expected.node,
        mode=expected.mode,
        version=expected.version,
        family=_family(expected.family),
        chains=_chains(expected, expected.iptables) if expected.iptables is not None else (),
        nft=expected.nft,
        ipvs=expected.ipvs,
        sysctls=expected.sysctls,
        systems=_systems(claims, expected.family),
    )


def claims_document(node: str, family: int, claims: Sequence[Claim]) -> ExpectedDocument:
    """Make the document of what is owed where kube-proxy's part is not told."""
    nothing = Expected(mode="", family=family, node=node, version="")
    return expected_document(nothing, claims)


def _systems(claims: Sequence[Claim], family: int) -> tuple[OwingView, ...]:
    return tuple(
        OwingView(
            name=claim.name,
            mode=claim.mode or None,
            version=claim.version or None,
            owed=tuple(_owed(item) for item in claim.owed if owed_family(item) == family),
            unknown=claim.unknown or None,
        )
        for claim in claims
    )


def _owed(item: Owed) -> OwedView:
    place = (item.table, item.chain) if isinstance(item, OwedChain | OwedJump | OwedRule) else (None, None)
    return OwedView(
        owner=item.owner,
        netns=item.netns,
        tool=owed_tool(item),
        table=place[0],
        chain=place[1],
        whole=isinstance(item, OwedChain),
        lines=owed_lines(item),
        about=item.about or None,
        subject=item.subject or None,
        source=item.source,
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


def diff_document(report: DepartureReport, snapshot: Snapshot | None = None) -> ExpectDiffDocument:
    """Make the document of a comparison; *snapshot* tells how a change is taken back."""
    return ExpectDiffDocument(
        context=report.label,
        node=report.node,
        mode=report.mode,
        version=report.version,
        families=tuple(map(_family, report.families)),
        equal=False if report.departures else None if report.missing else True,
        differences=tuple(_departure(one, snapshot) for one in report.departures),
        missing=tuple(
            MissingView(netns=report.netns, section=name, reason=reason)
            for name, reason in report.missing.items()
        ),
        systems=tuple(
            ComparedView(
                name=claim.name,
                mode=claim.mode or None,
                version=claim.version or None,
                owed=len(claim.owed),
                unknown=claim.unknown or None,
            )
            for claim in report.systems
        ),
    )


def _family(family: int) -> Literal[4, 6]:
    return 6 if family == 6 else 4


def _departure(found: Departure, snapshot: Snapshot | None) -> DepartureView:
    back, _ = undo_commands(found.changes, snapshot) if snapshot is not None else (None, None)
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
        owner=found.owner,
        source=found.source or None,
        commands=tuple(map(command, found.changes)),
        undo=back or (),
    )
