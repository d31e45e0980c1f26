"""Corners of the stages: what is damaged, half there, or seldom used."""

from typing import Any

import pytest
from msgspec.structs import replace

from nettrace.model.links import Peer, PortAttrs
from nettrace.model.packet import Packet, PortRange
from nettrace.model.routes import NextHop, PolicyRule, Route
from nettrace.model.section import NOT_READ, Known, SectionKey
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Needs, Outcome
from nettrace.model.xt import XtRuleset
from nettrace.walk import Limits, walk
from tests.walk.worlds import World, flow, one_path, pod_network, router, walked

TO_SERVER = flow("client", "10.2.0.2", 80)
UDP = flow("client", "10.2.0.2", 53, "udp")


# --- sending ---------------------------------------------------------------------------------


def test_a_mark_of_output_routes_again() -> None:
    """mangle OUTPUT's mark picks another table, with the source of the first route."""
    world = router()
    client = world["client"]
    client.filter("-A OUTPUT -p tcp -j MARK --set-mark 5", table="mangle")
    client.rules.insert(1, PolicyRule(priority=9, table=7, fwmark=5))
    client.route("default", table=7, type="unreachable")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome, path.errno) == (Verdict.NO_ROUTE, Outcome.TIMEOUT, None)
    client.filter("-A OUTPUT -p udp -j MARK --set-mark 5", table="mangle")
    path = one_path(world, UDP)
    assert (path.outcome, path.errno) == (Outcome.UNREACHABLE, "EHOSTUNREACH")


def test_a_connected_socket_looks_twice() -> None:
    """A rule on the source sees the address that the first lookup chose; an echo request looks once."""
    world = router()
    world["client"].rules.insert(1, PolicyRule(priority=9, action="unreachable", src="10.1.0.2/32"))
    for asked in (TO_SERVER, UDP):
        path = one_path(world, asked)
        assert (path.verdict, path.errno) == (Verdict.NO_ROUTE, "ENETUNREACH")
    assert one_path(world, flow("client", "10.2.0.2", proto="icmp")).outcome is Outcome.CONNECTED


def test_a_namespace_without_an_address_towards_the_destination() -> None:
    """Where no address can be chosen the walk says so."""
    world = World()
    world.netns("x")
    world["x"].addresses.clear()
    world["x"].add_link("eth0", "veth")
    world["x"].route("10.0.0.0/8", "eth0")
    assert one_path(world, flow("x", "10.0.0.1", 80)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("device", [None, "gone"])
def test_a_damaged_route(device: str | None) -> None:
    """A route without a device, or with one that does not exist, is UNKNOWN at home and on the way."""
    for netns in ("client", "r"):
        world = router()
        world[netns].route("10.2.0.2/32", nexthops=(NextHop(device=device),))
        assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_lo_may_be_down() -> None:
    """An address of one's own cannot be reached while lo is down."""
    world = router()
    world["server"].change("lo", up=False)
    path = one_path(world, flow("server", "10.2.0.2", 80))
    assert (path.verdict, path.outcome, path.errno) == (
        Verdict.LINK_DOWN,
        Outcome.UNREACHABLE,
        "ENETUNREACH",
    )


def test_a_preferred_source() -> None:
    """A route's own source address is taken before any other."""
    world = router()
    world["client"].address("eth0", "10.1.0.9/24")
    world["client"].route("10.2.0.2/32", "eth0", "10.1.0.1", prefsrc="10.1.0.9")
    path = one_path(world, TO_SERVER)
    assert path.endpoint is not None
    assert path.endpoint.source == "10.1.0.9"


def test_an_address_of_another_device() -> None:
    """A device without an address sends with one of another device that is up."""
    world = router()
    client = world["client"]
    client.addresses = [a for a in client.addresses if a.device == "lo"]
    client.add_link("down0", "dummy", up=False)
    client.address("down0", "10.8.0.2/32")
    client.add_link("dummy0", "dummy")
    client.address("dummy0", "10.1.0.2/32")
    path = one_path(world, TO_SERVER)
    assert path.request.steps[0].before is not None
    assert path.request.steps[0].before.src == "10.1.0.2"


# --- arriving --------------------------------------------------------------------------------


def test_a_source_with_a_broadcast_route_is_martian() -> None:
    """rp_filter's lookup refuses a source that is a broadcast address."""
    world = router()
    world["r"].conf("c", rp_filter=2)
    path = one_path(world, flow("r", "10.2.0.2", 80, src="10.2.0.255", device="c"))
    assert path.verdict is Verdict.MARTIAN


def test_rp_filter_on_a_device_without_addresses() -> None:
    """A device without addresses accepts only what its own routes lead back to."""
    world = router()
    world["r"].addresses = [a for a in world["r"].addresses if a.device != "c"]
    world["r"].routes = [r for r in world["r"].routes if r.nexthops[0].device != "c"]
    world["r"].route("10.1.0.0/24", "s", "10.2.0.9")
    arriving = flow("r", "10.2.0.2", 80, src="10.1.0.2", device="c")
    assert one_path(world, arriving).request.verdict is Verdict.DELIVERED
    world["r"].conf("c", rp_filter=2)
    assert one_path(world, arriving).request.verdict is Verdict.REVERSE_PATH_FILTERED


def test_a_multicast_destination_from_outside() -> None:
    """Multicast is UNKNOWN, not dropped."""
    path = one_path(router(), flow("r", "224.0.0.1", 80, "udp", src="10.1.0.2", device="c"))
    assert path.outcome is Outcome.UNKNOWN


def test_a_master_that_is_no_bridge() -> None:
    """A device of a bond is UNKNOWN."""
    world = router()
    world["r"].add_link("bond0", "bond")
    world["r"].change("c", master="bond0")
    world["client"].neighbour("eth0", "10.1.0.1", "02:00:00:00:00:01")
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "bond0" in path.reason


def test_a_macvlan_above_takes_its_frames() -> None:
    """A frame for the MAC of a macvlan on the device is UNKNOWN, not for somebody else."""
    world = router()
    world["server"].add_link("mv0", "macvlan", lower="eth0")
    world["r"].neighbour("s", "10.2.0.2", world.mac("server", "mv0"))
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "mv0" in path.reason


def test_programs_where_they_receive_and_send() -> None:
    """BPF is named on both ends of a cable, also by ARP."""
    for netns, device in (("client", "eth0"), ("r", "c"), ("r", "s"), ("server", "eth0")):
        world = router()
        world[netns].change(device, programs=("xdp prog 7",))
        path = one_path(world, TO_SERVER)
        assert path.outcome is Outcome.UNKNOWN
        assert "xdp prog 7" in path.reason
        world["client"].neighbour("eth0", "10.1.0.1", world.mac("r", "c"))
        world["r"].neighbour("c", "10.1.0.2", world.mac("client", "eth0"))
        world["r"].neighbour("s", "10.2.0.2", world.mac("server", "eth0"))
        path = one_path(world, TO_SERVER)
        assert path.outcome is Outcome.UNKNOWN
        assert "xdp prog 7" in path.reason


# --- devices ---------------------------------------------------------------------------------


def test_a_veth_whose_other_end_is_not_listed() -> None:
    """A peer index that the other namespace has not is UNKNOWN."""
    world = router()
    world["client"].change("eth0", peer=Peer("r", 99))
    world["client"].neighbour("eth0", "10.1.0.1", "02:00:00:00:00:01")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_tun_leads_to_a_program() -> None:
    """What enters a tun device has left for user space."""
    world = router()
    world["client"].add_link("tun0", "tun", noarp=True)
    world["client"].address("tun0", "10.7.0.1/24")
    path = one_path(world, flow("client", "10.7.0.9", 80))
    assert path.verdict is Verdict.LEFT_SNAPSHOT
    assert "user space" in path.reason


def test_a_bridge_port_without_flooding_to_outside() -> None:
    """A frame for a MAC that nobody knows leaves the snapshot by a port that leads outside."""
    world = pod_network()
    world["node"].add_link("eth1", "device", master="cni0", port=PortAttrs())
    world["pod1"].neighbour("eth0", "10.244.1.50", "02:00:00:00:00:50")
    path = one_path(world, flow("pod1", "10.244.1.50", 80))
    assert path.verdict is Verdict.LEFT_SNAPSHOT
    world["node"].change("eth1", kind="macvlan")
    assert one_path(world, flow("pod1", "10.244.1.50", 80)).outcome is Outcome.UNKNOWN


def test_a_port_that_is_down_itself() -> None:
    """The port that a frame came by does not forward: nothing of it goes on."""
    world = pod_network()
    world["node"].port("veth1", state=0)
    world["pod1"].neighbour("eth0", "10.244.1.1", world.mac("node", "cni0"))
    path = one_path(world, flow("pod1", "192.168.50.100", 80))
    assert path.verdict is Verdict.BRIDGE_DROPPED


def test_a_bond_on_the_segment() -> None:
    """ARP into a device that is not walked leaves open who answers."""
    world = router()
    world["server"].add_link("bond0", "bond")
    world["server"].change("eth0", master="bond0")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_far_namespace_that_cannot_be_read() -> None:
    """ARP towards a namespace whose devices are not known is open."""
    from nettrace.model.section import Missing, MissingKind

    denied = Missing(MissingKind.DENIED, "gone while it was read")
    snapshot = router().snapshot().with_section(SectionKey("server", "links"), denied)
    path = one_path(snapshot, TO_SERVER)
    assert path.outcome is Outcome.UNKNOWN
    assert "gone while it was read" in path.reason


# --- conntrack -------------------------------------------------------------------------------


def test_an_echo_with_a_known_identifier() -> None:
    """An entry for this identifier decides, as one for a port does; an echo reply alone is INVALID."""
    world = router()
    world["r"].nat("-A PREROUTING -d 10.1.0.1/32 -p icmp -j DNAT --to-destination 10.2.0.2")
    asked = flow("client", "10.1.0.1", proto="icmp", icmp_id=7)
    assert one_path(world, asked).endpoint is not None
    world["r"].conntrack = [
        ConntrackEntry(
            proto="icmp",
            original=Tuple(src="10.1.0.2", dst="10.1.0.1", icmp_type=8, icmp_code=0, icmp_id=7),
            reply=Tuple(src="10.2.0.77", dst="10.1.0.2", icmp_type=0, icmp_code=0, icmp_id=7),
        )
    ]
    assert one_path(world, asked).verdict is Verdict.NEIGHBOUR_FAILED


def test_an_echo_reply_out_of_nowhere_is_invalid() -> None:
    """A reply whose request went untracked is INVALID."""
    world = router()
    world["r"].filter("-A PREROUTING -p icmp -m icmp --icmp-type 8 -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", proto="icmp"))
    assert (path.verdict, path.failed) == (Verdict.DROPPED_BY_RULE, 1)


def test_an_error_about_an_untracked_packet_is_invalid() -> None:
    """An ICMP error about a connection that is not known is INVALID, and says so."""
    world = router()
    world["r"].filter("-A PREROUTING -p udp -j CT --notrack", table="raw")
    world["r"].filter("-A FORWARD -p icmp -m conntrack --ctstate INVALID -j DROP")
    path = one_path(world, flow("client", "10.2.0.2", 99, "udp"))
    assert path.outcome is Outcome.TIMEOUT
    words = [step.verdict for step in path.legs[1].steps if step.stage is Stage.CONNTRACK]
    assert words == ["invalid"]


def test_a_connection_in_another_zone_is_another() -> None:
    """Entries of a conntrack zone are not met."""
    world = router()
    world["r"].conntrack = [
        ConntrackEntry(
            proto="udp",
            original=Tuple(src="10.1.0.2", dst="10.2.0.2", sport=5555, dport=53),
            reply=Tuple(src="10.2.0.77", dst="10.1.0.2", sport=53, dport=5555),
            zone=3,
        )
    ]
    assert one_path(world, replace(UDP, packet=replace(UDP.packet, sport=PortRange(5555, 5555)))).outcome is (
        Outcome.CONNECTED
    )


def test_low_source_ports_stay_low() -> None:
    """A replaced source port below 512, or below 1024, is taken from below as well."""
    for low, wanted in ((400, PortRange(1, 511)), (700, PortRange(600, 1023))):
        world = router()
        world["r"].nat("-A POSTROUTING -o s -p udp -j MASQUERADE --random")
        asked = replace(UDP, packet=replace(UDP.packet, sport=PortRange(low, low)))
        path = one_path(world, asked)
        assert path.endpoint is not None
        assert path.endpoint.source_port == wanted


# --- rules -----------------------------------------------------------------------------------


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


# --- answers ---------------------------------------------------------------------------------


def test_an_answer_that_cannot_be_told() -> None:
    """A refusal whose way back is open leaves the outcome open."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -j REJECT", "-A OUTPUT -m limit --limit 1/sec -j DROP")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.REJECTED, Outcome.UNKNOWN)


def test_a_refused_ack_is_the_connection_s_result() -> None:
    """An ICMP error about the handshake's last packet is what the client reads."""
    world = router()
    world["r"].filter("-A FORWARD -i c -m conntrack --ctstate ESTABLISHED -j REJECT")
    path = one_path(world, TO_SERVER)
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_data_that_somebody_else_answers() -> None:
    """A later packet that finds no socket ends the connection in a way that is left open."""
    world = router()
    world["r"].filter("-A PREROUTING -p tcp -m tcp --dport 80 -j CT --notrack", table="raw")
    world["r"].nat("-A POSTROUTING -o c -j MASQUERADE")
    path = one_path(world, TO_SERVER)
    assert (path.verdict, path.outcome) == (Verdict.UNEXPECTED, Outcome.UNKNOWN)


def test_an_undecided_ack() -> None:
    """What cannot be told about the ACK leaves the outcome open."""
    world = router()
    world["r"].filter("-A FORWARD -p tcp -m tcp --tcp-flags SYN,ACK ACK -m limit --limit 1/sec -j DROP")
    assert one_path(world, TO_SERVER).outcome is Outcome.UNKNOWN


def test_a_udp_program_may_answer_or_not() -> None:
    """A policy rule that only a packet with, or only one without, a source meets leaves UDP open."""
    world = router()
    world["server"].rules.insert(1, PolicyRule(priority=9, action="unreachable", src="10.2.0.2/32"))
    assert one_path(world, UDP).outcome is Outcome.UNKNOWN
    world = router()
    world["server"].rules.insert(
        1, PolicyRule(priority=9, action="unreachable", src="10.2.0.2/32", invert=True, dst="10.1.0.2/32")
    )
    world["server"].rules[1] = replace(world["server"].rules[1], dst=None)
    assert one_path(world, UDP).outcome is Outcome.UNKNOWN
    world["server"].rules[1] = PolicyRule(priority=9, action="unreachable")
    path = one_path(world, UDP)
    assert (path.verdict, path.outcome) == (Verdict.NO_ROUTE, Outcome.TIMEOUT)


def test_a_flow_without_details() -> None:
    """A TCP flow without flags is a SYN, an ICMP flow without a type an echo request."""
    bare = replace(TO_SERVER, packet=replace(TO_SERVER.packet, tcp_flags=frozenset()))
    assert one_path(router(), bare).outcome is Outcome.CONNECTED
    ping = flow("client", "10.2.0.2", proto="icmp")
    bare = replace(ping, packet=replace(ping.packet, icmp_type=None, icmp_code=None))
    assert one_path(router(), bare).outcome is Outcome.CONNECTED


def test_a_refusal_by_icmp_to_outside() -> None:
    """An ICMP error that leaves to the caller outside tells it."""
    world = router()
    del world.spaces["client"]
    world["r"].change("c", peer=None, kind="device")
    world["r"].neighbour("c", "10.1.0.2", "02:00:00:00:00:01")
    path = one_path(world, flow("r", "10.2.0.2", 99, "udp", src="10.1.0.2", device="c"))
    assert (path.outcome, path.errno) == (Outcome.REFUSED, "ECONNREFUSED")


def test_a_shrinking_answer() -> None:
    """The server's segments shrink too when they are told to."""
    world = router()
    world["r"].route("10.1.0.2/32", "c", mtu=1200)
    path = one_path(world, TO_SERVER)
    assert path.outcome is Outcome.CONNECTED
    assert path.legs[-1].kind == "reply-data"
    assert path.legs[-1].steps[0].before is not None
    assert path.legs[-1].steps[0].before.size == 1200


# --- tunnels ---------------------------------------------------------------------------------


def tunnel() -> World:
    """a 192.168.0.1 with a VXLAN to b 192.168.0.2."""
    world = World()
    for number, name in ((1, "a"), (2, "b")):
        world.netns(name)
        if number == 2:
            world.veth("a", "eth0", "b", "eth0")
    for number, name in ((1, "a"), (2, "b")):
        world[name].address("eth0", f"192.168.0.{number}/24")
        world.vxlan(name, "vx", f"192.168.0.{number}")
        world[name].address("vx", f"10.5.0.{number}/24")
    for name, other in (("a", 2), ("b", 1)):
        mac = world.mac("ab"[other - 1], "vx")
        world[name].neighbour("vx", f"10.5.0.{other}", mac)
        world[name].bridge_fdb("vx", mac, f"192.168.0.{other}")
    world["b"].listen(80)
    return world


ACROSS = flow("a", "10.5.0.2", 80)


def test_corners_of_tunnels() -> None:
    """A tunnel to itself, one without attributes, a program at its port, a MAC that comes back."""
    assert one_path(tunnel(), ACROSS).outcome is Outcome.CONNECTED
    world = tunnel()
    world["a"].fdb = [replace(world["a"].fdb[0], dst="192.168.0.1")]
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["a"].change("vx", vxlan=None)
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["b"].change("vx", up=False)
    world["b"].listen(8472, "udp")
    assert one_path(world, ACROSS).outcome is Outcome.UNKNOWN
    world = tunnel()
    world["b"].change("vx", mac=world.mac("a", "vx"))
    assert one_path(world, ACROSS).verdict is Verdict.LOOP


def test_an_entry_bound_to_a_device() -> None:
    """A far end with a device of its own is sent to by it, whatever the routes say; no other is."""
    world = tunnel()
    world["a"].routes = [r for r in world["a"].routes if r.dst != "192.168.0.0/24"]
    assert one_path(world, ACROSS).verdict is Verdict.NO_ROUTE
    world["a"].fdb = [replace(entry, via="eth0") for entry in world["a"].fdb]
    assert one_path(world, ACROSS).outcome is Outcome.CONNECTED


def test_a_tunnel_that_carries_its_own_packets() -> None:
    """The tunnel's packets that are led into the tunnel are lost, and the walk ends."""
    world = tunnel()
    world["a"].nat("-A OUTPUT -p udp -m udp --dport 8472 -j DNAT --to-destination 10.5.0.2")
    path = one_path(world, ACROSS)
    assert path.verdict is Verdict.LOOP
    assert "carries its own packets" in path.reason


def test_somebody_else_s_tunnel_packet() -> None:
    """A packet to a VXLAN port that no tunnel of the walk made is UNKNOWN."""
    path = one_path(tunnel(), flow("a", "192.168.0.2", 8472, "udp"))
    assert path.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("wanted", [Route(dst="fd00::/64", table=254), Route(dst="10.9.0.0/16", table=99)])
def test_other_routes_do_not_matter(wanted: Route) -> None:
    """IPv6 routes and tables that no rule names change nothing."""
    world = router()
    before = walked(world, TO_SERVER)
    world["r"].routes.append(wanted)
    assert walked(world, TO_SERVER) == before


def test_the_packet_of_a_step_is_the_one_before_it() -> None:
    """Each step that changed the packet holds both; the next one begins with what came out."""
    world = router()
    world["r"].nat("-A PREROUTING -d 10.1.0.1/32 -p tcp -j DNAT --to-destination 10.2.0.2")
    path = one_path(world, flow("client", "10.1.0.1", 80))
    current: Packet | None = None
    for step in path.request.steps:
        if current is not None:
            assert step.before == current
        current = step.after or step.before
    changed: list[Any] = [step.verdict for step in path.request.steps if step.after is not None]
    assert changed == ["dnat", "accept"]
