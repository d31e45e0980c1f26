"""
The rules that kube-proxy in iptables mode owes a node.

Lives here: putting the frame and the Services' rules together, as tables and as owed state,
and the words for a chain's name.
Not here: single rules (frame, dispatch_rules, service_chains), what is there instead
(nettrace.diagnose).

Facts are from the rules that kube-proxy 1.36 wrote (fixtures/kube-proxy) and from
pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from collections.abc import Container, Iterable, Iterator, Mapping

from nettrace.kube.describe import describe_chain
from nettrace.kube.dispatch_rules import dispatch
from nettrace.kube.elder_endpoints import choose_elder
from nettrace.kube.endpoints import Backend, Choice, backends, choose, index_slices
from nettrace.kube.expected import Expected, NodeFacts
from nettrace.kube.frame import PURPOSES, SOURCE, frame_chains, jumps
from nettrace.kube.rules import Chain, Line
from nettrace.kube.service_chains import chains
from nettrace.kube.services import ProxiedPort, proxied_ports
from nettrace.kube.serving import Serving
from nettrace.kube.settings import Settings, settings
from nettrace.kube.traits import is_derivable, layout_version, traits
from nettrace.kube.xlb_rules import xlb_chains, xlb_dispatch
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule, OwedSysctl
from nettrace.model.section import Known, Missing
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRule, XtRuleset, XtTable

__all__ = [
    "OWNER",
    "describe_chain",
    "expected_iptables",
    "owed_kube_proxy",
    "proxied",
    "ruleset",
    "servings",
]

OWNER = "kube-proxy"

#: With more endpoints than this, rules about endpoints carry no comments.
_LARGE_CLUSTER = 1000

_BE_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"
_ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"


def expected_iptables(kube: Kube, node: str, family: int, facts: NodeFacts) -> Expected:
    """Return what kube-proxy in iptables mode owes *node*; UserError as for ruleset()."""
    be_liberal = facts.sysctls.get(_BE_LIBERAL, "0") != "0"
    chosen = settings(kube, node, family=family, be_liberal=be_liberal, addresses=facts.addresses)
    made = tuple(_chains(kube, chosen))
    config = kube.proxy.value if isinstance(kube.proxy, Known) else None
    return Expected(
        mode="iptables",
        family=family,
        node=node,
        version=config.version if config else "",
        iptables=_tables(made, chosen),
        unordered=frozenset((chain.table, chain.name) for chain in made if not chain.ordered),
        sysctls={_ROUTE_LOCALNET: "1"} if chosen.route_localnet else {},
    )


def ruleset(
    kube: Kube,
    node: str,
    *,
    family: int = 4,
    be_liberal: bool = False,
    addresses: Iterable[str] | None = None,
) -> XtRuleset:
    """
    Return the tables as kube-proxy writes them on *node* in a namespace without other rules.

    *family* is 4 or 6; *be_liberal* whether nf_conntrack_tcp_be_liberal was not 0 when
    kube-proxy started; *addresses* those of the node's devices (for ``nodePortAddresses``).
    Chains stand in iptables-save's order, rules of dispatch chains by Service.  Raises
    UserError where the objects do not tell: see nettrace.kube.settings.
    """
    chosen = settings(kube, node, family=family, be_liberal=be_liberal, addresses=addresses)
    return _tables(_chains(kube, chosen), chosen)


def _tables(made: Iterable[Chain], chosen: Settings) -> XtRuleset:
    """Return the chains in a namespace without others."""
    tables: dict[str, dict[str, XtChain]] = {
        table: {name: XtChain(policy="ACCEPT") for name in BUILTIN_CHAINS[table]}
        for table in ("mangle", "nat", "filter")
    }
    heads: dict[tuple[str, str], list[XtRule]] = {}
    for jump in jumps(chosen.traits):
        heads.setdefault((jump.table, jump.chain), []).append(jump.rule)
    for (table, name), rules in heads.items():
        tables[table][name] = XtChain(policy="ACCEPT", rules=tuple(rules))
    for chain in sorted(made, key=lambda c: c.name):
        tables[chain.table][chain.name] = XtChain(rules=chain.rules)
    return XtRuleset(
        {
            table: Known(XtTable({name: Known(chain) for name, chain in chains_of.items()}))
            for table, chains_of in tables.items()
        }
    )


def owed_kube_proxy(
    kube: Kube,
    node: str,
    netns: str,
    sysctls: Mapping[str, str] | None = None,
    *,
    family: int = 4,
    addresses: Iterable[str] | None = None,
    services: Container[str] | None = None,
) -> tuple[Owed, ...]:
    """
    Return what kube-proxy owes the namespace *netns* of *node*: jumps, chains, one sysctl.

    *sysctls* are the namespace's, *addresses* those of its devices.  With *services*
    (``namespace/name``) the chains that belong to one Service alone are left out for all
    others, which makes it fast where there are thousands.  Nothing is owed where
    the cluster's objects were not read, where the mode is not iptables, and by a kube-proxy
    whose layout is older than nettrace knows.  Raises UserError if there is no such Node.
    """
    if not _derivable(kube):
        return ()
    be_liberal = (sysctls or {}).get(_BE_LIBERAL, "0") != "0"
    chosen = settings(kube, node, family=family, be_liberal=be_liberal, addresses=addresses)
    owed: list[Owed] = [
        OwedJump(
            netns=netns,
            owner=OWNER,
            source=SOURCE,
            about=f"jump to {jump.to}, {PURPOSES[jump.table, jump.to]}",
            table=jump.table,
            chain=jump.chain,
            rule=jump.rule,
            first=True,
        )
        for jump in jumps(chosen.traits)
    ]
    for chain in _chains(kube, chosen, services):
        if not _is_kubelets(chain, chosen):
            owed.append(_owed_chain(chain, netns))
        else:
            owed.extend(_owed_rule(chain, line, netns) for line in chain.lines)
    if chosen.route_localnet:
        owed.append(
            OwedSysctl(
                netns=netns,
                owner=OWNER,
                source=SOURCE,
                about="NodePorts on localhost",
                name=_ROUTE_LOCALNET,
                values=("1",),
            )
        )
    return tuple(owed)


def _derivable(kube: Kube) -> bool:
    """Are the objects there, and do they speak of a mode and a version that is known here?"""
    if isinstance(kube.proxy, Missing):
        return False
    config = kube.proxy.value
    if config.mode not in ("", "iptables") or not is_derivable(layout_version(config.version)):
        return False
    slices = kube.endpoint_slices if traits(config).endpoint_slices else kube.endpoints
    return not any(isinstance(section, Missing) for section in (kube.services, slices, kube.nodes))


def _is_kubelets(chain: Chain, chosen: Settings) -> bool:
    """
    Is this a chain that kubelet fills, at most with kube-proxy's rules among its own?

    KUBE-FIREWALL without a rule of kube-proxy's only has to exist, as has KUBE-MARK-DROP.
    """
    if chain.name == "KUBE-FIREWALL":
        return not chain.lines or not chosen.traits.own_firewall
    return chain.name == "KUBE-MARK-DROP"


def _owed_rule(chain: Chain, line: Line, netns: str) -> OwedRule:
    return OwedRule(
        netns=netns,
        owner=OWNER,
        source=line.note.source,
        about=line.note.about,
        table=chain.table,
        chain=chain.name,
        rule=line.rule,
    )


def _owed_chain(chain: Chain, netns: str) -> OwedChain:
    lines = (*chain.lines, *chain.last)
    same = all(line.note == chain.note for line in lines)
    return OwedChain(
        netns=netns,
        owner=OWNER,
        source=chain.note.source,
        about=chain.note.about,
        subject=chain.note.subject,
        table=chain.table,
        chain=chain.name,
        rules=chain.rules,
        ordered=chain.ordered,
        last=tuple(line.rule for line in chain.last),
        notes=() if same else tuple(line.note for line in lines),
    )


def _chains(kube: Kube, chosen: Settings, services: Container[str] | None = None) -> Iterator[Chain]:
    """Yield all chains, those of the frame first; of single Services only the given ones."""
    found = tuple(servings(kube, chosen))
    dispatched: dict[tuple[str, str], list[Line]] = {}
    for serving in found:
        for entry in xlb_dispatch(serving) if chosen.traits.xlb else dispatch(serving):
            dispatched.setdefault((entry.table, entry.chain), []).append(entry.line)
    yield from frame_chains(chosen, dispatched)
    for serving in found:
        if services is None or serving.port.service.key in services:
            yield from xlb_chains(serving) if chosen.traits.xlb else chains(serving)


def proxied(kube: Kube, chosen: Settings) -> list[tuple[ProxiedPort, tuple[Backend, ...]]]:
    """
    Return every port of a Service that kube-proxy serves with all endpoints that it knows of.

    UserError where Services or their endpoints were not read.
    """
    known = chosen.traits
    slices = kube.endpoint_slices if known.endpoint_slices else kube.endpoints
    if not isinstance(kube.services, Known) or not isinstance(slices, Known):
        what = "EndpointSlices" if known.endpoint_slices else "Endpoints"
        raise UserError(
            f"what kube-proxy writes on {chosen.node} depends on Services and {what}, which were not read",
            hint="give the cluster's objects with --manifests or --kubeconfig",
        )
    index = index_slices(slices.value)
    found = [
        (port, backends(index, port, chosen.node, as_given=not known.endpoint_slices))
        for port in proxied_ports(kube.services.value, chosen.family, ip_mode=known.ip_mode)
    ]
    if not known.health_checks:  # 1.20 knows no endpoint that is not ready
        found = [(port, tuple(b for b in everyone if b.ready)) for port, everyone in found]
    return found


def servings(kube: Kube, chosen: Settings) -> Iterator[Serving]:
    """
    Yield every port of a Service that kube-proxy serves, with the endpoints that the node uses.

    In the order of proxied(); UserError as there.
    """
    found = proxied(kube, chosen)
    commented = sum(len(everyone) for _, everyone in found) <= _LARGE_CLUSTER
    for port, everyone in found:
        choice = _choice(everyone, port, chosen)
        yield Serving(port=port, choice=choice, settings=chosen, commented=commented)


def _choice(everyone: tuple[Backend, ...], port: ProxiedPort, chosen: Settings) -> Choice:
    known = chosen.traits
    if known.xlb:
        return choose_elder(everyone, port, zone=chosen.zone, known=known)
    return choose(
        everyone,
        port,
        node=chosen.node,
        zone=chosen.zone,
        zone_hints=known.hints_zones(port.service.annotations),
        node_hints=known.node_hints,
        terminating=known.terminating,
    )
