"""Connections and their translation, there and back."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.packet import Packet, PortRange
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from nettrace.model.xt_target import NatRange
from nettrace.walk.context import Run
from nettrace.walk.limits import Limits
from nettrace.walk.nat import bind, translate
from nettrace.walk.skb import Conn, Skb, mirrored, tuple_of
from tests.walk.worlds import TO_SERVER, flow, one_path, router

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
