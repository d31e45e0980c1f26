"""
JSON Schemas of every kind of document.

Lives here: making them from the contract's types, so that they cannot drift apart.
"""

import json
from typing import Any

import msgspec

from nettrace.render.contract import (
    DropDocument,
    FindingDocument,
    GuideDocument,
    HistoryDocument,
    IngressDocument,
    PodDebugDocument,
    RepairDocument,
    RepairPlanDocument,
    WalkDocument,
)
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.contract_expect import ExpectDiffDocument, ExpectedDocument
from nettrace.render.contract_state import (
    DoctorDocument,
    ExplanationDocument,
    LabsDocument,
    ShowDocument,
    SnapshotDocument,
)

__all__ = ["KINDS", "render", "schema"]

#: Kind -> its type.
KINDS: dict[str, type[msgspec.Struct]] = {
    "Walk": WalkDocument,
    "IngressTrace": IngressDocument,
    "Finding": FindingDocument,
    "RepairPlan": RepairPlanDocument,
    "Repair": RepairDocument,
    "History": HistoryDocument,
    "Snapshot": SnapshotDocument,
    "Show": ShowDocument,
    "Explanation": ExplanationDocument,
    "Labs": LabsDocument,
    "Doctor": DoctorDocument,
    "Drop": DropDocument,
    "Expected": ExpectedDocument,
    "ServiceDebug": GuideDocument,
    "PodDebug": PodDebugDocument,
    "ExpectDiff": ExpectDiffDocument,
    "CheckReport": CheckReportDocument,
}


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind; KeyError for one that is none."""
    made = msgspec.json.schema(KINDS[kind], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "description": f"nettrace/v1 {kind}",
        **made,
    }


def render(kind: str) -> str:
    """Return the schema of *kind* as JSON text."""
    return json.dumps(schema(kind), indent=2) + "\n"
