"""
Docker's rules before and since version 28: the matrix by real connections, and what breaks it.

A lab a layout; each fault is taken back by the shell before the next.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.acceptance.bench import Bench, bench
from tests.acceptance.matrix import SWEEP

only_sweep = pytest.mark.skipif(not SWEEP, reason="make systems")
HOST = "docker-host"
VERSIONS = ("27", "28")


@pytest.fixture(scope="module", params=VERSIONS if SWEEP else VERSIONS[1:])
def lab(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A host of this version, and a way from outside to its networks."""
    with bench(f"docker-{request.param}") as made:
        made.shell("internet", f"ip route add 192.168.0.0/22 via {address(made, HOST)}")
        yield made


def version_of(lab: Bench) -> str:
    """27 or 28."""
    return str(lab.record()["topology"].removeprefix("docker-"))


def address(lab: Bench, name: str) -> str:
    """The address of a member of the lab."""
    return str(next(m["addresses"][0] for m in lab.record()["namespaces"] if m["name"] == name))


class Way(NamedTuple):
    """Who calls whom, and what comes of it before version 28 and since."""

    source: str
    target: str
    port: int
    before: str
    since: str

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.source}-{self.target}-{self.port}"


WAYS = (
    Way("internet", HOST, 8088, "connected", "connected"),
    Way("internet", HOST, 8089, "connected", "connected"),
    Way("internet", "web", 80, "connected", "timeout"),  # past its published port
    Way("internet", "db", 5432, "timeout", "timeout"),
    Way("app", "web", 80, "connected", "connected"),
    Way("app", "api", 8080, "timeout", "timeout"),  # of another network
    Way("app", HOST, 8089, "timeout", "timeout"),  # and through the host
    Way("web", HOST, 8088, "connected", "connected"),  # to itself
    Way("app", "internet", 80, "connected", "connected"),
    Way("safe", "clerk", 8080, "connected", "connected"),
    Way("safe", "internet", 80, "unreachable", "unreachable"),  # an internal network
    Way(HOST, "db", 5432, "connected", "connected"),
    Way(HOST, HOST, 8088, "connected", "connected"),
)


def traced(lab: Bench, way: Way, *options: str, expect: tuple[int, ...] = (0, 1)) -> Any:
    """What nettrace says of a way."""
    kind = {HOST: "node/"}.get(way.source, "" if way.source == "internet" else "container/")
    target = f"{address(lab, way.target)}:{way.port}"
    words = ("trace", f"{kind}{way.source}", target, "--lab", lab.name, "-o", "json", *options)
    return lab.nettrace(*words, expect=expect).json


def really(lab: Bench, way: Way) -> set[str]:
    """What comes of real connections."""
    return {t["outcome"] for t in lab.connect(way.source, address(lab, way.target), way.port)}


@pytest.mark.parametrize("way", WAYS if SWEEP else (WAYS[0], WAYS[2]), ids=lambda way: way.name)
def test_prediction_equals_the_real_connection(lab: Bench, way: Way) -> None:
    """What the walk says, what a real connection does, and what this version is known for, are one."""
    wanted = way.before if version_of(lab) == "27" else way.since
    assert really(lab, way) == {wanted}
    assert traced(lab, way)["outcome"] == wanted


@only_sweep
def test_its_layout_is_told(lab: Bench) -> None:
    """By its chains; all that it owes is there."""
    shown = lab.nettrace("show", "systems", "--lab", lab.name, expect=(0,)).out
    words = {"27": "before 28", "28": "28 or newer"}[version_of(lab)]
    assert f"docker  {words}\n" in shown, shown
    assert ": all there" in shown


@only_sweep
def test_an_accept_that_is_gone(lab: Bench) -> None:
    """The published port is translated and dropped: found first, repaired, undone."""
    way = WAYS[0]
    rules = lab.shell(HOST, "iptables -S DOCKER").splitlines()
    rule = next(one for one in rules if "--dport 80 " in one)
    lab.shell(HOST, f"iptables {rule.replace('-A', '-D', 1)}")
    try:
        said = traced(lab, way, expect=(1,))
        assert (said["outcome"], really(lab, way)) == ("timeout", {"timeout"})
        assert said["findings"][0]["cause"] == "docker-filter-accept-missing", said["findings"]
        words = ("repair", "apply", "docker-filter-accept-missing", "--lab", lab.name, "--yes")
        lab.nettrace(*words, expect=(0,))
        assert really(lab, way) == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert really(lab, way) == {"timeout"}
    finally:
        lab.shell(HOST, rule.replace("-A DOCKER", "iptables -I DOCKER", 1))


@only_sweep
def test_a_translation_that_is_gone(lab: Bench) -> None:
    """The DNAT of a published port deleted: found first, repaired, undone."""
    way = WAYS[0]
    rules = lab.shell(HOST, "iptables -t nat -S DOCKER").splitlines()
    rule = next(one for one in rules if "--dport 8088" in one)
    lab.shell(HOST, f"iptables -t nat {rule.replace('-A', '-D', 1)}")
    try:
        said = traced(lab, way, expect=(1,))
        assert (said["outcome"], really(lab, way)) == ("refused", {"refused"})
        assert said["findings"][0]["cause"] == "docker-dnat-missing"
        lab.nettrace("repair", "apply", "docker-dnat-missing", "--lab", lab.name, "--yes", expect=(0,))
        assert really(lab, way) == {"connected"}
        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert really(lab, way) == {"refused"}
    finally:
        lab.shell(HOST, f"iptables -t nat {rule}")


@only_sweep
@pytest.mark.parametrize(
    ("way", "cause", "versions"),
    [(WAYS[6], "docker-network-isolation", VERSIONS), (WAYS[2], "docker-raw-direct-drop", ("28",))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_docker_refuses_on_purpose_is_said(
    lab: Bench, way: Way, cause: str, versions: tuple[str, ...]
) -> None:
    """Proven on the model, and left to whoever made the networks."""
    if version_of(lab) not in versions:
        return
    said = traced(lab, way, "--goal", "connected", expect=(1,))
    first = said["findings"][0]
    assert first["cause"] == cause, said["findings"]
    assert [(r["safety"], r["commands"]) for r in first["repairs"]] == [("advice", [])]
    assert "docker" in first["repairs"][0]["lasting"]
