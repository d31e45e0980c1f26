"""Large snapshot files: a chain is parsed when it is looked at, and everything else is as ever."""

import msgspec
import pytest
from msgspec.structs import replace

from nettrace.model.canonical import canonical, snapshot_difference
from nettrace.model.late import Late, at_hand, changed
from nettrace.model.section import Known, Missing, MissingKind, Section, SectionKey
from nettrace.model.snapshot import Netns, NodeState, Snapshot
from nettrace.model.xt import XtChain, XtRule, XtRuleset, XtTable
from nettrace.parse import snapshot_file
from nettrace.parse.iptables import parse_rule
from nettrace.parse.late_chains import outline
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot


def rule(text: str) -> XtRule:
    """One rule."""
    return parse_rule(text)


def snapshot() -> Snapshot:
    """Three chains, one of which was not read."""
    chains: dict[str, Section[XtChain]] = {
        "PREROUTING": Known(XtChain(policy="ACCEPT", rules=(rule("-j A"), rule("-j B")))),
        "A": Known(XtChain(rules=(rule("-p tcp -m tcp --dport 80 -j DROP"),))),
        "B": Missing(MissingKind.NOT_READ),
    }
    xt = Known(XtRuleset({"nat": Known(XtTable(chains))}))
    netns = Netns(name="n", node="n", role="node", xt_nft=xt)
    return Snapshot(nodes={"n": NodeState(name="n", netns="n")}, namespaces={"n": netns})


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "_LARGE", 0)


def chains_of(found: Snapshot) -> Late[Section[XtChain]]:
    """The chains of the only table."""
    table = found.section(SectionKey("n", "xt/nft/nat"))
    assert isinstance(table.value.chains, Late)
    return table.value.chains


def test_a_large_file_is_what_was_written() -> None:
    """Equal, of the same canonical form, and the same file again, whether its chains were parsed or not."""
    data = encode_snapshot(snapshot())
    found = decode_snapshot(data, "f")
    assert chains_of(found).raw("A") is not None
    assert encode_snapshot(found) == data
    assert chains_of(found).raw("A") is not None
    key = SectionKey("n", "xt/nft")
    plain = canonical(key.name, snapshot().section(key).value)
    assert canonical(key.name, found.section(key).value) == plain
    assert found == snapshot()
    assert snapshot() == found
    assert chains_of(found).raw("A") is None
    assert encode_snapshot(found) == data


def test_only_what_is_looked_at_is_parsed() -> None:
    """A chain's section, lengths, what was not read, and an edit parse no other chain."""
    found = decode_snapshot(encode_snapshot(snapshot()), "f")
    chains = chains_of(found)
    assert outline(chains, "PREROUTING") == ("ACCEPT", 2)
    assert outline(chains, "B") == Missing(MissingKind.NOT_READ)
    assert dict(at_hand(chains)) == {"B": Missing(MissingKind.NOT_READ)}
    assert found.section(SectionKey("n", "xt/nft/nat/A")).value.rules == (
        rule("-p tcp -m tcp --dport 80 -j DROP"),
    )
    assert found.section(SectionKey("n", "xt/nft/nat/C")) == Known(None)
    edited = found.with_section(SectionKey("n", "xt/nft/nat/B"), Known(XtChain()))
    assert chains_of(edited).raw("PREROUTING") is not None
    assert set(changed(chains_of(edited), chains)) == {"B"}
    assert snapshot_difference(edited, found)
    assert chains.raw("PREROUTING") is not None
    assert chains_of(edited)["A"] is chains["A"]
    assert outline(chains, "A") == (None, 1)


def test_it_is_a_dictionary_in_everything() -> None:
    """Whatever is made of it holds parsed values."""
    plain = snapshot().section(SectionKey("n", "xt/nft/nat")).value.chains

    def late() -> Late[Section[XtChain]]:
        return chains_of(decode_snapshot(encode_snapshot(snapshot()), "f"))

    assert dict(late()) == plain
    assert {**late()} == plain
    assert late() | {} == plain
    assert {} | late() == plain
    assert late().copy() == plain
    assert list(late().values()) == list(plain.values())
    assert list(late().items()) == list(plain.items())
    assert late().pop("A") == plain["A"]
    assert late().pop("Z", 3) == 3
    assert late().get("Z") is None
    assert late() != {}
    assert msgspec.json.encode(late()) == msgspec.json.encode(plain)
    left = late()
    del left["A"]
    assert "A" not in left
    assert sorted(left) == ["B", "PREROUTING"]


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (b'"dst":null', b'"dts":null', "unknown field `dts`"),
        (b'"policy":"ACCEPT"', b'"policy":17', "got `int`"),
        (b'"counters":null', b'"counters":[{"packets":1,"bytes":2}]', "not one a rule"),
    ],
)
def test_a_damaged_chain_is_missing_with_its_place(before: bytes, after: bytes, what: str) -> None:
    """What cannot be parsed is never an empty chain: it says what is wrong, and where."""
    data = encode_snapshot(snapshot())
    assert before in data
    found = decode_snapshot(data.replace(before, after, 1), "file.json")
    section = found.section(SectionKey("n", "xt/nft/nat/PREROUTING"))
    assert isinstance(section, Missing)
    assert section.kind is MissingKind.FAILED
    assert what in section.reason
    assert (
        'file.json: $.namespaces["n"].xt_nft.value.tables["nat"].value.chains["PREROUTING"]' in section.reason
    )
    assert isinstance(found.section(SectionKey("n", "xt/nft/nat/A")), Known)


def test_a_chain_replaced_is_the_new_one() -> None:
    """A value that is set stands in place of the JSON."""
    found = decode_snapshot(encode_snapshot(snapshot()), "f")
    chains = chains_of(found).copy()
    new = Known(XtChain(rules=(rule("-j DROP"),)))
    chains["A"] = new
    assert chains["A"] is new
    assert chains_of(found)["A"] != new
    netns = replace(found.namespaces["n"], xt_nft=Known(XtRuleset({"nat": Known(XtTable(chains))})))
    again = decode_snapshot(encode_snapshot(found.with_netns(netns)), "f")
    assert chains_of(again)["A"] == new
