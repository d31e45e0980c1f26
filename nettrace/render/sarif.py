"""
A check as SARIF 2.1.0, for code scanning.

Lives here: one result for each cause of each check that is not passed; rules are causes.  Sources:
the OASIS standard (sections named below), and what code scanning asks for beyond it.
"""

import json
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from nettrace.model.check import Status
from nettrace.model.finding import Severity
from nettrace.render.check_words import (
    NO_CAUSE,
    bad_suppressions,
    described,
    label,
    rule_of,
    suppression_words,
)
from nettrace.render.contract_check import CheckReportDocument, CheckView
from nettrace.render.contract_finding import FindingView
from nettrace.render.visible import visible

__all__ = ["render"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}

#: Rules that are no causes -> their words and level.
_OTHER = {
    NO_CAUSE: ("an expectation is not met, and no cause was found", "error"),
    "inconclusive": ("something that decides could not be read or told", "warning"),
    "could-not-ask": ("an expectation does not fit the cluster", "error"),
}


def render(document: CheckReportDocument) -> str:
    """Return *document* as a SARIF log of one run."""
    return json.dumps(_log(document), indent=2) + "\n"


def _log(document: CheckReportDocument) -> dict[str, Any]:
    results = [
        result
        for check in document.checks
        if check.status is not Status.PASSED
        for result in _results(document, check)
    ]
    ids = list(dict.fromkeys(result["ruleId"] for result in results))
    for result in results:
        result["ruleIndex"] = ids.index(result["ruleId"])
    said = [*document.left_out, *map(suppression_words, bad_suppressions(document))]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "nettrace",
                "rules": [_rule(document, one) for one in ids],
            }
        },
        "automationDetails": {"id": f"nettrace/{visible(document.context)}/"},
        "invocations": [  # section 3.20
            {
                "executionSuccessful": document.counts.error == 0,
                "endTimeUtc": f"{document.taken[:19]}Z",
                "toolExecutionNotifications": [
                    {"level": "warning", "message": {"text": visible(words)}} for words in said
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(document: CheckReportDocument, rule: str) -> dict[str, Any]:
    known = next((one for one in document.causes if one.id == rule), None)
    if known is not None:
        words, level = known.title, _LEVELS[known.severity]
        more = {"help": {"text": f"nettrace explain {rule}"}}
    else:
        words, level = _OTHER.get(rule, (rule, "error"))
        more = {}
    return {
        "id": rule,
        "shortDescription": {"text": visible(words)},
        "defaultConfiguration": {"level": level},
        **more,
    }


def _results(document: CheckReportDocument, check: CheckView) -> list[dict[str, Any]]:
    failed = check.status in (Status.FAILED, Status.SUPPRESSED)
    findings: list[FindingView | None] = [*check.findings] if failed and check.findings else [None]
    return [_result(document, check, finding) for finding in findings]


def _result(document: CheckReportDocument, check: CheckView, finding: FindingView | None) -> dict[str, Any]:
    rule = finding.cause if finding is not None else rule_of(check)
    head = visible(f"{label(check)}: {finding.message if finding is not None else check.reason}")
    text = "\n".join([head, *described(document, check)])
    level = _LEVELS[finding.severity] if finding is not None else _OTHER.get(rule, ("", "error"))[1]
    made: dict[str, Any] = {
        "ruleId": rule,
        # section 3.27.9: what could not be told is open for a person to decide, and has no level
        "kind": "open" if check.status is Status.INCONCLUSIVE else "fail",
        "level": "none" if check.status is Status.INCONCLUSIVE else level,
        "message": {"text": text},
        "locations": [_location(document, check, finding)],
        "partialFingerprints": {"nettrace/v1": _fingerprint(document, check, rule)},
    }
    if check.status is Status.SUPPRESSED:
        made["suppressions"] = [{"kind": "external", "justification": visible(check.reason)}]
    return made


def _location(document: CheckReportDocument, check: CheckView, finding: FindingView | None) -> dict[str, Any]:
    logical = [{"fullyQualifiedName": visible(check.flow), "kind": "resource"}]
    if finding is not None and finding.where:
        logical.append({"fullyQualifiedName": visible(finding.where), "kind": "resource"})
    location: dict[str, Any] = {"logicalLocations": logical}
    if document.file and check.line:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(document.file)},
            "region": {"startLine": check.line},
        }
    return location


def _uri(file: str) -> str:
    """Return a file's name as a URI reference (RFC 3986): relative as it was given."""
    encoded = quote(file.removeprefix("./"), safe="-._~/!$&'()*+,;=@", errors="replace")
    return f"file://{encoded}" if encoded.startswith("/") else encoded


def _fingerprint(document: CheckReportDocument, check: CheckView, rule: str) -> str:
    """Return what stays the same for the same failure from run to run."""
    parts = f"{document.context}\0{check.name}\0{check.flow}\0{rule}"
    return sha256(parts.encode("utf-8", "replace")).hexdigest()[:32]
