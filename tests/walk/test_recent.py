"""-m recent: the lists of the snapshot, and what the walk's own packets put into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.section import NOT_READ, Missing, MissingKind
from nettrace.parse.iptables import parse_rule
from nettrace.walk.context import Run, Undecided, Wanted
from nettrace.walk.limits import Limits
from nettrace.walk.point import Unsure
from nettrace.walk.recent import recent
from tests.walk.worlds import flow, router

CLIENT = "10.1.0.2"


def run_with(*entries: RecentEntry) -> Run:
    """A run in whose namespace r the list x holds these entries."""
    world = router()
    world["r"].recent = [RecentList(name="y"), RecentList(name="x", entries=entries)]
    return Run(snapshot=world.snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())


def asked(run: Run, words: str, address: str = CLIENT) -> bool | str:
    """Does ``-m recent --name x`` with these words hold?  Or why it is open."""
    found = recent(run, "r", parse_rule(f"-m recent --name x {words}").matches[0], address)  # type: ignore[arg-type]
    return found.reason if isinstance(found, Unsure) else found


def seen(*ages: float, address: str = CLIENT, ttl: int = 0) -> RecentEntry:
    """An address that was seen so long ago."""
    return RecentEntry(address=address, ttl=ttl, ages=ages)


@given(
    ages=st.lists(st.integers(0, 200), min_size=1, max_size=8),
    seconds=st.integers(1, 200),
    hits=st.integers(1, 8),
    turned=st.booleans(),
)
def test_as_the_kernel_counts(ages: list[int], seconds: int, hits: int, turned: bool) -> None:
    """Seen often enough in the last seconds, where no age is too near to them to say."""
    words = f"{'! ' if turned else ''}--rcheck --seconds {seconds} --hitcount {hits}"
    found = asked(run_with(seen(*(age + 0.5 for age in ages))), words)
    exact = sum(age < seconds for age in ages) >= hits
    if isinstance(found, str):
        assert any(abs(age + 0.5 - seconds) <= 1 for age in ages)
    else:
        assert found is (exact != turned)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--rcheck", True),
        ("! --rcheck", False),
        ("--rcheck --seconds 60", True),
        ("--rcheck --seconds 5", False),
        ("--update --hitcount 2", False),
        ("--remove", True),
        ("--set", True),
        ("--rcheck --rttl", True),
    ],
)
def test_one_that_was_seen_once(words: str, expected: bool) -> None:
    """Seen once, ten seconds ago, by hand."""
    assert asked(run_with(seen(10)), words) is expected


@pytest.mark.parametrize("words", ["--rcheck", "--update --seconds 9", "--remove"])
def test_one_that_was_never_seen(words: str) -> None:
    """Only --set matches what no list holds, and its negation everything else."""
    other = run_with(seen(1, address="10.1.0.9"))
    assert asked(other, words) is False
    assert asked(other, f"! {words}") is True


def test_what_the_packets_of_the_walk_do() -> None:
    """--set puts in, --remove takes out, a successful --update counts once more."""
    run = run_with(seen(10))
    assert asked(run, "--rcheck --hitcount 2") is False
    assert asked(run, "--update") is True
    assert asked(run, "--rcheck --hitcount 2") is True
    assert asked(run, "--remove") is True
    assert asked(run, "--rcheck") is False
    assert asked(run, "--set") is True
    assert asked(run, "--rcheck --seconds 5") is True


def test_masks() -> None:
    """Addresses are compared under the list's mask."""
    run = run_with(seen(1, address="10.1.0.0"))
    assert asked(run, "--rcheck --mask 255.255.255.0") is True
    assert asked(run, "--rcheck --mask 255.255.255.255") is False


def test_a_ttl_that_would_decide_is_open() -> None:
    """What the TTL of the last packet is held against is not modelled, and said."""
    found = asked(run_with(seen(1, ttl=63)), "--rcheck --rttl")
    assert isinstance(found, str)
    assert "TTL" in found


def test_lists_that_were_not_read() -> None:
    """They are asked for; those that cannot be read leave it undecided."""
    run = run_with()
    netns = run.snapshot.namespaces["r"]
    for section, error in (
        (NOT_READ, Wanted),
        (Missing(MissingKind.DENIED, "needs root"), Undecided),
    ):
        snapshot = run.snapshot.with_netns(replace(netns, recent=section))
        other = Run(snapshot=snapshot, flow=run.flow, limits=Limits())
        with pytest.raises(error):
            asked(other, "--rcheck")
