"""Targets of rules, what is not understood in them, and rules that were not read."""

from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Outcome
from nettrace.model.xt import XtRuleset
from nettrace.walk import Limits, walk
from tests.walk.worlds import TO_SERVER, flow, one_path, router


def test_targets_without_a_connection_do_nothing() -> None:
    """CONNMARK and TCPMSS on packets that have neither connection nor MSS are passed."""
    world = router()
    world["r"].filter("-A PREROUTING -j CT --notrack", table="raw")
    world["r"].filter(
        "-A FORWARD -j CONNMARK --set-mark 1",
        "-A FORWARD -p tcp -m tcp --tcp-flags SYN NONE -j TCPMSS --set-mss 1000",
        table="mangle",
    )
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_a_reject_that_is_not_understood() -> None:
    """An unknown --reject-with is UNKNOWN."""
    world = router()
    world["r"].filter("-A FORWARD -j REJECT --reject-with icmp6-no-route")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_redirect_without_an_address_drops() -> None:
    """REDIRECT on a device without addresses drops."""
    world = router()
    world["r"].nat("-A PREROUTING -p tcp -j REDIRECT --to-ports 1")
    world["r"].addresses = [a for a in world["r"].addresses if a.device != "c"]
    path = one_path(world, flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c"))
    assert path.verdict is Verdict.DROPPED_BY_RULE


def test_harmless_targets_are_passed() -> None:
    """A target that only accounts for the packet is passed even if it is not understood."""
    world = router()
    world["r"].filter("-A FORWARD -j TRACE", "-A FORWARD -j AUDIT --type accept")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED


def test_limits_are_kept() -> None:
    """A walk that would test more rules, or pass more stages, than allowed is UNKNOWN."""
    world = router()
    world["r"].filter(*["-A FORWARD -p udp -j DROP"] * 10)
    for limits in (Limits(rules=5), Limits(stages=5)):
        answer = walk(world.snapshot(), TO_SERVER, limits=limits)
        assert not isinstance(answer, Needs)
        assert answer.outcome is Outcome.UNKNOWN


def test_both_back_ends_undecided() -> None:
    """Where a back end's rule cannot be told, that is the reason, not the order."""
    world = router()
    world["r"].filter("-A FORWARD -j DROP", backend="legacy")
    world["r"].filter("-A FORWARD -m limit --limit 1/sec -j ACCEPT")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "limit" in path.reason


def test_a_table_that_was_not_read() -> None:
    """A table whose chains are not known is asked for by name."""
    world = router()
    world["r"].filter("-A FORWARD -j DROP")
    snapshot = world.snapshot()
    snapshot = snapshot.with_section(SectionKey("r", "xt/legacy"), Known(XtRuleset({"filter": NOT_READ})))
    answer = walk(snapshot, TO_SERVER)
    assert isinstance(answer, Needs)
    assert answer.keys == (SectionKey("r", "xt/legacy/filter"),)


def test_many_jumps_are_not_read_ahead() -> None:
    """Of a dispatch chain with many targets only the one that is jumped to is asked for."""
    world = router()
    targets = [f"-A FORWARD -d 10.9.0.{n}/32 -j C{n}" for n in range(40)]
    world["r"].filter(
        *targets, "-A FORWARD -j LAST", "-A LAST -j RETURN", *[f"-A C{n} -j DROP" for n in range(40)]
    )
    snapshot = world.snapshot()
    for name in ["LAST", *(f"C{n}" for n in range(40))]:
        snapshot = snapshot.with_section(SectionKey("r", f"xt/nft/filter/{name}"), NOT_READ)
    answer = walk(snapshot, TO_SERVER)
    assert isinstance(answer, Needs)
    assert [key.name for key in answer.keys] == ["xt/nft/filter/LAST"]
