"""IPVS as the kernel has it, as ipvsadm shows it, and as the model holds it."""

import time

from msgspec.structs import replace

from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.canonical import difference
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns
from nettrace.parse.ipvs import parse_ipvsadm_save
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot
from tests.kernel.bed import Bed, Space

SERVERS = (
    "-A -t 10.96.0.1:443 -s rr -p 600",
    "-a -t 10.96.0.1:443 -r 192.0.2.1:6443 -m -w 0",
    "-a -t 10.96.0.1:443 -r 192.0.2.2:6443 -m -w 3 -x 10 -y 5",
    "-A -u 10.96.0.10:53 -s wlc",
    "-a -u 10.96.0.10:53 -r 10.244.1.2:53 -g",
    "-a -u 10.96.0.10:53 -r 10.244.1.3:53 -i",
    "-A -u 10.96.0.11:53 -s rr -o -p 300 -M 255.255.255.0",
    "-A -t 10.96.0.2:80 -s sh -b sh-port,sh-fallback",
    "-A -t 10.96.0.3:80 -s mh -b mh-port",
    "-A -t [fd00::a]:80 -s rr -p 300 -M 64",
    "-a -t [fd00::a]:80 -r [fd00::1]:8080 -m",
    "-A -f 7 -s wrr",
    "-a -f 7 -r 10.1.0.9 -m -w 2",
    "-A --sctp-service 10.96.0.4:7 -s lc",
)


def read(space: Space, *names: str) -> Netns:
    """Read sections of one namespace."""
    handle = Handle(name=space.name, path=space.path, inode=space.inode, netns=space.name)
    with Reader([handle]) as reader:
        keys = [SectionKey(space.name, name) for name in names]
        return reader.read(keys, reader.skeleton()).namespaces[space.name]


def servers(space: Space) -> tuple[VirtualServer, ...]:
    """Read the virtual servers."""
    section = read(space, "ipvs").ipvs
    assert isinstance(section, Known), section
    return section.value


def _sorted(server: VirtualServer) -> list[RealServer]:
    return sorted(server.real_servers, key=lambda real: real.address)


def test_servers_are_those_of_ipvsadm(netns: Bed) -> None:
    """Every virtual and real server is read as ipvsadm-save writes it: sorted, without thresholds."""
    space = netns.new()
    for line in SERVERS:
        space.run("ipvsadm", *line.split())
    listed = parse_ipvsadm_save(space.run("ipvsadm-save", "-n"))
    found = servers(space)
    plain = [
        replace(one, real_servers=tuple(replace(real, upper=0, lower=0) for real in _sorted(one)))
        for one in found
    ]
    assert difference(sorted(map(repr, plain)), sorted(map(repr, listed))) == []
    by_name = {one.address or one.fwmark: one for one in found}
    assert [real.address for real in by_name["10.96.0.1"].real_servers] == ["192.0.2.2", "192.0.2.1"]
    assert by_name["10.96.0.1"].real_servers[0].upper == 10
    assert by_name["10.96.0.2"].flags == ("sh-fallback", "sh-port")
    assert by_name["10.96.0.11"].netmask == 24
    assert by_name["fd00::a"].netmask == 64
    assert by_name[7].real_servers[0].weight == 2


def test_none_where_nobody_made_any(netns: Bed) -> None:
    """A namespace without virtual servers has an empty section, and sysctls of its own."""
    found = read(netns.new(), "ipvs", "ipvs_connections", "sysctls")
    assert found.ipvs == found.ipvs_connections == Known(())
    assert isinstance(found.sysctls, Known)
    assert found.sysctls.value["net.ipv4.vs.conntrack"] == "0"
    assert found.sysctls.value["net.ipv4.vs.snat_reroute"] == "1"


def test_connections_and_templates(netns: Bed) -> None:
    """What IPVS remembers is read with its templates, of both families, and counted with the real server."""
    space = netns.new()
    space.address("lo", "10.0.0.1/32", "fd00::a/128")
    for line in (
        "-A -u 10.0.0.1:53 -s rr -p 600",
        "-a -u 10.0.0.1:53 -r 127.0.0.1:53 -m",
        "-A -u [fd00::a]:53 -s rr",
        "-a -u [fd00::a]:53 -r [::1]:53 -m",
    ):
        space.run("ipvsadm", *line.split())
    code = (
        "import socket\n"
        "for family, to in ((socket.AF_INET, '10.0.0.1'), (socket.AF_INET6, 'fd00::a')):\n"
        "    socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', (to, 53))\n"
    )
    space.run("python3", "-I", "-c", code)
    time.sleep(0.1)
    section = read(space, "ipvs_connections").ipvs_connections
    assert isinstance(section, Known)
    seen = {(one.address, one.client_port == 0): one for one in section.value}
    assert set(seen) == {("10.0.0.1", True), ("10.0.0.1", False), ("fd00::a", False)}
    template = seen["10.0.0.1", True]
    assert (template.proto, template.client, template.port) == ("udp", "10.0.0.1", 53)
    assert (template.server, template.server_port) == ("127.0.0.1", 53)
    assert 0 < template.expires <= 600
    assert seen["fd00::a", False].server == "::1"
    counted = {one.address: one.real_servers[0] for one in servers(space)}
    assert counted["fd00::a"].inactive == 1


def test_a_snapshot_keeps_it(netns: Bed) -> None:
    """The file of a snapshot holds virtual servers and connections."""
    space = netns.new()
    for line in SERVERS:
        space.run("ipvsadm", *line.split())
    handle = Handle(name=space.name, path=space.path, inode=space.inode, netns=space.name)
    with Reader([handle]) as reader:
        taken = reader.read_all(reader.skeleton())
    again = decode_snapshot(encode_snapshot(taken), "file").namespaces[space.name]
    assert isinstance(again.ipvs, Known)
    assert again.ipvs == taken.namespaces[space.name].ipvs
    assert len(again.ipvs.value) == sum(line.startswith("-A") for line in SERVERS)
