"""Programs on devices and cgroups: attached by bpf(2) and netlink, found, and where the walk ends."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.plugins import load_plugins
from nettrace.app.trace import diagnosis_of
from nettrace.collect import machine_bpf
from nettrace.collect.bpf import hook_links
from nettrace.collect.discover import Handle
from nettrace.collect.modules import has_module
from nettrace.collect.reader import Reader
from nettrace.model.bpf import BpfProgram
from nettrace.model.links import Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from nettrace.walk import walk
from tests.kernel.bed import Bed, Space, eventually
from tests.kernel.bpf import (
    HASH,
    OK,
    SHOT,
    TCX_INGRESS,
    XDP_PASS,
    bpf,
    on_cgroup,
    on_netfilter,
    on_tc,
    on_tcx,
    on_xdp,
    own_cgroup,
    returning,
)
from tests.kernel.walkbed import Net


def read(space: Space, name: str) -> object:
    """The value of a section of a namespace."""
    key = SectionKey("a", name)
    with Reader([Handle(name="a", path=space.path, inode=space.inode)]) as reader:
        section = reader.read([key], reader.skeleton()).section(key)
    assert isinstance(section, Known), section
    return section.value


def link_of(space: Space, device: str) -> Link:
    """A device as it is read."""
    links = read(space, "links")
    assert isinstance(links, tuple)
    (found,) = [link for link in links if link.name == device]
    assert isinstance(found, Link)
    return found


def programs(space: Space, device: str) -> tuple[str, ...]:
    """What the link says hangs on it."""
    return link_of(space, device).programs


def test_tc_with_its_name_id_tag_and_maps(netns: Bed) -> None:
    """A program of BPF on clsact is told by what the kernel knows of it, on the side where it is."""
    a = netns.new("a")
    netns.stub(a, "v0")
    with bpf() as made:
        conns = made.map(HASH, 4, 8, 16, name="some_connections_of_ours")
        on_tc(a, "v0", "ingress", made.program("sched_cls", returning(OK, conns), "from_pod"), "from_pod-v0")
        on_tc(a, "v0", "egress", made.program("sched_cls", returning(SHOT), "to_pod"), "")
        found = link_of(a, "v0")
        assert link_of(a, "v0-end").bpf == ()
    first, second = found.bpf
    assert (first.hook, first.name, second.hook, second.name) == (
        "tc egress",
        "to_pod",
        "tc ingress",
        "from_pod-v0",
    )
    assert found.programs == (f"tc egress to_pod (id {first.id})", f"tc ingress from_pod-v0 (id {second.id})")
    assert re.fullmatch("[0-9a-f]{16}", first.tag)
    assert first.tag != second.tag
    assert first.maps == ()
    (shared,) = second.maps
    assert shared.name == "some_connection"  # 15 bytes of it
    assert shared.id > 0


def test_xdp(netns: Bed) -> None:
    """An XDP program shows with its mode."""
    a = netns.new("a")
    netns.stub(a, "v0")
    assert programs(a, "v0") == ()
    with bpf() as made:
        on_xdp(a, "v0", made.program("xdp", returning(XDP_PASS), "filter_all"))
        (found,) = link_of(a, "v0").bpf
    assert re.fullmatch("xdp (driver|generic)", found.hook)
    assert (found.name, found.maps) == ("filter_all", ())
    assert programs(a, "v0") == (f"{found.hook} filter_all (id {found.id})",)
    assert programs(a, "v0-end") == ()


def test_tcx(netns: Bed) -> None:
    """A BPF program attached without any tc filter shows, and only where it is."""
    a = netns.new("a")
    netns.stub(a, "v0")
    with bpf() as made:
        with on_tcx(a, "v0", TCX_INGRESS, made.program("sched_cls", returning(OK), "first")):
            (found,) = link_of(a, "v0").bpf
            assert (found.hook, found.name) == ("tcx ingress", "first")
            assert programs(a, "v0") == (f"tcx ingress first (id {found.id})",)
            assert programs(a, "v0-end") == ()
        assert programs(a, "v0") == ()


def net_of_two(netns: Bed) -> Net:
    """Two hosts, one of which listens."""
    net = Net(netns)
    for label in ("a", "b"):
        net.new(label, role="node")
    netns.veth(net["a"], "eth0", net["b"], "eth0")
    net["a"].address("eth0", "10.7.0.1/24")
    net["b"].address("eth0", "10.7.0.2/24")
    net.sh("a", "ip neigh replace 10.7.0.2 lladdr $MAC_b_eth0 dev eth0 nud permanent")
    net.sh("b", "ip neigh replace 10.7.0.1 lladdr $MAC_a_eth0 dev eth0 nud permanent")
    net.listen("b", 8080)
    return net


@pytest.mark.parametrize(
    ("label", "side", "where"),
    [("a", "egress", "eth0 of a"), ("b", "ingress", "eth0 of b"), ("b", "egress", "eth0 of b")],
)
def test_the_walk_ends_at_tc(netns: Bed, label: str, side: str, where: str) -> None:
    """Whether it passes all or drops all: UNKNOWN, with name, id, tag and maps, at that hop."""
    net = net_of_two(netns)
    try:
        assert net.walked(net.flow("a", "10.7.0.2", 8080, "tcp")).verdict is Verdict.DELIVERED
        with bpf() as made:
            conns = made.map(HASH, 4, 8, 16, name="conns")
            descriptor = made.program("sched_cls", returning(SHOT, conns), "drops_all")
            on_tc(net[label], "eth0", side, descriptor, "")
            (program,) = link_of(net[label], "eth0").bpf
            found = net.walked(net.flow("a", "10.7.0.2", 8080, "tcp"))
        assert found.verdict is Verdict.UNKNOWN
        (path,) = found.paths
        reason = path.legs[-1].reason
        assert reason.startswith(f"tc {side} drops_all (id {program.id}) on {where} decides")
        assert f"tag {program.tag} and maps conns (id {program.maps[0].id})" in reason
    finally:
        net.close()


def test_who_answers_arp_behind_a_program(netns: Bed) -> None:
    """ARP passes tc too: without a neighbour entry that much is not known, and by whom is said."""
    net = net_of_two(netns)
    try:
        net.sh("a", "ip neigh del 10.7.0.2 dev eth0")
        with bpf() as made:
            on_tc(net["b"], "eth0", "ingress", made.program("sched_cls", returning(SHOT), "drops_all"), "")
            (program,) = link_of(net["b"], "eth0").bpf
            found = net.walked(net.flow("a", "10.7.0.2", 8080, "tcp"))
        assert found.verdict is Verdict.UNKNOWN
        assert f"tc ingress drops_all (id {program.id}) on eth0 of b" in found.paths[0].legs[-1].reason
    finally:
        net.close()


def test_a_program_on_a_cgroup(netns: Bed) -> None:
    """connect4 on the cgroup of whoever sends: UNKNOWN there; on another cgroup it is nobody's here."""
    net = net_of_two(netns)
    try:
        with bpf() as made, own_cgroup() as cgroup:
            descriptor = made.program("connect4", returning(1), "sock4_connect")
            told = made.program("getpeername4", returning(1), "peername")
            with on_cgroup(cgroup, "connect4", descriptor), on_cgroup(cgroup, "getpeername4", told):
                assert read(net["a"], "socket_programs") == ()
                assert net.walked(net.flow("a", "10.7.0.2", 8080, "tcp")).verdict is Verdict.DELIVERED
                client = net["a"].spawn("sleep", "60")
                (cgroup / "cgroup.procs").write_text(str(client.pid))
                programs = read(net["a"], "socket_programs")
                assert isinstance(programs, tuple)
                found, other = programs
                assert isinstance(found, BpfProgram)
                assert (found.hook, found.name, found.cgroup) == (
                    "connect4",
                    "sock4_connect",
                    f"/{cgroup.name}",
                )
                assert (other.hook, other.name) == ("getpeername4", "peername")
                walked = net.walked(net.flow("a", "10.7.0.2", 8080, "tcp"))
                assert walked.verdict is Verdict.UNKNOWN
                reason = walked.paths[0].legs[-1].reason
                assert reason.startswith(f"connect4 sock4_connect (id {found.id}) of cgroup /{cgroup.name}")
                assert "peername" not in reason
                # nobody of that cgroup asks for an address of b's, or sends what b answers
                assert net.walked(net.flow("b", "10.7.0.1", 8080, "tcp")).verdict is not Verdict.UNKNOWN
                client.kill()
                client.wait()
                eventually(lambda: not (cgroup / "cgroup.procs").read_text())
            assert read(net["a"], "socket_programs") == ()
    finally:
        net.close()


def test_a_program_on_what_a_server_receives(netns: Bed) -> None:
    """A program at ingress of the listener's cgroup decides about the request, where it is delivered."""
    net = net_of_two(netns)
    try:
        with bpf() as made, own_cgroup() as cgroup:
            server = net["b"].spawn("sleep", "60")
            (cgroup / "cgroup.procs").write_text(str(server.pid))
            with on_cgroup(cgroup, "ingress", made.program("ingress", returning(1), "firewall")):
                walked = net.walked(net.flow("a", "10.7.0.2", 8080, "tcp"))
            server.kill()
            server.wait()
            eventually(lambda: not (cgroup / "cgroup.procs").read_text())
        assert walked.verdict is Verdict.UNKNOWN
        (leg,) = walked.paths[0].legs
        assert re.match(r"ingress firewall \(id \d+\) of cgroup ", leg.reason)
    finally:
        net.close()


def test_a_program_at_a_netfilter_hook(netns: Bed) -> None:
    """
    It is listed with name, id and priority, and gone with its link.

    Where the kernel does not say of which namespace it is, it may be of every one: so it hangs here for the
    moment of one reading, on a hook that few packets of other tests meet.
    """
    a = netns.new("a")
    key = SectionKey("a", "socket_programs")
    with bpf() as made, Reader([Handle(name="a", path=a.path, inode=a.inode)]) as reader:
        descriptor = made.program("netfilter", returning(1), "accepts_all")
        empty = reader.skeleton()
        before = reader.read([key], empty)
        with on_netfilter(a, 10, 2, -77, descriptor):  # IPv6, FORWARD
            during = reader.read([key], empty)
        after = reader.read([key], empty)
    found = during.section(key)
    assert isinstance(found, Known)
    (one,) = [program for program in found.value if program.hook.startswith("netfilter")]
    assert (one.hook, one.name, one.priority) == ("netfilter ip6 forward", "accepts_all", -77)
    assert one.id > 0
    assert one.placed == has_module("nfnetlink_hook")
    for snapshot in (before, after):
        section = snapshot.section(key)
        assert isinstance(section, Known)
        assert one.id not in {program.id for program in section.value}


def test_links_that_come_and_go_are_no_failure(netns: Bed) -> None:
    """The kernel refuses a link that is not attached yet: somebody else's, such as any probe makes."""
    net, over = net_of_two(netns), threading.Event()

    def churn(descriptor: int) -> int:
        made = 0
        while not over.is_set():
            # who lists links holds the old one for a moment
            with suppress(FileExistsError), on_tcx(net["a"], "eth0", TCX_INGRESS, descriptor):
                made += 1
        return made

    try:
        with bpf() as made, ThreadPoolExecutor(1) as pool:
            others = pool.submit(churn, made.program("sched_cls", returning(OK), "passes"))
            try:
                until = time.monotonic() + 1
                while time.monotonic() < until:
                    hook_links()
            finally:
                over.set()
            assert others.result() > 1
    finally:
        net.close()


def test_a_filter_that_drops_all_is_the_finding(netns: Bed) -> None:
    """As the catalogue injects it, with tc(8): a classic program without an id is found all the same."""
    net = net_of_two(netns)
    try:
        net.sh("a", "tc qdisc add dev eth0 clsact")
        net.sh("a", "tc filter add dev eth0 egress bpf da bytecode '1,6 0 0 2,'")
        flow = net.flow("a", "10.7.0.2", 8080, "tcp")
        assert net.tried(flow, timeout=0.5).attempts[0].outcome is Outcome.TIMEOUT
        handles = [
            Handle(name=label, path=space.path, inode=space.inode, node=label, role="node")
            for label, space in net.spaces.items()
        ]
        with Reader(handles) as reader:
            context = Context("test", reader.skeleton(), load_plugins(), reader)
            walked = ask(context, lambda snapshot: walk(snapshot, flow))
            found = diagnosis_of(context, walked, connected=True)
        assert walked.verdict is Verdict.UNKNOWN
        (first,) = found.findings
        assert first.cause == "bpf-datapath-opaque"
        assert first.message == "tc egress bpf on a decides about these packets, and no rule shows how"
        assert first.repairs[0].lasting == "look at it: tc filter show dev eth0"
    finally:
        net.close()


def test_a_tc_filter(netns: Bed) -> None:
    """A classic filter at ingress shows with its side and kind."""
    a = netns.new("a")
    netns.stub(a, "v0")
    a.run("tc", "qdisc", "add", "dev", "v0", "clsact")
    assert programs(a, "v0") == ()
    a.run("tc", "filter", "add", "dev", "v0", "egress", "bpf", "da", "bytecode", "1,6 0 0 4294967295,")
    assert programs(a, "v0") == ("tc egress bpf",)


def test_netem(netns: Bed) -> None:
    """A queue that loses packets shows; one that only delays them does not."""
    a = netns.new("a")
    netns.stub(a, "v0")
    netns.stub(a, "v1")
    added = a.run("tc", "qdisc", "add", "dev", "v0", "root", "netem", "loss", "10%", check=False)
    if "netem" not in a.run("tc", "qdisc", "show", "dev", "v0"):
        pytest.skip(f"no netem in this kernel: {added}")
    a.run("tc", "qdisc", "add", "dev", "v1", "root", "netem", "delay", "10ms")
    assert programs(a, "v0") == ("netem loss",)
    assert programs(a, "v1") == ()


def test_the_machines_programs_are_looked_for_once(netns: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many namespaces are read together, links and programs of the machine are listed once."""
    asked: list[str] = []

    def watched(name: str) -> None:
        real = getattr(machine_bpf, name)

        def asks() -> object:
            asked.append(name)
            return real()

        monkeypatch.setattr(machine_bpf, name, asks)

    watched("hook_links")
    watched("program_ids")
    spaces = [netns.new(name) for name in "abc"]
    handles = [Handle(name=space.name, path=space.path, inode=space.inode) for space in spaces]
    with Reader(handles) as reader:
        keys = [SectionKey(handle.name, "socket_programs") for handle in handles]
        found = reader.read(keys, reader.skeleton())
        assert all(isinstance(found.section(key), Known) for key in keys)
        assert sorted(asked) == ["hook_links", "program_ids"]
        reader.read(keys, found)
        assert len(asked) == 4
