"""
Matches on connections, sockets, clocks and counters, of extensions that are kept as text.

Lives here: what the walk's own connections and the snapshot decide of them; the rest is unsure,
each with what would decide it.
Not here: matches on the packet itself (extensions).
Sources: net/netfilter/xt_*.c, each called as the match.
"""

from collections.abc import Callable

from nettrace.model.addr import in_prefix, network_of
from nettrace.model.protocol import protocol_number
from nettrace.model.sockets import Socket
from nettrace.walk.context import Run
from nettrace.walk.extensions import Options, Test
from nettrace.walk.ipvs_conns import by_sent
from nettrace.walk.jhash import address_words, jhash2, reciprocal_scale
from nettrace.walk.octets import length_of
from nettrace.walk.point import Answered, HookPoint, Unsure
from nettrace.walk.skb import Skb, mirrored, tuple_of
from nettrace.walk.xfrm import came_by_ipsec

__all__ = ["STATE_TESTS"]

_ANY = ("0.0.0.0", "::", "*")


def _open(reason: str) -> Test:
    """A test that no snapshot decides."""

    def test(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
        return Unsure(reason)

    return test


def _cluster(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """Which node of a cluster a connection belongs to: a hash of the address that began it."""
    conn = skb.conn
    if conn is None:
        return False
    total = int(options["--cluster-total-nodes"].values[0], 0)
    seed = int(options["--cluster-hash-seed"].values[0], 0) if "--cluster-hash-seed" in options else 0
    mask = options.get("--cluster-local-nodemask")
    node = options.get("--cluster-local-node")
    option = mask or node
    if option is None:
        raise ValueError("the node is missing")
    number = int(option.values[0], 0)
    nodes = number if mask is not None else 1 << (number - 1)
    # of IPv6 the first word alone: NF_CT_TUPLE_L3SIZE counts words, and xt_cluster takes it for bytes
    here = reciprocal_scale(jhash2(address_words(conn.original.src)[:1], seed), total)
    return bool(1 << here & nodes) != option.invert


def _connbytes(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    if skb.conn is None:
        return False
    return Unsure("how much a connection has carried is not in the snapshot")


def _connlabel(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """Labels are bits of a connection; ``--set`` sets one and succeeds."""
    option = options["--label"]
    conn = skb.conn
    if conn is None:
        return option.invert
    if conn.listed:
        return Unsure("the labels of connections are not in the snapshot")
    label = option.values[0]
    if "--set" in options:
        conn.labels |= {label}
    return (label in conn.labels) != option.invert


def _connlimit(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """
    Each rule counts the connections that it saw: at least this one, at most all in the table.

    ``--connlimit-upto N`` is "not above N".
    """
    upto, above = options.get("--connlimit-upto"), options.get("--connlimit-above")
    option = upto or above
    if option is None:
        raise ValueError("the number is missing")
    limit = int(option.values[0])
    if limit == 0:
        return upto is None
    packet = skb.packet
    bits = 128 if packet.family == 6 else 32
    length = int(options["--connlimit-mask"].values[0]) if "--connlimit-mask" in options else bits
    by_source = "--connlimit-daddr" not in options
    group = network_of(packet.src if by_source else packet.dst, length)
    ends: list[tuple[str, str]] = []
    for entry in run.section(point.ns.name, "conntrack"):
        ends.append((entry.original.src, entry.reply.src))
    ends += [(one.original.src, one.reply.src) for one in run.conns.get(point.ns.name, ())]
    most = 1 + sum(
        any(
            (":" in address) == (packet.family == 6) and network_of(address, length) == group
            for address in both
        )
        for both in ends
    )
    if by_source and most <= limit:
        return upto is not None
    if not by_source and len(ends) < limit:
        return upto is not None
    return Unsure(f"how many connections the rule has seen of {group} is not in the snapshot")


def _helper(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """The helper of the connection that announced this one; few are announced."""
    option = options["--helper"]
    conn = skb.conn
    if conn is None or not conn.listed:
        return option.invert
    return Unsure("which helper announced a connection is not in the snapshot")


def _ipvs(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """
    What IPVS did with the packet in this namespace; its connection is known only from then on.

    ``--vdir`` is the direction that conntrack gives it (xt_ipvs.c).
    """
    own = options.get("--ipvs")
    if own is not None and (own.invert or len(options) == 1):
        return skb.ipvs != own.invert
    bound = by_sent(run, point.ns, tuple_of(skb.packet)) if skb.ipvs else None
    if bound is None:
        return False
    if "--vportctl" in options:
        return Unsure("which connection controls another is not walked")
    ways = {"GATE": "route", "IPIP": "tunnel", "MASQ": "masq"}
    said: dict[str, Callable[[str], bool]] = {
        "--vproto": lambda value: value in (skb.packet.proto, str(protocol_number(skb.packet.proto))),
        "--vport": lambda value: bound.asked.dport is not None and str(bound.asked.dport.single) == value,
        "--vaddr": lambda value: in_prefix(bound.asked.dst, value),
        "--vmethod": lambda value: bound.forwarding == ways.get(value),
        "--vdir": lambda value: skb.conn is not None and skb.reply == (value == "REPLY"),
    }
    return all(
        test(options[name].values[0]) != options[name].invert
        for name, test in said.items()
        if name in options
    )


def _owner(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """A packet without a socket of this namespace, or with one of the kernel's, belongs to nobody."""
    wanted = {name: option.invert for name, option in options.items() if name != "--suppl-groups"}
    if not (skb.own or skb.carries_own or skb.by_kernel):
        return all(wanted.values())
    if wanted.pop("--socket-exists", False):
        return False
    if skb.by_kernel:
        return all(wanted.values())
    if not wanted:
        return True
    return Unsure("who owns the sending socket is not in the snapshot")


def _cgroup(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """A packet without a socket is in no group, negated or not; neither is one of another namespace's."""
    if not skb.own and not skb.carries_own and point.hook in ("forward", "output", "postrouting"):
        return False
    return Unsure("the control group of the socket is not in the snapshot")


def _policy(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """
    policy_mt: what came in by IPsec, or will leave by it.

    The walk goes on only with packets that leave as they are; one from outside may have come by IPsec.
    """
    if (
        "--dir" in options
        and options["--dir"].values[0] == "in"
        and came_by_ipsec(run, point.ns, skb) is None
    ):
        return Unsure("whether what comes from outside came by IPsec is not told")
    return options["--pol"].values[0] == "none"


def _quota(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """It only ever shrinks, so one that begins smaller than the packet is used up."""
    option = options["--quota"]
    least, _ = length_of(run, skb)
    if int(option.values[0]) < least:
        return option.invert
    return Unsure("how much of the quota is left is not in the snapshot")


def _osf(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    if skb.packet.proto != "tcp" or "SYN" not in skb.packet.tcp_flags:
        return False
    return Unsure("which fingerprints of systems are loaded is not in the snapshot")


def _socket(run: Run, skb: Skb, point: HookPoint, options: Options) -> Answered:
    """
    Is there a socket for the packet?  Listeners on any address aside, unless ``--nowildcard``.

    What answers a connection whose source was translated is looked up with its own source
    (nf_sk_lookup_slow_v4; of IPv6 since Linux 6.16).  An ICMP error is looked up as an answer to the packet
    that it quotes, ICMPv6's with what that says (extract_icmp6_fields puts its protocol in the place of
    the error's, which the question for the connection then takes for no error).
    """
    packet = skb.packet.inner if skb.packet.is_icmp_error else skb.packet
    if packet is None or packet.proto not in ("tcp", "udp") or packet.dport is None:
        return False
    tup = mirrored(tuple_of(packet)) if skb.packet.is_icmp_error else tuple_of(packet)
    quoted = packet is not skb.packet
    if skb.reply and skb.conn is not None and skb.conn.src_done and not (quoted and packet.family == 6):
        tup = tup._replace(dst=skb.conn.original.src, dport=skb.conn.original.sport)
    picky = options.keys() - {"--nowildcard"}
    wild = "--nowildcard" in options
    if (point.ns.name, tup) in run.expected:
        if run.flow.origin.device is not None and point.ns.name == run.flow.origin.netns:
            return Unsure("whether a socket of this host sent what came in by a device is not told")
        if picky or (packet.proto == "udp" and not wild):
            return Unsure("what is set on the socket that waits for the packet is not in the snapshot")
        return True
    sockets: tuple[Socket, ...] = run.section(point.ns.name, "sockets")
    for one in sockets:
        if one.proto != packet.proto or not (tup.dport and tup.dport.lo <= one.port <= tup.dport.hi):
            continue
        peer = tup.sport.single if tup.sport is not None else None
        if one.remote is not None and (one.remote.removeprefix("::ffff:"), one.remote_port) != (
            tup.src,
            peer,
        ):
            continue  # a port that is still to be chosen is none of these
        if one.address in _ANY:
            if not wild:
                continue
        elif one.address.removeprefix("::ffff:") != tup.dst:
            continue
        if picky or one.device is not None or tup.dport.single is None:
            return Unsure(f"whether the socket at port {one.port} is the packet's is not certain")
        return True
    return False


STATE_TESTS: dict[str, Test] = {
    "cgroup": _cgroup,
    "cluster": _cluster,
    "connbytes": _connbytes,
    "connlabel": _connlabel,
    "connlimit": _connlimit,
    "cpu": _open("which CPU a packet meets is the kernel's choice"),
    "hashlimit": _open("how much of -m hashlimit's rate is used up is not in the snapshot"),
    "helper": _helper,
    "ipvs": _ipvs,
    "osf": _osf,
    "owner": _owner,
    "policy": _policy,
    "quota": _quota,
    "rateest": _open("measured rates are not in the snapshot"),
    "realm": _open("realms of routes are not in the snapshot"),
    "socket": _socket,
    "time": _open("when the packet comes is not part of the walk"),
}
