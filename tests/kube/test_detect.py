"""Which kube-proxy it was, from the rules that it wrote."""

import pytest

from nettrace.kube.detect import detect_mode, detect_version, has_kube_proxy
from nettrace.model.nft import NftRuleset, NftTable
from nettrace.model.xt import XtRuleset
from nettrace.parse.iptables import parse_save
from tests.kube.test_dump import DUMP_1_20, DUMPS, FIXTURES
from tests.kube.test_layouts import LOCAL, at

EMPTY = parse_save("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n", "x")


@pytest.mark.parametrize(("dump", "expected"), [(DUMPS[4], "1.36"), (DUMPS[6], "1.36"), (DUMP_1_20, "1.20")])
def test_versions_of_real_dumps(dump: str, expected: str) -> None:
    """The layouts of 1.20 and 1.36 are told from what the real ones wrote."""
    assert detect_version(parse_save((FIXTURES / dump).read_text(), dump)) == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.20", "1.20"),
        ("1.21", "1.21"),
        ("1.22", "1.22"),
        ("1.23", "1.24"),  # without a Service of policy Local there is no telling
        ("1.24", "1.24"),
        ("1.25", "1.30"),
        ("1.30", "1.30"),
        ("1.31", "1.36"),
        ("1.36", "1.36"),
    ],
)
def test_versions_of_derived_rules(version: str, expected: str) -> None:
    """Of a layout that several versions share, the newest is named."""
    assert detect_version(at(version)) == expected


def test_1_23_is_known_by_its_chains_for_policy_local() -> None:
    """KUBE-XLB with one rule for established connections."""
    assert detect_version(at("1.23", LOCAL)) == "1.23"
    assert detect_version(at("1.22", LOCAL)) == "1.22"


def test_the_mode_by_its_marks() -> None:
    """A table of nftables goes first; ipsets are ipvs mode's; no chains are nobody's."""
    ipvs = (FIXTURES / "ipvs-1.36" / "iptables-save-c.txt").read_text()
    assert detect_mode(parse_save(ipvs, "x"), None) == "ipvs"
    assert detect_mode(at("1.36"), NftRuleset()) == "iptables"
    tables = {"ip kube-proxy": NftTable(family="ip", name="kube-proxy")}
    assert detect_mode(at("1.36"), NftRuleset(tables=tables)) == "nftables"
    assert detect_mode(EMPTY, NftRuleset()) is None
    assert detect_mode(None, None) is None


def test_a_node_without_kube_proxy() -> None:
    """There is nothing to tell a version by."""
    assert not has_kube_proxy(EMPTY)
    assert detect_version(EMPTY) is None
    assert not has_kube_proxy(XtRuleset({}))
