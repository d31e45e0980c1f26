"""
IPVS state beside what kube-proxy in ipvs mode owes, and what each difference means.

Lives here: virtual and real servers, kube-ipvs0's addresses, ipsets, sysctls.
Not here: the mode's iptables rules, reading any of it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec.structs import replace

from nettrace.diagnose.departure import Departure, DepartureKind
from nettrace.diagnose.difference_ipset import compare_set
from nettrace.diagnose.restored import Restored
from nettrace.kube.expected import Expected, ExpectedIpset, ExpectedIpvs
from nettrace.kube.ipvs_owed import owed_set
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.parse.ipvs import save_ipvsadm

__all__ = ["ipvs_departures"]

_SYSCTLS: Mapping[str, tuple[str, str]] = {
    "net.ipv4.vs.conntrack": ("ipvs-conntrack-off", "IPVS connections are not masqueraded"),
    "net.ipv4.vs.expire_nodest_conn": (
        "owed-state-missing",
        "connections to an endpoint that is gone hang instead of ending",
    ),
    "net.ipv4.vs.expire_quiescent_template": (
        "owed-state-missing",
        "affinity keeps clients at an endpoint that is being taken away",
    ),
    "net.ipv4.ip_forward": ("ip-forward-off", "nothing is forwarded to pods"),
    "net.ipv4.conf.all.arp_ignore": (
        "owed-state-missing",
        "every node answers ARP for the load balancers' addresses",
    ),
    "net.ipv4.conf.all.arp_announce": (
        "owed-state-missing",
        "load balancers' addresses are announced from every node",
    ),
}

_SETS: Mapping[str, str] = {
    "LOOP-BACK": "pods that reach themselves by their Service are not masqueraded",
    "CLUSTER-IP": "clients of cluster IPs that are no pods of this node are not masqueraded",
    "EXTERNAL-IP": "clients of external IPs are not masqueraded",
    "NODE-PORT": "clients of NodePorts are not masqueraded",
    "LOAD-BALANCER": "load balancers' traffic is not masqueraded or filtered as it should be",
    "HEALTH-CHECK-NODE-PORT": "load balancers' health checks are not accepted",
    "IPVS-IPS": "other ports of Services' addresses are those of this node",
}


def ipvs_departures(
    owed: Expected,
    *,
    servers: Sequence[VirtualServer] | None = None,
    addresses: Collection[str] | None = None,
    ipsets: Sequence[IpSet] | None = None,
    sysctls: Mapping[str, str] | None = None,
    netns: str = "",
) -> tuple[Departure, ...]:
    """
    Compare what was read; what is None was not, and differs from nothing.

    *servers* and *ipsets* may hold those of both families, *addresses* are kube-ipvs0's.  The
    servers of other programs are told of too: kube-proxy removes what it does not owe, unless
    excludeCIDRs keeps it.  What is mended is mended in *netns*.
    """
    if owed.ipvs is None:
        return ()
    look = _Look(owed, owed.ipvs, netns)
    return (
        *(look.addresses(addresses) if addresses is not None else ()),
        *(look.servers(servers) if servers is not None else ()),
        *(look.sets(ipsets) if ipsets is not None else ()),
        *(look.sysctls(sysctls) if sysctls is not None else ()),
    )


class _Look:
    """One family."""

    def __init__(self, owed: Expected, ipvs: ExpectedIpvs, netns: str) -> None:
        self.owed, self.ipvs, self.netns = owed, ipvs, netns

    def _tell(
        self,
        kind: DepartureKind,
        cause: str,
        table: str,
        chain: str,
        meaning: str,
        *,
        owed: str = "",
        found: str = "",
    ) -> Departure:
        return Departure(
            kind=kind,
            cause=cause,
            family=self.owed.family,
            table=table,
            chain=chain,
            meaning=meaning,
            owed=owed,
            found=found,
        )

    def _ours(self, address: str) -> bool:
        return (":" in address) == (self.owed.family == 6)

    def addresses(self, there: Collection[str]) -> Iterator[Departure]:
        """Compare kube-ipvs0's addresses."""
        length = 128 if self.owed.family == 6 else 32
        for address in self.ipvs.addresses:
            if address not in there:
                yield self._tell(
                    "address-missing",
                    "ipvs-vip-missing",
                    "ip addr",
                    self.ipvs.device,
                    f"{address} is no address of this node: its traffic is routed away, past IPVS",
                    owed=f"ip addr add {address}/{length} dev {self.ipvs.device}",
                )
        for address in there:
            if self._ours(address) and address not in self.ipvs.addresses:
                yield self._tell(
                    "rule-extra",
                    "owed-state-missing",
                    "ip addr",
                    self.ipvs.device,
                    f"no Service has {address}: this node keeps traffic to it to itself",
                    found=f"{address}/{length}",
                )

    def servers(self, there: Sequence[VirtualServer]) -> Iterator[Departure]:
        """Compare virtual servers and the real servers of each."""
        held = {_key(one): one for one in there if self._ours(one.address)}
        for one in self.ipvs.servers:
            other = held.pop(_key(one), None)
            if other is None:
                yield self._tell(
                    "service-missing",
                    "service-rules-absent",
                    "ipvs",
                    _name(one),
                    "the virtual server is missing: the address is not served by IPVS",
                    owed=_head(one),
                )
                continue
            if _head(one) != _head(other):
                yield self._tell(
                    "affinity" if one.persistent != other.persistent else "wrong-probability",
                    "owed-state-missing",
                    "ipvs",
                    _name(one),
                    "scheduler or persistence is another than kube-proxy sets",
                    owed=_head(one),
                    found=_head(other),
                )
            yield from self._real_servers(one, other)
        for other in held.values():
            yield self._tell(
                "rule-extra",
                "owed-state-missing",
                "ipvs",
                _name(other),
                "no Service asks for this virtual server",
                found=_head(other),
            )

    def _real_servers(self, owed: VirtualServer, there: VirtualServer) -> Iterator[Departure]:
        name = _name(owed)
        wanted = {(one.address, one.port): one for one in owed.real_servers}
        held = {(one.address, one.port): one for one in there.real_servers}
        if wanted and not held:
            yield self._tell(
                "endpoint-missing",
                "ipvs-no-real-servers",
                "ipvs",
                name,
                "the virtual server has no real server: connections are refused, though there are "
                f"{len(wanted)} endpoints",
                owed=_lines(owed),
            )
            return
        idle = [one for key, one in held.items() if key in wanted and one.weight == 0]
        for one in idle:
            everybody = all(other.weight == 0 for other in held.values())
            yield self._tell(
                "weight-zero",
                "ipvs-rs-weight0",
                "ipvs",
                name,
                f"{_text(one)} is ready and has weight 0: it gets no new connection"
                + ("; all have, so none is answered" if everybody else ""),
                owed=f"-r {_text(one)} -w {wanted[one.address, one.port].weight}",
                found=f"-r {_text(one)} -w 0",
            )
        for key, one in wanted.items():
            if key not in held:
                yield self._tell(
                    "endpoint-missing",
                    "owed-state-missing",
                    "ipvs",
                    name,
                    f"endpoint missing: {_text(one)} is ready and gets no connection",
                    owed=f"-r {_text(one)}",
                )
            elif one.forwarding != held[key].forwarding:
                yield self._tell(
                    "wrong-destination",
                    "owed-state-missing",
                    "ipvs",
                    name,
                    f"{_text(one)} is forwarded to by {held[key].forwarding}, not {one.forwarding}",
                    owed=f"-r {_text(one)} ({one.forwarding})",
                    found=f"-r {_text(one)} ({held[key].forwarding})",
                )
        for key, one in held.items():
            if key in wanted or one.weight == 0:
                continue  # weight 0: kube-proxy lets it end its connections
            yield self._tell(
                "endpoint-stale",
                "ipvs-stale-real-server",
                "ipvs",
                name,
                f"stale endpoint: connections go to {_text(one)}, which is none of the Service's endpoints",
                found=f"-r {_text(one)} -w {one.weight}",
            )

    def sets(self, there: Sequence[IpSet]) -> Iterator[Departure]:
        """Compare ipsets; of those that are not kube-proxy's none is told."""
        held = {one.name: one for one in there}
        for one in self.ipvs.ipsets:
            other, meaning = held.get(one.name), _meaning(one)
            for restored in compare_set(owed_set(one, self.netns), other):
                yield self._of_set(one.name, meaning, restored, there=other is not None)

    def _of_set(self, name: str, meaning: str, restored: Restored, *, there: bool) -> Departure:
        """Say what one difference of a set means."""
        kind: DepartureKind = "rule-missing"
        cause, words = "ipvs-ipset-missing", f"an entry is missing: {meaning}"
        if not there:
            kind = "set-missing"
            words = f"the set is missing: {meaning}, and rules that name it cannot be loaded"
        elif not restored.changes:
            kind, words = "set-missing", "the set is of another type than kube-proxy makes it"
        elif not restored.absent:
            kind, cause = "rule-extra", "owed-state-missing"
            words = "an entry is there that no Service asks for"
        extra = kind == "rule-extra"
        told = self._tell(
            kind,
            cause,
            "ipset",
            name,
            words,
            owed="" if extra else restored.owed,
            found="" if restored.absent else restored.found,
        )
        return replace(told, netns=self.netns, changes=restored.changes)

    def sysctls(self, there: Mapping[str, str]) -> Iterator[Departure]:
        """Compare sysctls; one that was not read differs from nothing."""
        for name, value in self.owed.sysctls.items():
            found = there.get(name)
            if found is not None and found != value:
                cause, meaning = _SYSCTLS[name]
                yield self._tell("sysctl", cause, "sysctl", name, meaning, owed=value, found=found)


def _key(one: VirtualServer) -> tuple[str, int, str]:
    return one.address, one.port, one.proto


def _name(one: VirtualServer) -> str:
    return f"{one.proto} {_end(one.address, one.port)}"


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _text(one: RealServer) -> str:
    return _end(one.address, one.port)


def _lines(one: VirtualServer) -> str:
    return save_ipvsadm([one]).rstrip("\n")


def _head(one: VirtualServer) -> str:
    return _lines(one).partition("\n")[0]


def _meaning(one: ExpectedIpset) -> str:
    name = one.name.removeprefix("KUBE-").removeprefix("6-")
    return next((words for key, words in _SETS.items() if name.startswith(key)), "rules do not match")
