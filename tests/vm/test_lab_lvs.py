"""A Service made by hand: a local route and ipvsadm; walked, tried, broken, repaired."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.acceptance.bench import Bench, bench
from tests.acceptance.matrix import SWEEP

PORT, REAL_PORT = 80, 8080


@pytest.fixture(scope="module")
def lab() -> Iterator[Bench]:
    """The lab lvs."""
    with bench("lvs") as made:
        yield made


def vip(lab: Bench) -> str:
    """The virtual address."""
    return str(lab.record()["options"]["vip"])


def reals(lab: Bench) -> list[str]:
    """The addresses of the real servers."""
    named = {member["name"]: member["addresses"][0] for member in lab.record()["namespaces"]}
    return [named[name] for name in ("rs1", "rs2", "rs3")]


#: Who calls the virtual address: the kind of flow -> the source as nettrace and as the lab names it.
SOURCES = {
    "outside-nodeport": ("internet", "internet"),
    "node-service": ("node/director", "director"),
    "pod-service": ("container/client", "client"),
    "pod-own-service": ("container/rs1", "rs1"),
}


@pytest.mark.parametrize("kind", SOURCES if SWEEP else ["outside-nodeport"])
def test_prediction_equals_the_real_connection(lab: Bench, kind: str) -> None:
    """From everywhere each real server answers, as walked, and nothing is found wrong."""
    source, who = SOURCES[kind]
    said = lab.trace(source, f"{vip(lab)}:{PORT}")
    assert said["outcome"] == "connected", said
    assert said["findings"] == []
    ends = {path["endpoint"]["netns"] for path in said["paths"]}
    assert ends == {"rs1", "rs2", "rs3"}
    tries = lab.connect(who, vip(lab), PORT, times=9)
    assert {t["outcome"] for t in tries} == {"connected"}
    assert {t["answer"] for t in tries} == ends


#: Past the virtual address: the kind of flow -> what comes of it.  The director masquerades for nobody
#: who calls the outside, which then has no way back.
BESIDE = {"pod-pod-same-node": "connected", "pod-outside": "timeout"}


@pytest.mark.parametrize("kind", BESIDE if SWEEP else [])
def test_prediction_equals_the_real_connection_beside_it(lab: Bench, kind: str) -> None:
    """Who calls no virtual address is walked and connects alike."""
    named = {member["name"]: member["addresses"][0] for member in lab.record()["namespaces"]}
    host, port = ("rs2", REAL_PORT) if kind == "pod-pod-same-node" else ("internet", 80)
    said = lab.trace("container/client", f"{named[host]}:{port}")
    assert said["outcome"] == BESIDE[kind], said
    assert [t["outcome"] for t in lab.connect("client", named[host], port)] == [BESIDE[kind]]


class Fault(NamedTuple):
    """A cause, what makes it on the director, whom it hurts, what is walked and what is seen."""

    cause: str
    inject: Callable[[Bench], str]
    kind: str
    outcome: str
    seen: frozenset[str]


def each_real(lab: Bench, words: str) -> str:
    """One ipvsadm command a real server."""
    return "; ".join(words.format(f"-t {vip(lab)}:{PORT} -r {one}:{REAL_PORT}") for one in reals(lab))


FAULTS = (
    Fault(
        "ipvs-vip-missing",
        lambda lab: f"ip route del local {vip(lab)} dev lo",
        "outside-nodeport",
        "timeout",
        frozenset({"timeout", "unreachable"}),
    ),
    Fault(
        "ipvs-rs-weight0",
        lambda lab: each_real(lab, "ipvsadm -e {} -m -w 0"),
        "outside-nodeport",
        "refused",
        frozenset({"refused"}),
    ),
    Fault(
        "ipvs-no-real-servers",
        lambda lab: each_real(lab, "ipvsadm -d {}"),
        "outside-nodeport",
        "refused",
        frozenset({"refused"}),
    ),
    Fault(
        "ipvs-conntrack-off",
        lambda lab: "sysctl -qw net.ipv4.vs.conntrack=0",
        "pod-service",
        "timeout",
        frozenset({"timeout"}),
    ),
    Fault(
        "ipvs-stale-real-server",
        lambda lab: f"ipvsadm -a -t {vip(lab)}:{PORT} -r {reals(lab)[0]}:9999 -m -w 1",
        "outside-nodeport",
        "mixed",
        frozenset({"connected", "refused"}),
    ),
)


def state(lab: Bench) -> str:
    """The director's virtual servers, local routes and sysctls."""
    shown = lab.shell("director", "ipvsadm-save -n | sort; ip route show table all; sysctl net.ipv4.vs")
    return re.sub(r"\[\d+:\d+\]", "", shown)


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1; one of IPVS's is in test_lab_ipvs")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.cause)
def test_broken_found_repaired_undone(lab: Bench, fault: Fault) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    source, who = SOURCES[fault.kind]
    target = f"{vip(lab)}:{PORT}"
    healthy = state(lab)
    saved = lab.shell("director", "ipvsadm-save -n")
    lab.shell("director", fault.inject(lab))
    try:
        broken = state(lab)
        assert broken != healthy
        said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
        assert said["outcome"] == fault.outcome
        assert [finding["cause"] for finding in said["findings"]][:1] == [fault.cause]
        assert {t["outcome"] for t in lab.connect(who, vip(lab), PORT, times=6)} <= fault.seen
        lab.nettrace("repair", "apply", fault.cause, "--lab", lab.name, "--yes", expect=(0,))
        assert state(lab) == healthy
        assert {t["outcome"] for t in lab.connect(who, vip(lab), PORT, times=4)} == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert state(lab) == broken
    finally:
        heal = f"ip route replace local {vip(lab)} dev lo; sysctl -qw net.ipv4.vs.conntrack=1; "
        lab.shell("director", f"{heal} ipvsadm -C; ipvsadm -R <<'END'\n{saved}\nEND")


@pytest.mark.skipif(not SWEEP, reason="only with NETTRACE_TEST_SWEEP=1")
def test_it_is_named(lab: Bench) -> None:
    """`show systems` knows the files, and all that they ask for is there; `show ipvs` lists it."""
    shown = lab.nettrace("show", "systems", "--lab", lab.name, expect=(0,)).out
    assert "lvs" in shown
    assert "/etc/ipvsadm.rules" in shown
    listed = lab.nettrace("show", "ipvs", "director", "--lab", lab.name, expect=(0,)).out
    assert all(f"{one}:{REAL_PORT}" in listed for one in reals(lab))
