"""
What a JUnit file and a SARIF log have to be.

Lives here: both written anew from their descriptions, for neither schema may be copied into this
repository.  JUnit: the elements, attributes, order and types that Ant's JUnit task writes, as the widely
used schema of the Ant format demands them (attributes of ``testsuite`` and ``testcase`` required,
``timestamp`` without zone, ``properties`` first, ``system-out`` and ``system-err`` last).  SARIF: the
objects of OASIS SARIF 2.1.0 that nettrace writes, each with the required and allowed properties of its
section, and nothing else allowed; and what the standard asks for in words (an index that fits its
rule, no level beside another kind than fail).
"""

from typing import Any

import jsonschema
from lxml import etree  # type: ignore[import-untyped]

__all__ = ["junit_errors", "sarif_errors"]

JUNIT = """\
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:simpleType name="stamp"><xs:restriction base="xs:dateTime">
    <xs:pattern value="\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d"/>
  </xs:restriction></xs:simpleType>
  <xs:simpleType name="filled"><xs:restriction base="xs:token">
    <xs:minLength value="1"/>
  </xs:restriction></xs:simpleType>
  <xs:simpleType name="count"><xs:restriction base="xs:int">
    <xs:minInclusive value="0"/>
  </xs:restriction></xs:simpleType>
  <xs:complexType name="trouble"><xs:simpleContent><xs:extension base="xs:string">
    <xs:attribute name="message" type="xs:string"/>
    <xs:attribute name="type" type="xs:string" use="required"/>
  </xs:extension></xs:simpleContent></xs:complexType>
  <xs:complexType name="skip"><xs:attribute name="message" type="xs:string"/></xs:complexType>
  <xs:complexType name="case">
    <xs:choice minOccurs="0">
      <xs:element name="skipped" type="skip"/>
      <xs:element name="error" type="trouble"/>
      <xs:element name="failure" type="trouble"/>
    </xs:choice>
    <xs:attribute name="name" type="xs:token" use="required"/>
    <xs:attribute name="classname" type="xs:token" use="required"/>
    <xs:attribute name="time" type="xs:decimal" use="required"/>
  </xs:complexType>
  <xs:complexType name="property">
    <xs:attribute name="name" type="filled" use="required"/>
    <xs:attribute name="value" type="xs:string" use="required"/>
  </xs:complexType>
  <xs:complexType name="suite">
    <xs:sequence>
      <xs:element name="properties"><xs:complexType><xs:sequence>
        <xs:element name="property" type="property" minOccurs="0" maxOccurs="unbounded"/>
      </xs:sequence></xs:complexType></xs:element>
      <xs:element name="testcase" type="case" minOccurs="0" maxOccurs="unbounded"/>
      <xs:element name="system-out" type="xs:string"/>
      <xs:element name="system-err" type="xs:string"/>
    </xs:sequence>
    <xs:attribute name="name" type="filled" use="required"/>
    <xs:attribute name="timestamp" type="stamp" use="required"/>
    <xs:attribute name="hostname" type="filled" use="required"/>
    <xs:attribute name="tests" type="count" use="required"/>
    <xs:attribute name="failures" type="count" use="required"/>
    <xs:attribute name="errors" type="count" use="required"/>
    <xs:attribute name="skipped" type="count"/>
    <xs:attribute name="time" type="xs:decimal" use="required"/>
    <xs:attribute name="package" type="xs:token" use="required"/>
    <xs:attribute name="id" type="xs:int" use="required"/>
  </xs:complexType>
  <xs:element name="testsuites"><xs:complexType><xs:sequence>
    <xs:element name="testsuite" type="suite" minOccurs="0" maxOccurs="unbounded"/>
  </xs:sequence></xs:complexType></xs:element>
</xs:schema>
"""


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def _array(items: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_TEXT = {"type": "string"}
_LEVEL = {"enum": ["none", "note", "warning", "error"]}  # sections 3.27.10, 3.50.3, 3.58.6
_MESSAGE = _object("text", text={"type": "string", "minLength": 1})  # section 3.11
_RULE = _object(  # reportingDescriptor, section 3.49
    "id",
    id=_TEXT,
    shortDescription=_object("text", text=_TEXT),
    help=_object("text", text=_TEXT),
    defaultConfiguration=_object("", level=_LEVEL),
)
_LOCATION = _object(  # section 3.28
    "",
    logicalLocations=_array(  # section 3.33
        _object("", fullyQualifiedName=_TEXT, kind=_TEXT), uniqueItems=True
    ),
    physicalLocation=_object(  # section 3.29
        "artifactLocation",
        artifactLocation=_object("uri", uri={"type": "string", "pattern": r"^[!#-;=?-\[\]_a-z~%]+$"}),
        region=_object("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
)
_RESULT = _object(  # section 3.27
    "message ruleId ruleIndex",
    ruleId=_TEXT,
    ruleIndex={"type": "integer", "minimum": 0},
    kind={"enum": ["notApplicable", "pass", "fail", "review", "open", "informational"]},
    level=_LEVEL,
    message=_MESSAGE,
    locations=_array(_LOCATION),
    partialFingerprints={"type": "object", "additionalProperties": _TEXT},
    suppressions=_array(  # section 3.35
        _object("kind", kind={"enum": ["inSource", "external"]}, justification=_TEXT), uniqueItems=True
    ),
)
_INVOCATION = _object(  # section 3.20
    "executionSuccessful",
    executionSuccessful={"type": "boolean"},
    endTimeUtc={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
    toolExecutionNotifications=_array(_object("message", level=_LEVEL, message=_MESSAGE), uniqueItems=True),
)
_DRIVER = _object("name", name=_TEXT, rules=_array(_RULE, uniqueItems=True))
_RUN = _object(  # section 3.14
    "tool",
    tool=_object("driver", driver=_DRIVER),
    automationDetails=_object("", id=_TEXT),
    invocations=_array(_INVOCATION),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    results=_array(_RESULT),
)
SARIF = _object(
    "version runs",
    **{"$schema": {"type": "string", "format": "uri"}},
    version={"const": "2.1.0"},
    runs=_array(_RUN),
)


def junit_errors(text: str) -> list[str]:
    """Return what is wrong with a JUnit file, the sums of its suites included."""
    schema = etree.XMLSchema(etree.fromstring(JUNIT))
    tree = etree.fromstring(text.encode())
    schema.validate(tree)
    found = [str(error) for error in schema.error_log]
    for suite in tree.iter("testsuite"):
        sums = {
            "tests": len(suite.findall("testcase")),
            "failures": len(suite.findall("testcase/failure")),
            "errors": len(suite.findall("testcase/error")),
            "skipped": len(suite.findall("testcase/skipped")),
        }
        found += [f"{suite.get('name')}: {k}" for k, v in sums.items() if suite.get(k) != str(v)]
    return found


def sarif_errors(log: Any) -> list[str]:
    """Return what is wrong with a SARIF log."""
    found = [
        f"{error.json_path}: {error.message}" for error in jsonschema.Draft7Validator(SARIF).iter_errors(log)
    ]
    if found:
        return found
    for run in log["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        found += [f"{rule} twice" for rule in rules if rules.count(rule) > 1]
        for number, result in enumerate(run["results"]):
            if rules[result["ruleIndex"] : result["ruleIndex"] + 1] != [result["ruleId"]]:
                found.append(f"result {number}: ruleIndex")
            if result["kind"] != "fail" and result["level"] != "none":
                found.append(f"result {number}: level beside kind {result['kind']}")
    return found
