"""A check in every format: valid, escaped, and with cause and repair."""

import json as std_json
import re
from html.parser import HTMLParser

import pytest
import yaml as pyyaml
from markdown_it import MarkdownIt

from nettrace.model.errors import UserError
from nettrace.model.report import TraceReport
from nettrace.render import json, text
from nettrace.render.check_document import check_document
from nettrace.render.contract_check import CheckReportDocument
from nettrace.render.document import walk_document
from nettrace.render.formats import CHECK_FORMATS, in_format
from nettrace.render.page import Look
from tests.render.check_reports import HOSTILE, check_report
from tests.render.check_schemas import junit_errors, sarif_errors


@pytest.fixture
def document(report: TraceReport) -> CheckReportDocument:
    """One check of each status, the failure with a cause; its name is hostile."""
    return check_document(check_report(report.findings, name=HOSTILE))


def test_junit_is_valid(document: CheckReportDocument) -> None:
    """The XML is that of Ant's format, whatever names say, and its sums are right."""
    assert junit_errors(in_format(document, "junit")) == []


def test_the_junit_check_finds_faults(document: CheckReportDocument) -> None:
    """A missing attribute, a wrong sum and an element out of order are found."""
    valid = in_format(document, "junit")
    for old, new in (
        (' hostname="lab shop"', ""),
        ('failures="2"', 'failures="3"'),
        ("<system-out/>", ""),
        ("2026-11-25T12:00:00", "2026-11-25T12:00:00Z"),
    ):
        assert old in valid
        assert junit_errors(valid.replace(old, new)) != []


def test_sarif_is_valid(document: CheckReportDocument, report: TraceReport) -> None:
    """The log is SARIF 2.1.0; the rule of a failure is its cause, and the place the line of the file."""
    log = std_json.loads(in_format(document, "sarif"))
    assert sarif_errors(log) == []
    results = log["runs"][0]["results"]
    assert {result["ruleId"] for result in results} == {
        *(finding.cause for finding in report.findings),
        *("expectation-not-met", "inconclusive", "could-not-ask"),
    }
    (place,) = {r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results}
    assert place == "dir%20with%20blank/%C3%A4.yaml"
    assert [len(result.get("suppressions", ())) for result in results].count(1) == 1


def test_the_sarif_check_finds_faults(document: CheckReportDocument) -> None:
    """A missing text, a property that SARIF has not, an index that does not fit are found."""
    valid = in_format(document, "sarif")
    for key, value in (("message", {}), ("ruleIndex", 7), ("colour", "red"), ("level", "fatal")):
        log = std_json.loads(valid)
        log["runs"][0]["results"][0][key] = value
        assert sarif_errors(log) != []


def test_github_lines_are_one_command_each(document: CheckReportDocument) -> None:
    """No text breaks out of its command: as many lines as commands, the properties split as meant."""
    lines = in_format(document, "github").splitlines()
    assert len(lines) == 5 + 1 + 1 + 1
    for line in lines:
        found = re.fullmatch(r"::(error|warning|notice) ([^:]*)::(.*)", line)
        assert found is not None, line
        assert all("=" in one for one in found[2].split(","))
        assert "\x1b" not in line


def test_html_stands_by_itself(document: CheckReportDocument) -> None:
    """Nothing is fetched, no script, and no text of others becomes markup."""
    page = in_format(document, "html")
    tags: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.add(tag)
            assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    Reader().feed(page)
    assert not tags & {"script", "b", "img", "link", "iframe"}
    assert "default-src" in page
    assert "\x1b" not in page


def test_markdown_shows_text_as_it_is(document: CheckReportDocument) -> None:
    """Rendered, the Markdown has no element but its own."""
    html = MarkdownIt("gfm-like", {"linkify": False}).render(in_format(document, "markdown"))
    found = set(re.findall(r"<([a-z0-9]+)", html))
    assert found <= {"h2", "h3", "p", "code", "pre", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}


def test_data_is_read_back(document: CheckReportDocument) -> None:
    """JSON decodes to the same document, which every other format shows alike; YAML has the same data."""
    again = json.decode(json.render(document), "saved")
    assert again == document
    for name in (*CHECK_FORMATS, "markdown", "html"):
        assert in_format(again, name) == in_format(document, name)
    assert pyyaml.safe_load(in_format(document, "yaml")) == std_json.loads(json.render(document))


def test_formats_of_checks_refuse_others(report: TraceReport) -> None:
    """A trace is no check: JUnit, SARIF and GitHub say so; Markdown and HTML show its text."""
    trace = walk_document(report)
    for name in CHECK_FORMATS:
        with pytest.raises(UserError, match="no CheckReport"):
            in_format(trace, name)
    assert in_format(trace, "markdown").startswith("```text\n")
    assert "<pre>" in in_format(trace, "html")


def test_the_page_tells_each_cause_once(report: TraceReport) -> None:
    """What is not passed is told with place, reason and repair; what was left out is not hidden."""
    page = text.render(check_document(check_report(report.findings)), Look(width=120))
    assert page.count(f"[{report.findings[0].cause}]") == 1
    assert "6 checks: 1 passed, 2 failed, 1 inconclusive, 1 could not be asked, 1 suppressed" in page
    assert "left out: pod-to-pod" in page
    assert "expired after 2026-01-01" in page
    assert "--flow pod/shop/b svc/shop/api:80 --lab shop" in page
    assert "pod/shop/a ->" in text.render(check_document(check_report()), Look(width=120, wide=True))
