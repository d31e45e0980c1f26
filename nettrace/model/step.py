"""
One step of a walk, and the verdict of a leg.

Lives here: the unit that is printed, compared with the kernel, and pointed at by findings.
"""

from enum import StrEnum

from msgspec import Struct

from nettrace.model.packet import Packet

__all__ = ["STOPPING", "Stage", "Step", "Verdict", "Why"]


class Stage(StrEnum):
    """Where in the kernel's path a step lies."""

    SEND = "send"  # a socket sends
    RECEIVE = "receive"  # a frame arrives at a device
    BRIDGE = "bridge"  # the bridge decides on a port
    HOOK = "hook"  # a rule, or the end of a chain, at a netfilter hook
    CONNTRACK = "conntrack"  # a binding is made or found
    IPVS = "ipvs"  # a virtual server is asked, or a real server's answer rewritten
    ROUTE = "route"  # policy rules and routing tables
    XFRM = "xfrm"  # policies of IPsec
    FORWARD = "forward"  # forwarding switch, TTL, MTU
    NEIGHBOUR = "neighbour"  # ARP or ND
    TUNNEL = "tunnel"  # encapsulation and decapsulation
    TRANSMIT = "transmit"  # the device sends
    DELIVER = "deliver"  # socket lookup


class Verdict(StrEnum):
    """
    How a leg of a walk ends.

    docs/verdicts.md defines each one, with the kernel's drop reason for it.
    """

    DELIVERED = "DELIVERED"  # a socket that waits for it took it
    REFUSED = "REFUSED"  # an RST or ICMP port-unreachable came back to the sender
    REJECTED = "REJECTED"  # a REJECT rule dropped and answered
    DROPPED_BY_RULE = "DROPPED_BY_RULE"  # DROP target or policy
    DROPPED_BY_XFRM = "DROPPED_BY_XFRM"  # a policy of IPsec blocks it, or wants it to have come by IPsec
    DENIED = "DENIED"  # the sender's own OUTPUT rules: EPERM
    NO_ROUTE = "NO_ROUTE"  # no route, or an unreachable/prohibit one
    BLACKHOLED = "BLACKHOLED"  # a blackhole route
    NOT_FORWARDED = "NOT_FORWARDED"  # forwarding is off
    REVERSE_PATH_FILTERED = "REVERSE_PATH_FILTERED"  # rp_filter
    MARTIAN = "MARTIAN"  # an address that may not be here
    NEIGHBOUR_FAILED = "NEIGHBOUR_FAILED"  # nobody answers ARP
    NO_TUNNEL_DESTINATION = "NO_TUNNEL_DESTINATION"  # VXLAN without an FDB entry
    BRIDGE_DROPPED = "BRIDGE_DROPPED"  # no port to send by: hairpin, isolation, state
    OTHERHOST = "OTHERHOST"  # a frame for another MAC
    LINK_DOWN = "LINK_DOWN"
    TOO_BIG = "TOO_BIG"  # DF and larger than the MTU
    TTL_EXCEEDED = "TTL_EXCEEDED"
    INVALID = "INVALID"  # conntrack called it INVALID and it could not go on
    BAD_CHECKSUM = "BAD_CHECKSUM"  # the receiver found its checksum wrong
    NOT_LISTENING = "NOT_LISTENING"  # no socket: answered with RST or ICMP port-unreachable
    UNEXPECTED = "UNEXPECTED"  # an answer that no socket waits for: answered with RST or lost
    LOOP = "LOOP"
    LEFT_SNAPSHOT = "LEFT_SNAPSHOT"  # went where nothing was read
    UNKNOWN = "UNKNOWN"


#: Every verdict that ends a leg without delivering it, and is certain.
STOPPING = frozenset(Verdict) - {Verdict.DELIVERED, Verdict.UNKNOWN, Verdict.LEFT_SNAPSHOT}


class Why(Struct, frozen=True):
    """
    The state that decided.

    ``ref`` is a path into the snapshot: ``NETNS/xt/nft/nat/CHAIN/N`` (rule N, from 1; 0 is the
    policy; ``xt6`` for ip6tables), ``NETNS/nft/FAMILY/TABLE/CHAIN/N`` for nftables' own rules,
    ``NETNS/routes/TABLE/PREFIX``, ``NETNS/sysctls/NAME``, ``NETNS/links/DEVICE``,
    ``NETNS/fdb/DEVICE/MAC``, ``NETNS/neighbours/DEVICE/ADDRESS``,
    ``NETNS/ipvs/PROTO/ADDRESS/PORT``, ``NETNS/sockets/PROTO/PORT``, ``NETNS/conntrack/...``,
    ``NETNS/xfrm/DIRECTION/SRC-DST``.
    ``text`` is what stands there.
    """

    ref: str
    text: str = ""


class Step(Struct, frozen=True, kw_only=True):
    """
    One step.

    ``verdict`` is a word for what happened here: for rules the target as written or
    ``policy ACCEPT``; for stages ``accept``, ``drop``, ``dnat``, ``snat`` and the like.
    ``rule`` counts from 1; None outside rules.  ``stops`` marks the step that ended the leg.
    """

    node: str
    netns: str
    stage: Stage
    verdict: str
    device: str | None = None
    hook: str | None = None  # prerouting input forward output postrouting
    backend: str | None = None  # nft, legacy, or nftables for a rule that is not iptables'
    table: str | None = None
    chain: str | None = None
    rule: int | None = None
    before: Packet | None = None
    after: Packet | None = None
    why: Why | None = None
    note: str = ""
    stops: bool = False
