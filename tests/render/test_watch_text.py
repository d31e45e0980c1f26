"""Drops as watch shows them."""

from msgspec.structs import replace

from nettrace.model.dropped import DropSeen, Predicted
from nettrace.model.observation import Hit
from nettrace.model.packet import Packet, PortRange
from nettrace.model.step import Stage, Step, Verdict, Why
from nettrace.render import text
from nettrace.render.document import drop_document
from nettrace.render.drop_text import drop_lines
from nettrace.render.json import decode, one_line
from nettrace.render.page import Look

SYN = Packet(
    src="10.0.0.1",
    dst="10.0.0.2",
    proto="tcp",
    sport=PortRange(4242, 4242),
    dport=PortRange(80, 80),
    tcp_flags=frozenset({"SYN"}),
)
RULE = Step(
    node="r",
    netns="r",
    stage=Stage.HOOK,
    verdict="DROP",
    hook="forward",
    backend="legacy",
    table="filter",
    chain="FORWARD",
    rule=2,
    why=Why("r/xt/legacy/filter/FORWARD/2", "-A FORWARD -j DROP"),
    stops=True,
)
SEEN = DropSeen(
    time=1_700_000_000.25,
    netns="r",
    node="r",
    device="s",
    iif="c",
    sent=False,
    reason="NETFILTER_DROP",
    function="nf_hook_slow",
    packet=SYN,
    predicted=Predicted(verdict=Verdict.DROPPED_BY_RULE, fits=True, step=RULE),
)


def shown(seen: DropSeen, *, wide: bool = False, width: int = 200) -> str:
    """Lay a drop out."""
    return text.render(drop_document(seen), Look(width=width, wide=wide))


def test_a_line_and_what_is_predicted() -> None:
    """Time, place, packet, reason; the rule with its text below."""
    first, second = shown(SEEN).splitlines()
    assert first == (
        "22:13:20.250  r c>s  tcp 10.0.0.1:4242 -> 10.0.0.2:80 SYN  NETFILTER_DROP (nf_hook_slow)"
    )
    assert second.split(maxsplit=1) == [
        "predicted",
        "DROPPED_BY_RULE  FORWARD  filter FORWARD rule 2 (legacy)  DROP: -A FORWARD -j DROP",
    ]


def test_repeats_are_one_line() -> None:
    """With a count; wide tells the prediction again."""
    again = replace(SEEN, count=7, repeated=True)
    assert shown(again).splitlines()[0].endswith("7 times  again")
    assert len(shown(again).splitlines()) == 1
    assert len(shown(again, wide=True).splitlines()) == 2


def test_what_the_walk_does_not_know_is_said() -> None:
    """UNKNOWN with the reason; a walk that explains nothing is named too; without one nothing is."""
    unsure = Predicted(verdict=Verdict.UNKNOWN, fits=None, reason="nobody knows")
    assert "UNKNOWN  the walk cannot tell: nobody knows" in shown(replace(SEEN, predicted=unsure))
    wrong = Predicted(verdict=Verdict.DELIVERED, fits=False, reason="a socket")
    assert "the walk does not explain it: DELIVERED: a socket" in shown(replace(SEEN, predicted=wrong))
    assert len(shown(replace(SEEN, predicted=None)).splitlines()) == 1
    bare = Predicted(verdict=Verdict.LINK_DOWN, fits=True)
    assert shown(replace(SEEN, predicted=bare)).splitlines()[1].split() == ["predicted", "LINK_DOWN"]


def test_other_steps_are_told_as_in_a_trace() -> None:
    """A route has no chain; a policy has no rule."""
    route = Step(
        node="r", netns="r", stage=Stage.ROUTE, verdict="drop", why=Why("r/routes", "no route"), stops=True
    )
    predicted = Predicted(verdict=Verdict.NO_ROUTE, fits=True, step=route)
    assert "NO_ROUTE  route  drop  no route" in shown(replace(SEEN, predicted=predicted))
    policy = replace(RULE, rule=0, verdict="policy DROP", backend="nft")
    predicted = Predicted(verdict=Verdict.DROPPED_BY_RULE, fits=True, step=policy)
    assert "filter FORWARD policy  policy DROP" in shown(replace(SEEN, predicted=predicted))


def test_a_confirmed_rule_stands_for_the_prediction() -> None:
    """By number, policy or, where it is gone, handle."""
    hit = Hit(
        netns="r", hook="forward", family="inet", table="t", chain="c", rule=3, handle=9, verdict="drop"
    )
    for rule, words in ((3, "rule 3"), (0, "policy"), (None, "handle 9")):
        found = shown(replace(SEEN, confirmed=replace(hit, rule=rule)))
        assert f"confirmed  FORWARD  inet t c {words}  drop" in found


def test_tunnels_and_errors_show_what_is_inside() -> None:
    """Whose packet it was matters more than which tunnel carried it."""
    outer = Packet(src="1.1.1.1", dst="1.1.1.2", proto="udp", dport=PortRange(8472, 8472), inner=SYN)
    assert "tcp 10.0.0.1:4242 -> 10.0.0.2:80 SYN (inside 1.1.1.1 -> 1.1.1.2:8472)" in shown(
        replace(SEEN, packet=outer)
    )
    error = Packet(src="1.1.1.1", dst="1.1.1.2", proto="icmp", icmp_type=3, icmp_code=1, inner=SYN)
    assert "icmp 1.1.1.1 -> 1.1.1.2 type 3 about 10.0.0.1:4242 -> 10.0.0.2:80" in shown(
        replace(SEEN, packet=error)
    )


def test_without_bpf_there_is_only_a_reason() -> None:
    """Neither place nor packet."""
    bare = replace(SEEN, netns="", node="", device=None, iif=None, packet=None, predicted=None)
    assert shown(bare) == "22:13:20.250  NETFILTER_DROP (nf_hook_slow)\n"


def test_a_document_a_line_can_be_read_back() -> None:
    """One JSON object, without a break in it."""
    document = drop_document(SEEN)
    written = one_line(document)
    assert written.count("\n") == 1
    assert decode(written, "x") == document
    assert document.time == "2023-11-14T22:13:20.250+00:00"


def test_drops_of_a_probe_are_summed_up() -> None:
    """Alike ones are one line; what follows a handshake and noise only if everything is wanted."""
    from nettrace.render.contract_observed import DropView

    def drop(leg: str, reason: str, attempt: int = 0) -> DropView:
        return DropView(
            attempt=attempt,
            leg=leg,
            netns="n",
            device="eth0",
            reason=reason,
            function="f",
            packet=None,
            time=0.0,
            tunnelled=False,
            count=1,
        )

    drops = [drop("request", "R"), drop("request", "R", 1), drop("data", "R"), drop("reply", "TCP_CLOSE")]
    assert drop_lines(drops) == ["request dropped in n at eth0: R (f), 2 times"]
    assert len(drop_lines(drops, wide=True)) == 3
    bare = replace(drops[0], netns=None, device=None, function=None, leg="")
    assert drop_lines([bare]) == ["packet dropped: R"]
