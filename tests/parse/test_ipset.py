"""ipset dumps."""

from pathlib import Path

import pytest

from nettrace.model.errors import UserError
from nettrace.model.ipset import IpSet
from nettrace.parse.ipset import parse_ipset_save

FIXTURES = Path(__file__).parents[2] / "fixtures"

DUMP = """\
create S1 hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xfb507cf1
add S1 1.2.3.4
create S3 hash:net family inet hashsize 1024 maxelem 65536 timeout 30 counters comment
add S3 10.0.0.0/8 timeout 29 packets 0 bytes 0 comment "not nomatch"
add S3 10.1.0.0/16 timeout 29 nomatch packets 0 bytes 0 comment "a b"
create S6 hash:ip,port family inet6 hashsize 1024 maxelem 65536
add S6 fd00::1,tcp:80
create B bitmap:port range 0-65535
create L list:set size 8
add L S1
"""


def test_sets() -> None:
    """Members keep their order without options; exceptions are apart; a type without a family is IPv4's."""
    assert parse_ipset_save(DUMP) == (
        IpSet(name="S1", type="hash:ip", members=("1.2.3.4",)),
        IpSet(name="S3", type="hash:net", members=("10.0.0.0/8",), exceptions=("10.1.0.0/16",)),
        IpSet(name="S6", type="hash:ip,port", family=6, members=("fd00::1,tcp:80",)),
        IpSet(name="B", type="bitmap:port"),
        IpSet(name="L", type="list:set", members=("S1",)),
    )
    assert parse_ipset_save("# nothing\n\n") == ()


def test_real_dump() -> None:
    """The sets of kube-proxy's ipvs mode are read with all their members."""
    text = (FIXTURES / "kube-proxy/ipvs-1.36/ipset-save.txt").read_text()
    sets = {one.name: one for one in parse_ipset_save(text)}
    assert len(sets) == text.count("create ") == 34
    assert sum(len(one.members) for one in sets.values()) == text.count("\nadd ")
    assert sets["KUBE-LOOP-BACK"].type == "hash:ip,port,ip"
    assert sets["KUBE-6-CLUSTER-IP"].family == 6


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("create S1 hash:ip\ncreate S1 hash:ip\n", 2, "created twice"),
        ("add S1 1.2.3.4\n", 1, "before the set"),
        ("create S1\n", 1, "not a line of ipset save"),
        ("\ngarbage\n", 2, "not a line of ipset save"),
    ],
)
def test_broken_dumps(text: str, line: int, what: str) -> None:
    """A broken dump is an error that names the line."""
    with pytest.raises(UserError) as caught:
        parse_ipset_save(text)
    assert what in caught.value.what
    assert caught.value.where == f"ipset save, line {line}"
    assert caught.value.hint
