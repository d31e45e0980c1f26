"""Connections and their translation, there and back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from nettrace.model.packet import Packet, PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from nettrace.model.xt_target import NatRange
from nettrace.walk.context import Run
from nettrace.walk.limits import Limits
from nettrace.walk.nat import bind, translate
from nettrace.walk.skb import Conn, Skb, mirrored, tuple_of
from tests.walk.worlds import TO_SERVER, World, flow, one_path, router

PUBLISHED = flow("client", "10.1.0.1", 8080)
DNAT = "-A PREROUTING -d 10.1.0.1/32 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.2.0.2:80"


def test_a_published_port() -> None:
    """DNAT there, un-NATed back; the entry that the kernel would keep is among what was learned."""
    world = router()
    world["r"].nat(DNAT)
    path = one_path(world, PUBLISHED)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert (path.endpoint.address, path.endpoint.port, path.endpoint.source) == ("10.2.0.2", 80, "10.1.0.2")
    assert [(one.original.dst, one.reply.src, one.reply.sport) for one in path.learned] == [
        ("10.1.0.1", "10.2.0.2", 80)
    ]
    back = [step for step in path.legs[1].steps if step.stage is Stage.CONNTRACK]
    assert [step.verdict for step in back] == ["snat"]
    assert back[0].after is not None
    assert back[0].after.src == "10.1.0.1"


def test_masquerade_takes_the_address_of_the_device_it_leaves_by() -> None:
    """The first address of the out device in the next hop's subnet, not another one."""
    world = router()
    world["r"].addresses = [a for a in world["r"].addresses if a.device != "s"]
    world["r"].address("s", "10.7.0.1/24")
    world["r"].address("s", "10.2.0.1/24")
    world["r"].nat("-A POSTROUTING -o s -j MASQUERADE")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert path.endpoint.source == "10.2.0.1"


def test_masquerade_without_an_address_drops() -> None:
    """A device without an address, on a host without one, drops what it should masquerade."""
    world = router()
    world["r"].nat("-A POSTROUTING -o s -j MASQUERADE")
    r = world["r"]
    r.addresses = [a for a in r.addresses if a.device == "lo"]
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))
    path = one_path(world, flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c"))
    assert path.verdict is Verdict.DROPPED_BY_RULE
    assert "no address" in path.reason


@pytest.mark.parametrize(
    ("target", "ports"),
    [
        ("MASQUERADE", PortRange(32768, 60999)),
        ("MASQUERADE --random-fully", PortRange(1024, 65535)),
        ("SNAT --to-source 10.2.0.1", PortRange(32768, 60999)),
        ("SNAT --to-source 10.2.0.1 --random", PortRange(1024, 65535)),
        ("SNAT --to-source 10.2.0.1:2000-2100", PortRange(2000, 2100)),
        ("SNAT --to-source 10.2.0.1:32768-61000", PortRange(32768, 60999)),
    ],
)
def test_source_ports_are_ranges(target: str, ports: PortRange) -> None:
    """What the kernel is free to choose is a range, as wide as its choice, and the answer finds back."""
    world = router()
    world["r"].nat(f"-A POSTROUTING -o s -p tcp -j {target}")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert path.endpoint.source_port == ports


def test_an_identifier_is_drawn_like_a_port() -> None:
    """An echo masqueraded to the address it has, with a random identifier, is source-NATed all the same."""
    world = router()
    world["client"].nat("-A POSTROUTING -p icmp -j MASQUERADE --random-fully")
    world["client"].filter("-A INPUT -m conntrack ! --ctstate SNAT -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", None, "icmp"))
    assert path.outcome is Outcome.CONNECTED
    world["client"].nat("-A POSTROUTING -p icmp -j MASQUERADE")
    assert one_path(world, flow("client", "10.2.0.2", None, "icmp")).outcome is Outcome.TIMEOUT


def test_an_error_finds_its_way_back_to_a_drawn_identifier() -> None:
    """What an error quotes gets the identifier back that was drawn for it."""
    world = router()
    world["client"].nat("-A POSTROUTING -p icmp -j MASQUERADE --random-fully")
    world["r"].filter("-A FORWARD -p icmp -j REJECT")
    path = one_path(world, flow("client", "10.2.0.2", None, "icmp"))
    assert (path.verdict, path.outcome) == (Verdict.REJECTED, Outcome.REFUSED)


def test_a_known_port_is_kept_unless_it_is_taken() -> None:
    """A known source port survives SNAT; one that another connection's answers use does not."""
    world = router()
    world["r"].nat("-A POSTROUTING -o s -p tcp -j MASQUERADE")
    asked = flow("client", "10.2.0.2", 80, sport=5555)
    path = one_path(world, asked)
    assert path.endpoint is not None
    assert path.endpoint.source_port == PortRange(5555, 5555)
    world["r"].conntrack = [
        ConntrackEntry(
            proto="tcp",
            original=Tuple(src="10.1.0.9", dst="10.2.0.2", sport=5555, dport=80),
            reply=Tuple(src="10.2.0.2", dst="10.2.0.1", sport=80, dport=5555),
            state="ESTABLISHED",
        )
    ]
    path = one_path(world, asked)
    assert path.endpoint is not None
    assert path.endpoint.source_port == PortRange(1024, 65535)


def test_redirect_leads_to_the_device_it_came_in_by() -> None:
    """REDIRECT in PREROUTING is for the receiving device's address, in OUTPUT for 127.0.0.1."""
    world = router()
    world["r"].listen(3128)
    world["r"].nat("-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128")
    path = one_path(world, TO_SERVER)
    assert path.endpoint is not None
    assert (path.endpoint.netns, path.endpoint.address, path.endpoint.port) == ("r", "10.1.0.1", 3128)
    world = router()
    world["client"].listen(3128, address="127.0.0.1")
    world["client"].nat("-A OUTPUT -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.endpoint is not None
    assert (path.endpoint.netns, path.endpoint.address) == ("client", "127.0.0.1")


def test_a_range_of_addresses_is_hashed_into() -> None:
    """The address out of a range is the one that the kernel's hash of both ends names."""
    world = router()
    rule = "-A PREROUTING -d {} -p tcp -j DNAT --to-destination 10.2.0.{}"
    world["r"].nat(rule.format("10.1.0.1", "1-10.2.0.2"))
    path = one_path(world, flow("client", "10.1.0.1", 80))
    assert path.draws == ()
    last = path.request.steps[-1].before
    assert last is not None
    assert last.dst in ("10.2.0.1", "10.2.0.2")


def test_nat_sees_only_the_first_packet() -> None:
    """Replies and later packets do not meet the nat chains."""
    world = router()
    world["r"].nat("-A PREROUTING -j ACCEPT", "-A POSTROUTING -j ACCEPT")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    met = [leg.kind for leg in path.legs for step in leg.steps if step.table == "nat"]
    assert set(met) == {"request"}


def test_output_is_routed_before_and_after() -> None:
    """Without a first route DNAT in OUTPUT does not help; with one the packet is routed again."""
    world = router()
    world["client"].nat("-A OUTPUT -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2:80")
    path = one_path(world, flow("client", "10.96.0.1", 80))
    assert path.outcome is Outcome.CONNECTED
    routes = [
        step.note for step in path.request.steps if step.stage is Stage.ROUTE and step.netns == "client"
    ]
    assert routes == ["", "routed again after OUTPUT changed it"]
    world["client"].routes = [r for r in world["client"].routes if r.dst != "0.0.0.0/0"]
    world["client"].route("10.2.0.0/24", "eth0", "10.1.0.1")
    path = one_path(world, flow("client", "10.96.0.1", 80))
    assert (path.verdict, path.errno) == (Verdict.NO_ROUTE, "ENETUNREACH")


def test_filter_output_sees_the_first_route_s_device() -> None:
    """-o in OUTPUT is the device before the translation; in POSTROUTING that after it."""
    world = router()
    client = world["client"]
    client.add_link("other", "veth")
    client.address("other", "10.9.0.2/24")
    client.route("10.96.0.0/16", "other", "10.9.0.1")
    client.nat(
        "-A OUTPUT -d 10.96.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2:80",
        "-A POSTROUTING -o eth0 -j MASQUERADE",
    )
    client.filter(
        "-A OUTPUT -o eth0 -p tcp -d 10.2.0.2 -m mark ! --mark 1 -j ACCEPT",
        "-A OUTPUT -o other -j MARK --set-mark 1",
    )
    path = one_path(world, flow("client", "10.96.0.1", 80))
    chains = [
        (step.chain, step.rule)
        for step in path.request.steps
        if step.chain in ("OUTPUT", "POSTROUTING") and step.rule
    ]
    assert chains == [("OUTPUT", 1), ("OUTPUT", 2), ("POSTROUTING", 1)]


def stale(**fields: Any) -> ConntrackEntry:
    """An entry of an old DNAT to 10.2.0.77 for udp 10.1.0.2:5555 -> 10.1.0.1:8080."""
    return ConntrackEntry(
        **{
            "proto": "udp",
            "original": Tuple(src="10.1.0.2", dst="10.1.0.1", sport=5555, dport=8080),
            "reply": Tuple(src="10.2.0.77", dst="10.1.0.2", sport=80, dport=5555),
            **fields,
        }
    )


def test_an_old_entry_decides_for_its_own_port_only() -> None:
    """A stale UDP entry captures the client with its source port, and no other."""
    world = router()
    world["r"].nat("-A PREROUTING -p udp -m udp --dport 8080 -j DNAT --to-destination 10.2.0.2:53")
    world["r"].conntrack = [stale()]
    assert one_path(world, flow("client", "10.1.0.1", 8080, "udp")).outcome is Outcome.CONNECTED
    assert one_path(world, flow("client", "10.1.0.1", 8080, "udp", sport=6666)).outcome is Outcome.CONNECTED
    path = one_path(world, flow("client", "10.1.0.1", 8080, "udp", sport=5555))
    assert path.verdict is Verdict.NEIGHBOUR_FAILED


def test_a_finished_tcp_connection_is_begun_anew() -> None:
    """A SYN meets an entry in TIME_WAIT by replacing it, one that is established by obeying it."""
    world = router()
    world["r"].nat(DNAT)
    old: dict[str, Any] = {
        "proto": "tcp",
        "original": Tuple(src="10.1.0.2", dst="10.1.0.1", sport=5555, dport=8080),
        "reply": Tuple(src="10.2.0.77", dst="10.1.0.2", sport=80, dport=5555),
    }
    asked = flow("client", "10.1.0.1", 8080, sport=5555)
    world["r"].conntrack = [ConntrackEntry(**old, state="TIME_WAIT")]
    assert one_path(world, asked).outcome is Outcome.CONNECTED
    world["r"].conntrack = [ConntrackEntry(**old, state="ESTABLISHED")]
    assert one_path(world, asked).verdict is Verdict.NEIGHBOUR_FAILED


# --- states -----------------------------------------------------------------------------------


def states(world: World, rules: list[str], asked: Any = TO_SERVER) -> Outcome:
    """The outcome with these rules in r's FORWARD."""
    world["r"].filter(*rules)
    return one_path(world, asked).outcome


def test_states_of_an_exchange() -> None:
    """NEW there, ESTABLISHED back and from then on."""
    rules = [
        "-P FORWARD DROP",
        "-A FORWARD -i s -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-A FORWARD -i c -m conntrack --ctstate NEW -p tcp -m tcp --tcp-flags SYN,ACK SYN -j ACCEPT",
        "-A FORWARD -i c -m conntrack --ctstate ESTABLISHED -p tcp -m tcp --tcp-flags ACK ACK -j ACCEPT",
    ]
    assert states(router(), rules) is Outcome.CONNECTED


def test_errors_are_related() -> None:
    """An ICMP error about a tracked connection is RELATED; dropping those loses it."""
    refused = flow("client", "10.2.0.2", 81, "udp")
    assert (
        states(router(), ["-A FORWARD -m conntrack --ctstate RELATED -j ACCEPT"], refused) is Outcome.REFUSED
    )
    assert states(router(), ["-A FORWARD -m conntrack --ctstate RELATED -j DROP"], refused) is Outcome.TIMEOUT
    assert (
        states(router(), ["-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP"], refused)
        is Outcome.REFUSED
    )


def test_an_error_comes_back_translated() -> None:
    """An error about a translated packet reaches the client as if from the address it called."""
    world = router()
    world["r"].nat(
        "-A PREROUTING -p udp -m udp --dport 8080 -j DNAT --to-destination 10.2.0.2:81",
        "-A POSTROUTING -j MASQUERADE",
    )
    path = one_path(world, flow("client", "10.1.0.1", 8080, "udp"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")
    last = path.legs[1].steps[-1].before
    assert last is not None
    assert last.inner is not None
    assert (last.src, last.dst) == ("10.1.0.1", "10.1.0.2")
    assert (last.inner.src, last.inner.dst, last.inner.dport) == (
        "10.1.0.2",
        "10.1.0.1",
        PortRange(8080, 8080),
    )


def test_a_reply_that_took_another_way_is_invalid() -> None:
    """A SYN/ACK without its SYN is INVALID, and so is an ACK without its SYN/ACK."""
    drop = ["-A FORWARD -m conntrack --ctstate INVALID -j DROP"]
    world = router()
    world["r"].filter("-A PREROUTING -i c -j CT --notrack", table="raw")
    assert states(world, drop) is Outcome.TIMEOUT
    world = router()
    world["r"].filter("-A PREROUTING -i s -j CT --notrack", table="raw")
    assert states(world, drop) is Outcome.STALLS


def test_a_connection_is_picked_up_half_way_only_if_allowed() -> None:
    """Without nf_conntrack_tcp_loose an ACK out of nowhere is INVALID."""
    rules = ["-A FORWARD -p tcp -m conntrack --ctstate INVALID -j DROP"]
    world = router()
    syns = "-A PREROUTING -p tcp -m tcp --tcp-flags SYN SYN -j CT --notrack"
    world["r"].filter(syns, table="raw")
    assert states(world, rules) is Outcome.CONNECTED
    world["r"].sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
    assert states(world, rules) is Outcome.STALLS


@pytest.mark.parametrize(
    "flags", [{"ACK"}, {"ACK", "FIN"}, {"SYN", "FIN"}], ids=lambda flags: "-".join(sorted(flags))
)
def test_only_a_syn_or_an_ack_begins_a_connection(flags: set[str]) -> None:
    """A FIN that belongs to no connection is INVALID; a bare ACK may be picked up."""
    world = router()
    world["r"].filter("-A FORWARD -m conntrack --ctstate INVALID -j DROP")
    asked = flow("client", "10.2.0.2", 80)
    asked = replace(asked, packet=replace(asked.packet, tcp_flags=frozenset(flags)))
    verdict = one_path(world, asked).legs[0].verdict
    assert (verdict is Verdict.DROPPED_BY_RULE) == ("FIN" in flags)


def test_notrack_does_not_undo_what_is_attached() -> None:
    """The answer to what is not tracked is INVALID, although a rule says that it is not tracked either."""
    world = router()
    world["r"].filter("-A PREROUTING -j CT --notrack", "-A OUTPUT -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -j REJECT", "-A OUTPUT -m conntrack --ctstate INVALID -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.TIMEOUT


def test_connmarks_are_kept_with_the_connection() -> None:
    """save and restore carry bits between packet and connection under their masks."""
    world = router()
    world["r"].filter(
        "-A PREROUTING -i c -j MARK --set-xmark 0xab/0xff",
        "-A PREROUTING -i c -j CONNMARK --save-mark --nfmask 0xf0 --ctmask 0xff",
        "-A PREROUTING -i s -j CONNMARK --restore-mark",
        table="mangle",
    )
    world["r"].filter("-A FORWARD -i s -m mark ! --mark 0xa0 -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.CONNECTED
    world["r"].filter(
        "-A FORWARD -i s -m connmark ! --mark 0xa0 -j DROP", "-A FORWARD -i s -m mark --mark 0xa0 -j DROP"
    )
    assert one_path(world, TO_SERVER).outcome is Outcome.TIMEOUT


# --- algebra -------------------------------------------------------------------------------------

hosts = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.9.0.1", "192.0.2.7"])
ports = st.sampled_from([PortRange(80, 80), PortRange(5555, 5555), PortRange(32768, 60999)])
ranges = st.builds(
    lambda address, port: NatRange(lo=address, hi=address, ports=port), st.none() | hosts, st.none() | ports
)


@settings(deadline=None, max_examples=300)
@given(hosts, hosts, ports, ports, st.none() | ranges, st.none() | ranges, st.booleans())
def test_translating_there_and_back_is_the_identity(
    src: str,
    dst: str,
    sport: PortRange,
    dport: PortRange,
    to: NatRange | None,
    by: NatRange | None,
    random: bool,
) -> None:
    """However a packet is translated on its way, its answer comes back as an answer to what was sent."""
    run = Run(snapshot=router().snapshot(), flow=TO_SERVER, limits=Limits())
    sent = Packet(src=src, dst=dst, proto="udp", sport=sport, dport=dport)
    conn = Conn("r", tuple_of(sent), mirrored(tuple_of(sent)))
    skb = Skb(sent, "r", conn=conn, state="NEW")
    if to is not None:
        bind(run, conn, "dst", to, random=random)
    translate(run, skb, "prerouting")
    if by is not None:
        bind(run, conn, "src", by, random=random)
    translate(run, skb, "postrouting")
    there = skb.packet
    answer = Packet(src=there.dst, dst=there.src, proto="udp", sport=there.dport, dport=there.sport)
    assert tuple_of(answer) == conn.reply
    back = Skb(answer, "r", conn=conn, reply=True, state="ESTABLISHED")
    translate(run, back, "prerouting")
    translate(run, back, "postrouting")
    assert tuple_of(back.packet) == mirrored(tuple_of(sent))


@settings(deadline=None, max_examples=100)
@given(hosts, hosts, ports, ports, ranges, ranges)
def test_an_error_is_translated_back_with_what_it_quotes(
    src: str, dst: str, sport: PortRange, dport: PortRange, to: NatRange, by: NatRange
) -> None:
    """An ICMP error about the translated packet quotes, in the end, the packet as it was sent."""
    run = Run(snapshot=router().snapshot(), flow=TO_SERVER, limits=Limits())
    sent = Packet(src=src, dst=dst, proto="udp", sport=sport, dport=dport)
    conn = Conn("r", tuple_of(sent), mirrored(tuple_of(sent)))
    skb = Skb(sent, "r", conn=conn, state="NEW")
    bind(run, conn, "dst", to)
    bind(run, conn, "src", by)
    translate(run, skb, "prerouting")
    translate(run, skb, "postrouting")
    error = Packet(
        src="10.5.5.5", dst=skb.packet.src, proto="icmp", icmp_type=3, icmp_code=3, inner=skb.packet
    )
    back = Skb(error, "r", conn=conn, reply=True, state="RELATED")
    translate(run, back, "prerouting")
    translate(run, back, "postrouting")
    assert back.packet.inner is not None
    assert tuple_of(back.packet.inner) == tuple_of(sent)
    assert back.packet.dst == src
