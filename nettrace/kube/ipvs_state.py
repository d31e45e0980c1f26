"""
What kube-proxy in ipvs mode owes a node in one address family.

Lives here: servers, addresses, sets, rules and sysctls put together.
Not here: each of these (ipvs_servers, ipvs_sets, ipvs_rules), what is there instead
(nettrace.diagnose).
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from nettrace.kube.expected import Expected, ExpectedIpvs, NodeFacts
from nettrace.kube.iptables import proxied, servings
from nettrace.kube.ipvs_layout import OUT_FILTER, IpvsLayout, ipvs_layout
from nettrace.kube.ipvs_rules import Barred, ipvs_chains
from nettrace.kube.ipvs_servers import bound_addresses, virtual_servers
from nettrace.kube.ipvs_sets import Entry, ipsets, port_entries, shuts_out_node
from nettrace.kube.services import addresses_of_family
from nettrace.kube.serving import Serving
from nettrace.kube.settings import Settings, settings
from nettrace.kube.traits import layout_version
from nettrace.model.addr import is_loopback
from nettrace.model.ipvs import VirtualServer
from nettrace.model.kube import Kube, KubeProxyConfig
from nettrace.model.section import Known
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRule, XtRuleset, XtTable

__all__ = ["expected_ipvs"]

_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def expected_ipvs(kube: Kube, node: str, family: int, facts: NodeFacts) -> Expected:
    """
    Return what kube-proxy in ipvs mode owes *node* in *family* (4 or 6).

    NodePorts are served on the addresses of *facts*, which must not hold those of kube-ipvs0.
    UserError as for settings().
    """
    chosen = settings(kube, node, family=family, addresses=facts.addresses)
    config = kube.proxy.value if isinstance(kube.proxy, Known) else KubeProxyConfig()
    layout = ipvs_layout(layout_version(config.version))
    served = tuple(servings(kube, chosen))
    own = _node_addresses(kube, node, family, facts)
    ports_on = own if chosen.node_port_ips is None else _usable(chosen.node_port_ips)
    if chosen.node_port_ips is None and layout.loopback:
        ports_on = (_LOOPBACK[family], *ports_on)
    addresses = tuple(dict.fromkeys(ip for one in served for ip in bound_addresses(one, own, layout)))
    entries = [Entry("IPVS-IPS", address) for address in addresses]
    for one, (_, everyone) in zip(served, proxied(kube, chosen), strict=True):
        entries += port_entries(one, everyone, ports_on)
    servers: dict[tuple[str, int, str], VirtualServer] = {}
    for one in served:
        for server in virtual_servers(one, config.ipvs_scheduler or "rr", ports_on, layout):
            servers[server.address, server.port, server.proto] = server
    chains = ipvs_chains(chosen, {entry.name for entry in entries}, tuple(_barred(served)), layout)
    return Expected(
        mode="ipvs",
        family=family,
        node=node,
        version=config.version,
        iptables=_tables(chains),
        unordered=frozenset(key for key in chains if key[1] == OUT_FILTER),
        ipvs=ExpectedIpvs(
            servers=tuple(servers.values()), ipsets=ipsets(entries, family, layout), addresses=addresses
        ),
        sysctls=_sysctls(config, chosen, layout),
    )


def _node_addresses(kube: Kube, node: str, family: int, facts: NodeFacts) -> tuple[str, ...]:
    """Return the addresses of the node's devices but kube-ipvs0."""
    given: Iterable[str] = ()
    if facts.addresses is not None:
        given = facts.addresses
    elif isinstance(kube.nodes, Known):
        this = next((one for one in kube.nodes.value if one.name == node), None)
        given = (*this.internal_ips, *this.external_ips) if this is not None else ()
    return _usable(addresses_of_family(given, family))


def _usable(addresses: Iterable[str]) -> tuple[str, ...]:
    """No loopback address, and no link-local one of IPv6 (pkg/proxy/ipvs/netlink_linux.go)."""
    return tuple(
        address
        for address in dict.fromkeys(addresses)
        if not is_loopback(address) and not (":" in address and ip_address(address).is_link_local)
    )


def _barred(served: Iterable[Serving]) -> Iterator[Barred]:
    for one in served:
        if shuts_out_node(one):
            for address in one.port.load_balancer_ips:
                yield Barred(address, one.port.proto, one.port.port.port)


def _tables(chains: dict[tuple[str, str], tuple[XtRule, ...]]) -> XtRuleset:
    """Return the chains in a namespace without others, as iptables-save orders them."""
    tables: dict[str, dict[str, XtChain]] = {
        table: {name: XtChain(policy="ACCEPT") for name in BUILTIN_CHAINS[table]}
        for table in ("filter", "nat")
    }
    for (table, name), rules in sorted(chains.items()):
        policy = "ACCEPT" if name in BUILTIN_CHAINS[table] else None
        tables[table][name] = XtChain(policy=policy, rules=rules)
    return XtRuleset(
        {
            table: Known(XtTable({name: Known(chain) for name, chain in chains_of.items()}))
            for table, chains_of in tables.items()
        }
    )


def _sysctls(config: KubeProxyConfig, chosen: Settings, layout: IpvsLayout) -> dict[str, str]:
    """
    Return what kube-proxy sets at its start, whatever the family.

    conn_reuse_mode is left alone since Linux 5.9, which is older than any kernel meant here.
    """
    found = {
        "net.ipv4.vs.conntrack": "1",
        "net.ipv4.vs.expire_nodest_conn": "1",
        "net.ipv4.vs.expire_quiescent_template": "1",
        "net.ipv4.ip_forward": "1",
    }
    if not layout.health_checks:
        found["net.ipv4.conf.all.route_localnet"] = "1"
    if config.strict_arp and chosen.family == 4:
        found |= {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}
    return found
