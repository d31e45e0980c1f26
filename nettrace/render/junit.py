"""
A check as JUnit's XML: one suite for each name, one case for each flow.

Lives here: the form that Ant's JUnit task and Jenkins agree on.  What could not be read or asked is an
``error``, a suppressed failure is ``skipped``.
"""

from collections.abc import Iterable
from html import escape  # &amp; &lt; &gt; &quot; &#x27;: all of them are XML's too

from nettrace.model.check import Status
from nettrace.render.check_words import bad_suppressions, described, rule_of, suppression_words
from nettrace.render.contract_check import CheckReportDocument, CheckView
from nettrace.render.visible import visible

__all__ = ["render"]


def render(document: CheckReportDocument) -> str:
    """Return *document* as XML."""
    suites: dict[str, list[CheckView]] = {}
    for check in document.checks:
        suites.setdefault(check.name, []).append(check)
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for number, (name, checks) in enumerate(suites.items()):
        lines.extend(_suite(document, number, name, checks))
    lines.append("</testsuites>")
    return "\n".join(lines) + "\n"


def _suite(document: CheckReportDocument, number: int, name: str, checks: list[CheckView]) -> Iterable[str]:
    statuses = [check.status for check in checks]
    attributes = {
        "name": name,
        "package": "nettrace",
        "id": str(number),
        "timestamp": document.taken[:19],  # no time zone is allowed here; it is UTC
        "hostname": document.context,
        "tests": str(len(checks)),
        "failures": str(statuses.count(Status.FAILED)),
        "errors": str(statuses.count(Status.ERROR) + statuses.count(Status.INCONCLUSIVE)),
        "skipped": str(statuses.count(Status.SUPPRESSED)),
        # the pass is one for all suites: the first one tells its time
        "time": f"{document.seconds if not number else 0:.3f}",
    }
    yield f"  <testsuite{_attributes(attributes)}>"
    yield "    <properties>"
    yield f"      <property{_attributes({'name': 'context', 'value': document.context})}/>"
    if document.file:
        yield f"      <property{_attributes({'name': 'file', 'value': document.file})}/>"
    yield "    </properties>"
    for check in checks:
        yield from _case(document, check)
    yield "    <system-out/>"
    said = [*document.left_out, *map(suppression_words, bad_suppressions(document))] if not number else []
    text = escape("\n".join(visible(one) for one in said), quote=False)
    yield f"    <system-err>{text}</system-err>"
    yield "  </testsuite>"


def _case(document: CheckReportDocument, check: CheckView) -> Iterable[str]:
    start = "    <testcase" + _attributes({"name": check.flow, "classname": check.name, "time": "0"})
    if check.status is Status.PASSED:
        yield f"{start}/>"
        return
    yield f"{start}>"
    if check.status is Status.SUPPRESSED:
        yield f"      <skipped{_attributes({'message': check.reason})}/>"
    else:
        kind = "failure" if check.status is Status.FAILED else "error"
        first = check.findings[0] if check.findings else None
        message = f"{first.cause}: {first.message}" if first is not None else check.reason
        text = escape("\n".join(described(document, check)), quote=False)
        yield f"      <{kind}{_attributes({'type': rule_of(check), 'message': message})}>{text}</{kind}>"
    yield "    </testcase>"


def _attributes(given: dict[str, str]) -> str:
    return "".join(f' {name}="{escape(visible(value))}"' for name, value in given.items())
