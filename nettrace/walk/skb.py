"""
What travels: a packet with everything the kernel hangs on it.

Lives here: ``Skb`` (struct sk_buff), ``Conn`` (struct nf_conn) with its tuples.  Both change
while a leg is walked and belong to one run of the walk; nothing of them outlives it.
Not here: what the stages do with them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from nettrace.model.packet import Packet, PortRange
from nettrace.model.routes import NextHop, Route
from nettrace.model.step import Verdict

__all__ = [
    "BROADCAST",
    "Conn",
    "Decision",
    "DrawnPort",
    "Flowing",
    "Refusal",
    "Skb",
    "Spoiled",
    "Tup",
    "Zone",
    "fragment_size",
    "mirrored",
    "tuple_of",
]

_IPV4_HEADER = 20
BROADCAST = "ff:ff:ff:ff:ff:ff"

#: ICMP types that conntrack pairs (net/netfilter/nf_conntrack_proto_icmp.c, invmap).
_ICMP_PAIRS = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
#: The same of ICMPv6 (nf_conntrack_proto_icmpv6.c): echo and node information.
_ICMP6_PAIRS = {128: 129, 129: 128, 139: 140, 140: 139}


class Zone(NamedTuple):
    """
    A conntrack zone (struct nf_conntrack_zone): connections of one zone do not see another's.

    ``original`` and ``reply``: the directions it holds for; the other one is in zone 0.
    ``marked``: the packet's mark is its number.
    """

    id: int = 0
    original: bool = True
    reply: bool = True
    marked: bool = False

    def side(self, *, reply: bool) -> int:
        """Return the zone of one direction (nf_ct_zone_id)."""
        return self.id if (self.reply if reply else self.original) else 0


DEFAULT_ZONE = Zone()


class DrawnPort(PortRange, frozen=True):
    """A port that nat draws out of some: no other draw's, whatever ports that was out of."""

    draw: int = 0


class Tup(NamedTuple):
    """
    One direction of a connection (struct nf_conntrack_tuple).

    A port range of more than one port is a port that the kernel chooses: as a symbol it
    equals only itself.  An identifier of ICMP that nat drew is a number below 0.
    """

    proto: str
    src: str
    dst: str
    sport: PortRange | None = None
    dport: PortRange | None = None
    icmp_type: int | None = None
    icmp_id: int | None = None


def fragment_size(mtu: int) -> int:
    """Return the size of IPv4's fragments: behind the header a multiple of 8 bytes (ip_frag_next)."""
    return _IPV4_HEADER + (mtu - _IPV4_HEADER) // 8 * 8


def tuple_of(packet: Packet) -> Tup:
    """Return the tuple that conntrack reads from *packet*."""
    return Tup(
        packet.proto,
        packet.src,
        packet.dst,
        packet.sport,
        packet.dport,
        packet.icmp_type,
        packet.icmp_id,
    )


def mirrored(tup: Tup) -> Tup:
    """Return the tuple of an answer (nf_ct_invert_tuple)."""
    kind = tup.icmp_type
    if kind is not None:
        kind = (_ICMP6_PAIRS if tup.proto == "icmpv6" else _ICMP_PAIRS).get(kind, kind)
    return Tup(tup.proto, tup.dst, tup.src, tup.dport, tup.sport, kind, tup.icmp_id)


@dataclass(slots=True, eq=False)
class Conn:
    """
    One tracked connection of one namespace.

    ``src_done`` and ``dst_done``: the nat hooks have decided (IPS_SRC_NAT_DONE,
    IPS_DST_NAT_DONE); ``src_nat`` and ``dst_nat``: they changed something.  ``tcp`` is the
    state of net/netfilter/nf_conntrack_proto_tcp.c, as far as a walk tells states apart.  ``killed``: it
    is out of the table (nf_ct_kill), and lives on for the packet that ended it alone.
    """

    netns: str
    original: Tup
    reply: Tup
    mark: int = 0
    src_done: bool = False
    dst_done: bool = False
    src_nat: bool = False
    dst_nat: bool = False
    confirmed: bool = False
    seen_reply: bool = False
    assured: bool = False
    tcp: str = ""
    zone: Zone = DEFAULT_ZONE
    labels: frozenset[str] = frozenset()  # set by -m connlabel --set
    listed: bool = False  # it was in the table when the snapshot was taken
    ignored_syn: bool = False  # its last SYN fitted nothing that conntrack knew
    killed: bool = False


class Decision(NamedTuple):
    """
    A route that was chosen.

    ``kind`` is the route's type (``unicast``, ``local``, ``broadcast``), or ``discard`` where it takes
    what is sent by it and throws it away (ip6_pkt_discard_out); ``device`` the one it leaves by (``lo``
    for local on output); ``gateway`` None for a destination on the link.
    ``came_in``: made for a packet that came in, not for one that this namespace sends.
    """

    kind: str
    device: str
    gateway: str | None
    route: Route
    hop: NextHop | None
    source: str = ""
    came_in: bool = False

    @property
    def text(self) -> str:
        """
        The route as ip-route(8) lists it: ``10.1.0.0/24 via 10.0.0.1 dev eth0``.

        A local one names the device of its address, ``local 10.0.0.1/32 dev eth0``, also where the packet
        takes lo.
        """
        kind = f"{self.route.type} " if self.kind == "local" else ""
        via = f" via {self.gateway}" if self.gateway else ""
        device = self.hop.device if self.kind == "local" and self.hop is not None else self.device
        return f"{kind}{self.route.dst}{via} dev {device}"


class Refusal:
    """
    Why an input route was refused: verdict, words, the state that decided, and the errno behind it.

    With an errno the packet has a route that ends in ip_error(); without it has none at all.
    """

    __slots__ = ("errno", "reason", "ref", "text", "verdict")

    def __init__(self, verdict: Verdict, reason: str, ref: str, text: str = "", errno: str = "") -> None:
        self.verdict = verdict
        self.reason = reason
        self.ref = ref
        self.text = text
        self.errno = errno


class Flowing(NamedTuple):
    """A frame that is inside another one: what comes out at the far end of a tunnel."""

    vni: int
    packet: Packet
    source_mac: str
    dest_mac: str
    mss: int | None
    fragments: int | None = None


class Spoiled(NamedTuple):
    """
    A checksum that a rule, at ``where``, wrote.

    ``partial``: a device is still to finish it (CHECKSUM_PARTIAL), and until then nobody looks at it; False:
    it is wrong; None: that is not known.
    """

    where: str
    partial: bool | None


@dataclass(slots=True, eq=False)
class Skb:
    """
    A packet on its way.

    ``device`` is skb->dev: where it came in, later where it leaves.  ``own`` tells that a
    socket of this namespace sent it (skb->sk), ``errno`` that failures are that socket's
    errnos.  ``conn``, ``reply``, ``state`` are skb->_nfct: ``state`` is "" before conntrack,
    then NEW ESTABLISHED RELATED INVALID UNTRACKED; ``reply`` the direction.  ``attached``: an
    answer that the kernel made and tied to the connection itself (nf_ct_attach).
    ``template`` is what a CT rule in raw asks conntrack for.
    ``in_port`` is the bridge port that a bridged frame came by.  ``physin`` and ``physout`` are
    the ports as br_netfilter remembers them, ``prerouted`` that PREROUTING ran inside the bridge
    already.  ``mss`` is the option of a SYN as it is now,
    ``offered`` as it was sent; ``stripped`` are the TCP options that TCPOPTSTRIP took out.
    ``inner`` holds what a tunnel carries; ``carries_own`` tells of a tunnel's outer packet that a
    socket of this namespace sent what is inside: skb->sk stays that socket (skb_scrub_packet);
    ``by_kernel`` that the packet, or what is inside, has a socket of the kernel's own, without a file.
    ``iif`` is the device it was routed in by (inet_iif, IP6CB), None for a packet of this host's own;
    ``routed_by`` that of the route which br_netfilter had found before: IP6CB's then (ip6_rcv_core);
    ``prefers`` the device that an answer prefers to leave by without being bound to it;
    ``refused`` is what br_netfilter found in place of a route, for the host to act on.
    ``hops`` tells that the kernel gives the packet its hop limit, ``fragments`` how large the
    fragments are that it travels in; ``ignore_df`` that conntrack put it together from fragments of a size
    that is forgotten, so that it may be taken apart again here; ``ipvs`` that IPVS has done with it in
    this namespace (ipvs_property); ``spoiled`` that a rule wrote its checksum, ``summed``
    that no device is to finish it: TOS and TTL as they were then, or as it came in; ``forgets_mtu`` that
    the route which its sender found takes no smaller MTU from an error.
    """

    packet: Packet
    netns: str
    device: str = ""
    source_mac: str = ""
    dest_mac: str = ""
    own: bool = False
    bound: str | None = None
    route: Decision | None = None
    conn: Conn | None = None
    reply: bool = False
    state: str = ""
    attached: bool = False
    template: Zone | None = None
    physin: str | None = None
    physout: str | None = None
    prerouted: bool = False
    in_port: str | None = None
    mss: int | None = None
    offered: int | None = None
    stripped: frozenset[int] = frozenset()
    inner: list[Flowing] = field(default_factory=list)
    carries_own: bool = False
    by_kernel: bool = False
    iif: str | None = None
    routed_by: str | None = None
    prefers: str | None = None
    hops: bool = False
    fragments: int | None = None
    ignore_df: bool = False
    refused: Refusal | None = None
    ipvs: bool = False
    spoiled: Spoiled | None = None
    summed: tuple[int, int] | None = None
    forgets_mtu: bool = False

    @property
    def largest(self) -> int:
        """Bytes of the largest packet on the wire: all of it, or one of its fragments."""
        return min(self.packet.size, self.fragments or self.packet.size)

    def forget_conntrack(self) -> None:
        """nf_reset_ct: the packet leaves the namespace that tracked it."""
        self.conn = None
        self.reply = False
        self.state = ""
        self.attached = False
        self.iif = self.routed_by = None
        self.template = None
