"""Which packets have a socket, and which socket a packet is for, where a rule asks."""

import os

import pytest

from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_OWNERS = ("--socket-exists", "! --socket-exists", "--uid-owner 0", "! --uid-owner 0")
_SOCKETS = ("-m socket", "-m socket --nowildcard")
#: A packet that somebody answers: with an error, an RST, or what was asked for.
_CALLS = {
    "closed-udp": ("udp", 9, ""),
    "closed-tcp": ("tcp", 81, ""),
    "echo": ("icmp", None, ""),
    "reject-udp": ("udp", 7, "-p udp -j REJECT"),
    "reject-tcp": ("tcp", 80, "-p tcp -j REJECT --reject-with tcp-reset"),
    "reject-tcp-error": ("tcp", 80, "-p tcp -j REJECT"),
}


def _logs(chain: str, words: tuple[str, ...]) -> str:
    return "".join(f"-A {chain} {one} -j NFLOG --nflog-group 9\n" for one in words)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("call", _CALLS)
def test_what_the_kernel_sends_has_a_socket_or_none(benches: Benches, call: str, family: int) -> None:
    """Errors and echoes are sent by a socket without an owner, a rule's RST and IPv6's by none."""
    proto, port, reject = _CALLS[call]
    owners = tuple(f"-m owner {one}" for one in _OWNERS[: 4 if port is None or "closed" in call else 2])
    rules = f"*mangle\n{_logs('OUTPUT', owners)}{_logs('POSTROUTING', owners)}COMMIT\n"
    if reject:
        rules += f"*filter\n-A INPUT {reject}\nCOMMIT\n"
    six = family == 6
    state = State(
        topology="router-6" if six else "router",
        rules=(("server", "ip6tables-restore" if six else "iptables-restore", rules),),
    )
    probe = Probe(
        source="client",
        dst="fd00:2::2" if six else "10.2.0.2",
        proto="icmpv6" if six and proto == "icmp" else proto,
        dport=port,
        sport=4200 if port else None,
    )
    assert benches.agreed(state, probe).judgement.agrees


def test_the_outer_packet_of_an_error_keeps_its_socket(benches: Benches) -> None:
    """What a node answers through the tunnel has the socket of the answer."""
    owners = tuple(f"-p udp -m owner {one}" for one in _OWNERS)
    rules = f"*mangle\n{_logs('OUTPUT', owners)}{_logs('POSTROUTING', owners)}COMMIT\n"
    state = State(topology="vxlan", rules=(("node2", "iptables-restore", rules),))
    probe = Probe(source="pod1", dst="10.244.2.1", proto="udp", dport=9, sport=4201)
    assert benches.agreed(state, probe).walk.outcome == "refused"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("nat", [False, True], ids=["plain", "masqueraded"])
@pytest.mark.parametrize("call", ["closed-udp", "closed-tcp", "reject-udp", "reject-tcp-error", "open"])
def test_the_socket_of_an_answer(benches: Benches, call: str, nat: bool, family: int) -> None:
    """An error is for the socket of the packet that it quotes; of ICMPv6 NAT is not undone in the lookup."""
    proto, port, reject = _CALLS.get(call, ("tcp", 80, ""))
    six = family == 6
    client = f"*mangle\n{_logs('PREROUTING', _SOCKETS)}{_logs('INPUT', _SOCKETS)}COMMIT\n"
    if nat:
        own = "fd00:1::9" if six else "10.1.0.9"
        client += f"*nat\n-A POSTROUTING -j SNAT --to-source {own}\nCOMMIT\n"
    loader = "ip6tables-restore" if six else "iptables-restore"
    rules = [("client", loader, client)]
    if reject:
        rules.append(("server", loader, f"*filter\n-A INPUT {reject}\nCOMMIT\n"))
    address = "fd00:1::9/64" if six else "10.1.0.9/24"
    ip = "ip -6" if six else "ip"
    add = f"{ip} addr add {address} dev eth0{' nodad' if six else ''}"
    state = State(
        topology="router-6" if six else "router",
        rules=tuple(rules),
        commands=(("client", add, f"{ip} addr del {address} dev eth0"),),
    )
    probe = Probe(
        source="client",
        dst="fd00:2::2" if six else "10.2.0.2",
        src="fd00:1::2" if six else "10.1.0.2",
        proto=proto,
        dport=port,
        sport=4202,
        talk=call == "open",
    )
    assert benches.agreed(state, probe).judgement.agrees


@pytest.mark.parametrize("family", [4, 6])
def test_the_socket_of_an_error_about_an_answer(benches: Benches, family: int) -> None:
    """The server's side: what it answered is rejected on its way."""
    six = family == 6
    loader = "ip6tables-restore" if six else "iptables-restore"
    server = f"*mangle\n{_logs('PREROUTING', _SOCKETS)}{_logs('INPUT', _SOCKETS)}COMMIT\n"
    back = "-A FORWARD -i s -p tcp -j REJECT\n-A FORWARD -i s -p udp -j REJECT\n"
    state = State(
        topology="router-6" if six else "router",
        rules=(("server", loader, server), ("r", loader, f"*filter\n{back}COMMIT\n")),
    )
    for proto, port in (("tcp", 80), ("udp", 7)):
        probe = Probe(
            source="client", dst="fd00:2::2" if six else "10.2.0.2", proto=proto, dport=port, sport=4203
        )
        assert benches.agreed(state, probe).judgement.agrees
