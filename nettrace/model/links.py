"""
Devices of one network namespace, and what the kernel keeps per device.

Lives here: links with their bridge, port, veth and VXLAN attributes; addresses, neighbours,
forwarding-database entries.  Names are rtnetlink's.
Not here: routes, rules.
"""

from msgspec import Struct

from nettrace.model.bpf import BpfProgram

__all__ = [
    "Address",
    "BridgeAttrs",
    "FdbEntry",
    "IpipAttrs",
    "Link",
    "MacvlanAttrs",
    "Neighbour",
    "Peer",
    "PortAttrs",
    "VxlanAttrs",
]


class Peer(Struct, frozen=True):
    """The other end of a veth.  ``netns`` is its name in the snapshot; None: outside of it."""

    netns: str | None
    ifindex: int


class BridgeAttrs(Struct, frozen=True, kw_only=True):
    """``ip -d link show type bridge``."""

    vlan_filtering: bool = False
    stp: bool = False
    nf_call_iptables: bool = False  # the bridge's own switch, beside the namespace's sysctl
    nf_call_ip6tables: bool = False


class PortAttrs(Struct, frozen=True, kw_only=True):
    """
    ``bridge -d link``.  State: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking.

    ``flood`` is for unicast frames that no entry names, ``bcast_flood`` for broadcasts,
    ``mcast_flood`` for multicasts that no entry names.
    ``locked``: only what a static entry names may come in here.
    """

    hairpin: bool = False
    isolated: bool = False
    learning: bool = True
    flood: bool = True
    bcast_flood: bool = True
    mcast_flood: bool = True
    neigh_suppress: bool = False
    proxy_arp: bool = False
    proxy_arp_wifi: bool = False
    locked: bool = False
    state: int = 3


class VxlanAttrs(Struct, frozen=True, kw_only=True):
    """``ip -d link show type vxlan``.  ``port`` is the UDP port in host order."""

    vni: int
    local: str | None = None
    device: str | None = None
    group: str | None = None
    port: int = 8472
    learning: bool = True
    df: str = "unset"  # of the outer packet: ``unset``, ``set`` or ``inherit``
    ttl: int = 0  # of the outer packet, 0: what the namespace or the route says
    special: tuple[str, ...] = ()  # ``proxy``, ``rsc``: switches that answer for others
    udp_checksum: bool = True  # the outer packet has one (``udpcsum``, ``noudp6zerocsumtx``)


class IpipAttrs(Struct, frozen=True, kw_only=True):
    """
    ``ip -d link show type ipip``.

    Without a ``remote`` each packet goes to its route's next hop, without a ``local`` from the address
    that the way there has; tunl0, which comes with the module, has neither and takes what no other
    device does.  ``special``: where to is said by a route or a program (``external``), or other
    protocols are carried.
    """

    local: str | None = None
    remote: str | None = None
    device: str | None = None
    ttl: int = 0  # of the outer packet, 0: that of the inner one
    pmtudisc: bool = False  # the outer packet may never be fragmented
    fwmark: int = 0
    special: tuple[str, ...] = ()


class MacvlanAttrs(Struct, frozen=True, kw_only=True):
    """
    ``ip -d link show type macvlan``.

    ``mode`` is ``private``, ``vepa``, ``bridge``, ``passthru`` or ``source``.  ``netns`` and ``ifindex``
    name the device below; ``netns`` is None if that is outside of the snapshot.
    """

    mode: str
    netns: str | None
    ifindex: int


class Link(Struct, frozen=True, kw_only=True):
    """
    One device.

    ``kind`` is rtnetlink's IFLA_INFO_KIND (``veth``, ``bridge``, ``vxlan``, ``tun``,
    ``ipip``, ``macvlan`` ...), ``loopback`` for lo, ``device`` when the kernel gives none.
    ``up`` is IFF_UP, ``carrier`` IFF_LOWER_UP.  ``master`` is the name of the bridge or bond.
    ``taps`` are unicast MAC addresses that the device takes beside its own because somebody on
    top of it asks for them, ``promiscuity`` how many ask for all frames (a bridge, a passthru
    macvlan, a capture).
    ``programs`` names what hangs on the device (XDP, tc) and decides what no rule shows; ``bpf`` are
    those of it that are programs of BPF, with what the kernel knows of them.
    """

    index: int
    name: str
    kind: str
    mac: str = "00:00:00:00:00:00"
    mtu: int = 1500
    up: bool = True
    carrier: bool = True
    promisc: bool = False
    noarp: bool = False
    group: int = 0  # IFLA_GROUP
    master: str | None = None
    peer: Peer | None = None
    lower: str | None = None  # IFLA_LINK inside this namespace: macvlan's and vlan's parent
    bridge: BridgeAttrs | None = None
    port: PortAttrs | None = None
    vxlan: VxlanAttrs | None = None
    ipip: IpipAttrs | None = None
    macvlan: MacvlanAttrs | None = None
    promiscuity: int = 0
    taps: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    bpf: tuple[BpfProgram, ...] = ()

    @property
    def paired(self) -> bool:
        """Comes what it sends out of another device: a veth's, or of a network that joins snapshots?"""
        return self.kind == "veth" or (self.kind == "device" and self.peer is not None)


class Address(Struct, frozen=True, kw_only=True):
    """
    One address of a device.  ``scope`` is ``global``, ``site``, ``link`` or ``host``.

    ``flags`` are ip-address(8)'s words: ``tentative``, ``dadfailed``, ``deprecated``,
    ``temporary``, ``optimistic``, ``mngtmpaddr``, ``nodad``, ``noprefixroute``, ``home``.
    """

    device: str
    address: str
    prefixlen: int
    scope: str = "global"
    peer: str | None = None  # the far end of a point-to-point address
    secondary: bool = False
    flags: frozenset[str] = frozenset()


class Neighbour(Struct, frozen=True, kw_only=True):
    """
    One ARP or ND entry.

    ``state`` is the kernel's name in lower case: ``permanent``, ``reachable``, ``stale``,
    ``delay``, ``probe``, ``noarp``, ``incomplete``, ``failed``; ``proxy`` for an address that
    the device answers for (``ip neigh add proxy``), which is no neighbour.
    """

    device: str
    address: str
    mac: str | None
    state: str


class FdbEntry(Struct, frozen=True, kw_only=True):
    """
    One forwarding-database entry (``bridge fdb``).

    On a bridge port ``master`` is the bridge; on a VXLAN device ``dst`` is the far end's
    address, with ``port``, ``vni`` or the id of a ``nexthop`` object where they are not the
    device's own; ``via`` is the device that the outer packet has to leave by.  A MAC of all zeros is
    VXLAN's default destination.  ``permanent`` (NUD_PERMANENT) means local on a bridge port and
    not ageing on a VXLAN device; ``static`` (NUD_NOARP) that somebody put it there and it does
    not age.  Neither: learned.
    """

    device: str
    mac: str
    master: str | None = None
    dst: str | None = None
    port: int | None = None
    vni: int | None = None
    via: str | None = None
    nexthop: int | None = None
    vlan: int | None = None
    permanent: bool = False
    static: bool = False
