"""Maps of Cilium's shape, made by bpf(2), read from the kernel and taken apart."""

import contextlib
import sys
from collections.abc import Iterator

import pytest

from nettrace.app.context import Context
from nettrace.app.plugins import load_plugins
from nettrace.app.show import programs, service_tables
from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.section import Known, Missing, SectionKey
from nettrace.model.service_table import ServiceTable
from nettrace.parse.snapshot_file import decode_snapshot, encode_snapshot
from tests.kernel.bed import Bed, Space
from tests.kernel.bpf import HASH, OK, bpf, on_tc, returning
from tests.kernel.cilium_maps import Cilium


@contextlib.contextmanager
def two_nodes(netns: Bed) -> Iterator[tuple[Context, Space]]:
    """Two nodes on this kernel, of which the first will run something."""
    spaces = {label: netns.new(label) for label in ("a", "b")}
    netns.veth(spaces["a"], "lxc0123456789ab", spaces["a"], "pod")
    handles = [
        Handle(name=label, path=space.path, inode=space.inode, node=label, role="node")
        for label, space in spaces.items()
    ]
    with Reader(handles) as reader:
        yield Context("test", reader.skeleton(), load_plugins(), reader), spaces["a"]


def run_with(space: Space, made: object, maps: tuple[int, ...]) -> None:
    """Hang a program that uses the maps on the node's device: so they are this node's."""
    code = returning(OK, *maps)
    descriptor = made.program("sched_cls", code, "cil_from_container")  # type: ignore[attr-defined]
    on_tc(space, "lxc0123456789ab", "ingress", descriptor, "cil_from_container-lxc0123456789ab")


def entries(table: ServiceTable) -> dict[str, list[tuple[str, int, str]]]:
    """Frontend -> its backends."""
    return {
        f"{one.address} {one.port} {one.proto} {one.kind}": [
            (b.address, b.port, b.state) for b in one.backends
        ]
        for one in table.entries
    }


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_service_table(netns: Bed, version: int) -> None:
    """Frontends, slots and backends of three layouts, told apart by their sizes, on their node only."""
    with two_nodes(netns) as (context, space), bpf() as made:
        cilium = Cilium(made, version)
        one, two = cilium.backend("10.0.1.5", 9376), cilium.backend("10.0.2.9", 9376)
        gone = cilium.backend("10.0.2.10", 9376, state=1)
        cilium.service("10.96.0.10", 53, "udp", one, two)
        cilium.service("10.96.0.11", 80, "tcp", one, two, gone, count=2, flags=0x10, affinity=10800)
        cilium.service("0.0.0.0", 30080, "tcp", two, flags=0x42 | 0x4)
        cilium.service("fd00::10", 53, "udp", cilium.backend("fd00:1::5", 53))
        run_with(space, made, cilium.all)
        (table,) = service_tables(context)
    assert (table.node, table.system, table.unknown) == ("a", "cilium", ())
    assert entries(table) == {
        "0.0.0.0 30080 tcp NodePort": [("10.0.2.9", 9376, "active")],
        "10.96.0.10 53 udp ClusterIP": [("10.0.1.5", 9376, "active"), ("10.0.2.9", 9376, "active")],
        "10.96.0.11 80 tcp ClusterIP": [
            ("10.0.1.5", 9376, "active"),
            ("10.0.2.9", 9376, "active"),
            ("10.0.2.10", 9376, "terminating"),
        ],
        "fd00::10 53 udp ClusterIP": [("fd00:1::5", 53, "active")],
    }
    notes = {one.address: one.notes for one in table.entries}
    assert notes["10.96.0.11"] == ("a client keeps its backend for 10800 s",)
    assert notes["0.0.0.0"] == ("from outside to backends of this node only",)


def test_maps_of_a_size_nobody_knows(netns: Bed) -> None:
    """They are said, with their sizes, and not guessed; so are slots that lead nowhere."""
    with two_nodes(netns) as (context, space), bpf() as made:
        odd = made.map(HASH, 16, 12, 8, name="cilium_lb4_services_v3")
        made.put(odd, bytes(16), bytes(12))
        cilium = Cilium(made)
        cilium.service("10.96.0.10", 53, "udp", 99)
        cilium.service("10.96.0.12", 53, "udp", count=2)
        run_with(space, made, (odd, *cilium.all))
        (table,) = service_tables(context)
        _, words = programs(context)
    assert [one.backends for one in table.entries] == [(), ()]
    (layout,) = [why for why in table.unknown if "layout" in why]
    assert "has keys of 16 bytes and values of 12: a layout that is not known" in layout
    assert any("slot 1 of 10.96.0.10:53 names backend 99, which no map has" in why for why in table.unknown)
    assert any("10.96.0.12:53 counts 2 backends, and 2 of its slots are empty" in w for w in table.unknown)
    (unread,) = [one for one in words["a"] if one.unknown]
    assert unread.rows == ()


def test_the_other_maps_in_words(netns: Bed) -> None:
    """Identities, endpoints by their device, connections both ways, and what replies come from."""
    with two_nodes(netns) as (context, space), bpf() as made:
        cilium = Cilium(made)
        index = int(space.run("cat", "/sys/class/net/lxc0123456789ab/ifindex"))
        cilium.identity("10.0.2.9/32", 4711, tunnel="192.168.7.2")
        cilium.identity("0.0.0.0/0", 2)
        cilium.identity("fd00:1::/64", 16777217)
        cilium.identity_before("10.0.1.5/32", 4, "192.168.7.1")
        cilium.endpoint("10.0.1.5", index, 321, "02:00:00:00:00:05", identity=4712)
        cilium.connection(("10.0.1.5", 40000), ("10.0.2.9", 9376), "tcp", 0, 4712)
        cilium.connection(("10.0.2.9", 40001), ("10.0.1.5", 80), "udp", 1, 4711)
        made.put(cilium.reverse, (7).to_bytes(2, "big"), bytes([10, 96, 0, 10]) + (53).to_bytes(2, "big"))
        run_with(space, made, cilium.all)
        snapshot, words = programs(context)
        assert words["b"] == ()
        rows = {one.name: one.rows for one in words["a"] if one.rows}
        assert sorted(rows["cilium_ipcache_"]) == [
            "0.0.0.0/0: identity 2 (world)",
            "10.0.2.9/32: identity 4711 (a set of labels), by the tunnel to 192.168.7.2",
            "fd00:1::/64: identity 16777217 (a CIDR, of this node's numbering)",
        ]
        assert rows["cilium_ipcache"] == ("10.0.1.5/32: identity 4 (health), by the tunnel to 192.168.7.1",)
        behind = "endpoint 321 behind lxc0123456789ab, MAC 02:00:00:00:00:05"
        assert rows["cilium_lxc"] == (f"10.0.1.5: {behind}, identity 4712 (a set of labels)",)
        more = "NodePort, from identity {} (a set of labels), reverse NAT 7"
        assert sorted(rows["cilium_ct4_glob"]) == [
            f"tcp out 10.0.1.5:40000 -> 10.0.2.9:9376, {more.format(4712)}",
            f"udp in 10.0.2.9:40001 -> 10.0.1.5:80, {more.format(4711)}",
        ]
        assert rows["cilium_lb4_reve"] == ("reverse NAT 7: 10.96.0.10:53",)
        name = context.plugins.name(context.snapshot, "a", "10.0.1.5")
        assert name == f"{behind}, identity 4 (health)"
        detected = {one.name: one for one in context.plugins.detect(context.snapshot)}["cilium"]
        assert detected.nodes == ("a",)
        texts = [one.text for one in detected.evidence]
        assert "lxc0123456789ab (veth)" in texts
        assert any(text.startswith("tc ingress cil_from_container-lxc0123456789ab (id ") for text in texts)
    # in a file too, and out of it the same
    kept = decode_snapshot(encode_snapshot(context.snapshot), "test")
    assert kept.nodes["a"].bpf == context.snapshot.nodes["a"].bpf
    again = Context("file", kept, load_plugins())
    assert again.plugins.map_words(again.snapshot, "a") == words["a"]
    assert snapshot.nodes["b"].bpf != snapshot.nodes["a"].bpf


def test_maps_reached_by_tail_calls(netns: Bed) -> None:
    """What only a program uses that another one goes on to belongs to the node too."""
    with two_nodes(netns) as (context, space), bpf() as made:
        cilium = Cilium(made)
        cilium.service("10.96.0.10", 53, "udp", cilium.backend("10.0.1.5", 53))
        later = made.program("sched_cls", returning(OK, *cilium.all), "tail_handle_ipv4")
        calls = made.map(3, 4, 4, 4, name="cilium_calls_00321")  # BPF_MAP_TYPE_PROG_ARRAY
        made.put(calls, (1).to_bytes(4, "little"), later.to_bytes(4, "little"))
        run_with(space, made, (calls,))
        (table,) = service_tables(context)
    assert entries(table) == {"10.96.0.10 53 udp ClusterIP": [("10.0.1.5", 53, "active")]}


def test_a_table_of_thousands(netns: Bed) -> None:
    """More entries than one batch holds, each once."""
    with two_nodes(netns) as (context, space), bpf() as made:
        big = made.map(HASH, 12, 12, 8192, name="cilium_lb4_services_v2")
        cilium = Cilium(made)
        cilium.services = big
        for number in range(3000):
            cilium.service(f"10.{96 + number // 60000}.{number // 250 % 250}.{number % 250}", 80, "tcp")
        run_with(space, made, (big, cilium.backends))
        (table,) = service_tables(context)
        key = SectionKey("node:a", "bpf/cilium_lb4_services_v2")
        section = context.snapshot.section(key)
        assert isinstance(section, Known)
        assert len(section.value[0].entries.value) == 3000
    assert len(table.entries) == 3000
    assert {one.backends for one in table.entries} == {()}


def test_without_bpf_there_is_no_table(netns: Bed) -> None:
    """A node that runs no program has no maps, and no table; that is known, not missing."""
    with two_nodes(netns) as (context, _):
        assert service_tables(context) == ()
        section = context.snapshot.nodes["a"].bpf
        assert not isinstance(section, Missing)
        assert section.value.maps == ()


_PINS = """
import ctypes, os, struct, sys
from nettrace.collect.bpf import pinned_map
from nettrace.collect.bpf_state import read_bpf
from nettrace.observe.bpf import Bpf
with Bpf() as made:
    os.makedirs("/sys/fs/bpf/tc/globals")
    for name in ("cilium_lb4_reverse_nat", "cilium_lb4_reverse_sk"):
        descriptor = made.map(1, 2, 6, 8, name=name)
        path = ctypes.create_string_buffer(f"/sys/fs/bpf/tc/globals/{name}".encode())
        made._call(6, struct.pack("=QI", ctypes.addressof(path), descriptor), "a pin")
    program = made.program("sched_cls", bytes.fromhex("b700000000000000") + bytes.fromhex("9500000000000000"), "p")
    path = ctypes.create_string_buffer(b"/sys/fs/bpf/tc/globals/a_program")
    made._call(6, struct.pack("=QI", ctypes.addressof(path), program), "a pin")
    state = read_bpf((), alone=True)
    for one in state.maps:
        if one.pinned:
            print(one.name, one.pinned)
"""


def test_maps_that_are_pinned(netns: Bed) -> None:
    """A pin gives the whole name of a map; a program that is pinned is no map."""
    space = netns.new("a")
    script = 'mount -t bpf bpf /sys/fs/bpf && exec "$0" -c "$1"'
    said = space.run("unshare", "-m", "sh", "-c", script, sys.executable, _PINS)
    found = dict(line.split() for line in said.splitlines())
    assert set(said.split()[1::2]) == {
        "/sys/fs/bpf/tc/globals/cilium_lb4_reverse_nat",
        "/sys/fs/bpf/tc/globals/cilium_lb4_reverse_sk",
    }
    assert set(found) == {"cilium_lb4_reve"}
