"""
Nodes and changes of them, drawn at random.

Lives here: hypothesis strategies: a small node, and every change that applies to one.
"""

from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from nettrace.model.change import (
    AddressAdd,
    AddressDelete,
    ChainDelete,
    ChainSet,
    Change,
    ConntrackDelete,
    FdbAdd,
    FdbDelete,
    LinkSet,
    NeighbourAdd,
    NeighbourDelete,
    PolicySet,
    RecentAdd,
    RecentDelete,
    RouteAdd,
    RouteDelete,
    RuleDelete,
    RuleInsert,
    RuleReplace,
    SysctlSet,
)
from nettrace.model.edit_links import PORT_ATTRIBUTES, kernel_routes
from nettrace.model.links import Address, BridgeAttrs, FdbEntry, Link, Neighbour, Peer, PortAttrs, VxlanAttrs
from nettrace.model.recent import RecentEntry, RecentList
from nettrace.model.routes import TABLE_LOCAL, NextHop, Route
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import Comment, Negatable, Tcp
from nettrace.model.xt_target import Accept, Drop, Jump, MarkTarget, Return

ADDRESSES = ("10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1")
DEVICES = ("br0", "v0", "vx0", "eth0.7")
MTU = st.sampled_from((1450, 1500))
ON_OFF = st.sampled_from(("0", "1", "2"))
RULES = (
    XtRule(target=Drop()),
    XtRule(src=Negatable("10.1.0.0/16"), target=Accept()),
    XtRule(proto=Negatable("tcp"), matches=(Tcp(flags=(frozenset({"SYN", "ACK"}), frozenset({"SYN"}))),)),
    XtRule(matches=(Comment("kept"),), target=Return()),
    XtRule(target=MarkTarget(0x4000, 0x4000)),
    XtRule(target=Jump("ONE")),
    XtRule(target=Jump("TWO")),
)


@st.composite
def nodes(draw: Any) -> Snapshot:
    """A node as a kernel might hold it: the routes of a device fit its state and addresses."""
    links = [
        Link(index=1, name="lo", kind="loopback"),
        Link(index=2, name="br0", kind="bridge", bridge=BridgeAttrs(), mtu=1500),
        Link(
            index=3,
            name="v0",
            kind="veth",
            master="br0",
            peer=Peer(None, 2),
            port=PortAttrs(hairpin=draw(st.booleans()), isolated=draw(st.booleans())),
        ),
        Link(
            index=4,
            name="vx0",
            kind="vxlan",
            vxlan=VxlanAttrs(vni=1),
            mtu=draw(st.sampled_from((1450, 1500))),
        ),
        Link(index=5, name="eth0.7", kind="vlan", lower="vx0", promisc=draw(st.booleans()), mtu=1450),
    ]
    addresses = [
        Address(device=device, address=address, prefixlen=draw(st.sampled_from((16, 24, 31, 32))))
        for device, address in zip(DEVICES, ADDRESSES, strict=True)
        if draw(st.booleans())
    ]
    routes = [
        Route(
            dst=f"{a.address}/32",
            type="local",
            table=TABLE_LOCAL,
            scope="host",
            protocol="kernel",
            prefsrc=a.address,
            nexthops=(NextHop(device=a.device),),
        )
        for a in addresses
    ]
    routes += [route for link in links for route in kernel_routes(addresses, link)]
    for number in draw(st.sets(st.integers(0, 7))):
        routes.append(draw(static_routes(number)))
    neighbours = [
        Neighbour(
            device=device, address="10.1.0.9", mac=f"02:00:00:00:00:0{n}", state=draw(st.sampled_from(STATES))
        )
        for n, device in enumerate(DEVICES)
    ]
    fdb = [draw(fdb_entries(number)) for number in draw(st.sets(st.integers(0, 3)))]
    forward = draw(ON_OFF)
    sysctls = {"net.ipv4.ip_forward": forward, "net.ipv4.conf.all.forwarding": forward}
    for name in ("all.accept_redirects", "default.forwarding", "lo.forwarding"):
        sysctls[f"net.ipv4.conf.{name}"] = draw(ON_OFF)
    for device in ("all", "default", *DEVICES):
        sysctls[f"net.ipv4.conf.{device.replace('.', '/')}.rp_filter"] = draw(ON_OFF)
        sysctls.setdefault(f"net.ipv4.conf.{device.replace('.', '/')}.forwarding", draw(ON_OFF))
    tables: dict[str, Any] = {
        "filter": Known(XtTable(draw(chains("filter")))),
        "mangle": Known(XtTable(draw(chains("mangle")))),
    }
    node = Netns(
        name="node",
        node="node",
        links=Known(tuple(links)),
        addresses=Known(tuple(addresses)),
        routes=Known(tuple(draw(st.permutations(routes)))),
        neighbours=Known(tuple(neighbours)),
        fdb=Known(tuple(fdb)),
        sysctls=Known(sysctls),
        conntrack=Known((CONNECTION,)),
        recent=Known((SEEN,)),
        xt_nft=Known(XtRuleset(tables)),
        xt_legacy=Known(XtRuleset({})),
    )
    return Snapshot(namespaces={"node": node})


STATES = ("permanent", "reachable", "failed")
SEEN = RecentList(name="L", entries=(RecentEntry(address="10.1.0.2", ages=(3.0,)),))
CONNECTION = ConntrackEntry(
    proto="tcp", original=Tuple(src="10.1.0.2", dst="10.2.0.2"), reply=Tuple(src="10.2.0.2", dst="10.1.0.2")
)


@st.composite
def static_routes(draw: Any, number: int) -> Route:
    """A route with one or two next hops, or of a type without any."""
    kind = draw(st.sampled_from(("unicast", "unicast", "blackhole", "prohibit")))
    hops = draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=2, unique=True))
    return Route(
        dst=f"10.{50 + number}.0.0/16",
        type=kind,
        table=draw(st.sampled_from((254, 100))),
        nexthops=tuple(NextHop(device=d, via=draw(st.sampled_from((None, "10.1.0.2")))) for d in hops)
        if kind == "unicast"
        else (),
        metric=draw(st.sampled_from((0, 0, 100))),
        mtu=draw(st.sampled_from((None, 1400))),
        scope=draw(st.sampled_from(("global", "link"))),
        protocol=draw(st.sampled_from(("boot", "static", "bird"))),
    )


@st.composite
def fdb_entries(draw: Any, number: int) -> FdbEntry:
    """An entry of the VXLAN device or of the bridge port."""
    state = draw(st.sampled_from(({"permanent": True}, {"static": True}, {})))
    if number % 2:
        return FdbEntry(device="v0", master="br0", mac=f"02:00:00:00:00:{number:02}", **state)
    mac = draw(st.sampled_from(("00:00:00:00:00:00", f"02:00:00:00:00:{number:02}")))
    return FdbEntry(device="vx0", mac=mac, dst=f"10.200.0.{number}", **state)


@st.composite
def chains(draw: Any, table: str) -> dict[str, Any]:
    """The chains of a table, the user-defined ones ONE and TWO among them."""
    rules = st.lists(st.sampled_from(RULES), max_size=4).map(tuple)
    found = {
        name: Known(XtChain(policy=draw(st.sampled_from(("ACCEPT", "DROP"))), rules=draw(rules)))
        for name in BUILTIN_CHAINS[table]
    }
    return {**found, "ONE": Known(XtChain(rules=draw(rules))), "TWO": Known(XtChain(rules=draw(rules)))}


@st.composite
def changes(draw: Any, state: Snapshot) -> Change:
    """A change of any type that names something that is there, and sometimes not."""
    node: Any = state.namespaces["node"]
    kind = draw(st.sampled_from([kind for kind in Change.__args__ if not kind.__name__.startswith("Ip")]))
    if kind is SysctlSet:
        return SysctlSet(
            netns="node", name=draw(st.sampled_from(sorted(node.sysctls.value))), value=draw(ON_OFF)
        )
    if kind in (RouteAdd, RouteDelete):
        old = draw(st.sampled_from(node.routes.value)) if node.routes.value else None
        if kind is RouteDelete:
            return RouteDelete(netns="node", route=old or draw(static_routes(1)))
        new = draw(static_routes(draw(st.integers(0, 9))))
        if old is not None and draw(st.booleans()):
            same_key = replace(new, dst=old.dst, table=old.table, metric=old.metric, tos=old.tos)
            return RouteAdd(netns="node", route=same_key, replaces=old)
        return RouteAdd(netns="node", route=new)
    if kind is LinkSet:
        attribute = draw(st.sampled_from(("up", "mtu", "promisc", "master", "address", *PORT_ATTRIBUTES)))
        macs = ("02:00:00:00:00:77", "02:00:00:00:00:78")
        some = {
            "address": macs,
            "mtu": ("1300", "1450", "1500"),
            "master": ("", "br0"),
            "state": ("0", "3", "4"),
        }
        value = draw(st.sampled_from(some.get(attribute, ("on", "off"))))
        return LinkSet(netns="node", device=draw(st.sampled_from(DEVICES)), attribute=attribute, value=value)
    if kind in (AddressAdd, AddressDelete):
        held = draw(st.sampled_from((*ADDRESSES, "10.9.0.1")))
        length = draw(st.sampled_from((16, 24, 31, 32)))
        new = Address(device=draw(st.sampled_from(DEVICES)), address=held, prefixlen=length)
        there = draw(st.sampled_from(node.addresses.value)) if node.addresses.value else new
        return kind(netns="node", address=there if kind is AddressDelete else new)  # type: ignore[no-any-return]
    if kind is FdbAdd:
        return FdbAdd(netns="node", entry=draw(fdb_entries(draw(st.integers(0, 5)))))
    if kind is FdbDelete:
        return FdbDelete(netns="node", entry=draw(st.sampled_from([*node.fdb.value, draw(fdb_entries(0))])))
    if kind is NeighbourAdd:
        old = draw(st.sampled_from(node.neighbours.value))
        return NeighbourAdd(netns="node", entry=replace(old, state=draw(st.sampled_from(STATES))))
    if kind is NeighbourDelete:
        return NeighbourDelete(netns="node", entry=draw(st.sampled_from(node.neighbours.value)))
    if kind is ConntrackDelete:
        return ConntrackDelete(netns="node", entry=CONNECTION)
    if kind in (RecentAdd, RecentDelete):
        address = draw(st.sampled_from(("10.1.0.2", "10.1.0.3")))
        return kind(netns="node", name=draw(st.sampled_from(("L", "M"))), address=address)  # type: ignore[no-any-return]
    return draw(xt_changes(state, kind))  # type: ignore[no-any-return]


@st.composite
def xt_changes(draw: Any, state: Snapshot, kind: Any) -> Change:
    """A change of one of the chains."""
    table = draw(st.sampled_from(("filter", "mangle", "nat")))
    chain = draw(st.sampled_from((*BUILTIN_CHAINS[table], "ONE", "TWO", "NEW")))
    place = {"netns": "node", "backend": "nft", "table": table, "chain": chain}
    there = state.chain("node", "nft", table, chain) or XtChain()
    position = draw(st.integers(1, len(there.rules) + 1))
    standing = there.rules[position - 1] if position <= len(there.rules) else RULES[0]
    rule = draw(st.sampled_from(RULES[:5]))
    fields: dict[Any, dict[str, Any]] = {
        RuleInsert: {"position": position, "rule": rule},
        RuleDelete: {"position": position, "rule": standing},
        RuleReplace: {"position": position, "old": standing, "rule": rule},
        ChainSet: {"rules": tuple(draw(st.lists(st.sampled_from(RULES[:5]), max_size=3)))},
        ChainDelete: {},
        PolicySet: {"policy": draw(st.sampled_from(("ACCEPT", "DROP")))},
    }
    change: Change = kind(**place, **fields[kind])
    return change
