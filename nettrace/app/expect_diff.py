"""
Expect --diff: what a node is owed beside what it has.

Lives here: which families are compared with which rules, and what could not be read.
Not here: the comparison itself (nettrace.diagnose: departures and its like).
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from nettrace.app.expect import Wanted, owed_of
from nettrace.app.expect_node import Owing
from nettrace.app.node_rules import NodeRules
from nettrace.diagnose.departure import Departure, DepartureReport
from nettrace.diagnose.departures import departures
from nettrace.diagnose.ipvs_departures import ipvs_departures
from nettrace.diagnose.nft_departures import nft_departures
from nettrace.diagnose.owed_departures import owed_departures
from nettrace.diagnose.standing import unread_of
from nettrace.kube.iptables import owed_kube_proxy
from nettrace.kube.owed_tables import owed_tables
from nettrace.kube.services import is_proxied, proxied_ports
from nettrace.kube.traits import traits
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace.model.system import Claim

__all__ = ["compare", "compare_node", "families_of"]

_LIBERAL = "net.netfilter.nf_conntrack_tcp_be_liberal"


def families_of(kube: Kube) -> tuple[int, ...]:
    """Return the families in which there are Services to serve: 4 always, 6 where one has such an address."""
    services = kube.services.value if isinstance(kube.services, Known) else ()
    six = any(is_proxied(service) for service in services) and proxied_ports(services, 6)
    return (4, 6) if six else (4,)


def compare(found: Wanted, there: NodeRules, families: Sequence[int], label: str) -> DepartureReport:
    """Compare family by family; UserError for a mode that kube-proxy does not have."""
    assert isinstance(found.kube.proxy, Known)  # noqa: S101  (wanted() makes it so)
    config = found.kube.proxy.value
    mode = config.mode or "iptables"
    if mode not in _MODES:
        raise UserError(f"what kube-proxy writes in mode {mode} is not compared")
    told: list[Departure] = []
    missing: dict[str, str] = {}
    for family in families:
        missing |= there.unread(family, nft=mode == "nftables")
        told += _MODES[mode](found, there, family)
    if mode == "ipvs":
        missing |= _unread_of_ipvs(there)
    return DepartureReport(
        label=label,
        node=found.node,
        netns=found.netns,
        mode=mode,
        version=config.version,
        families=tuple(families),
        departures=tuple(told),
        missing=missing,
    )


def compare_node(found: Owing, family: int | None, label: str) -> DepartureReport:
    """
    Compare all that a node is owed, in *family* or in those that are in use.

    UserError where kube-proxy's part is asked for and the node's rules are not known.
    """
    families: tuple[int, ...] = (family,) if family is not None else (4,)
    if found.proxy is None:
        report = DepartureReport(
            label=label,
            node=found.node,
            netns=found.netns,
            mode="",
            version="",
            families=families,
            departures=(),
            missing={},
        )
    else:
        if found.proxy.there is None:
            raise UserError(
                f"the rules that {found.node} has are not known",
                where=label,
                hint="run it on that node, or give --lab, or --from with a snapshot or the text of "
                "iptables-save",
                code=3,
            )
        if family is None and found.proxy.netns:
            families = families_of(found.proxy.kube)
        report = compare(found.proxy, found.proxy.there, families, label)
    return _with_systems(report, found.claims, found.snapshot) if found.snapshot is not None else report


def _with_systems(report: DepartureReport, claims: tuple[Claim, ...], snapshot: Snapshot) -> DepartureReport:
    """Add the comparison of what network systems owe."""
    told = list(report.departures)
    missing = dict(report.missing)
    for claim in claims:
        told += [one for one in owed_departures(snapshot, claim.owed) if one.family in report.families]
        missing |= {key.name: why for key, why in unread_of(snapshot, claim.owed).items()}
        if claim.unknown:
            missing[claim.name] = claim.unknown
    return replace(report, departures=tuple(told), missing=missing, systems=claims)


def _native(found: Wanted, there: NodeRules, family: int) -> Sequence[Departure]:
    """Compare a native table; what of it was not read is compared with nothing."""
    (owed,) = owed_of(found, family).nft
    if family not in there.tables:
        return ()
    unread = {name.split("/", 3)[3] for name in there.unread(family, nft=True) if name.count("/") > 2}
    owed = replace(
        owed,
        chains=tuple(chain for chain in owed.chains if chain.name not in unread),
        sets=tuple(one for one in owed.sets if f"@{one.name}" not in unread),
    )
    return nft_departures(owed, there.tables[family])


def _iptables(found: Wanted, there: NodeRules, family: int) -> Sequence[Departure]:
    assert isinstance(found.kube.proxy, Known)  # noqa: S101  (wanted() makes it so)
    traits(found.kube.proxy.value)  # says so if its layout is not derived
    rules = there.of(family)
    if rules is None:
        return ()
    known = bool(found.facts.sysctls)
    guesses = [found.facts.sysctls] if known else [{_LIBERAL: "0"}, {_LIBERAL: "1"}]
    results = [
        departures(
            owed_kube_proxy(
                found.kube,
                found.node,
                found.netns,
                sysctls,
                family=family,
                addresses=found.facts.addresses,
            ),
            rules,
            family,
            found.facts.sysctls if known else None,
        )
        for sysctls in guesses
    ]
    return min(results, key=len)  # a sysctl that no dump shows is as it explains the rules best


def _ipvs(found: Wanted, there: NodeRules, family: int) -> Sequence[Departure]:
    """Compare the few iptables rules, and what else was read of what the mode keeps."""
    owed, rules = owed_of(found, family), there.of(family)
    told = departures(tuple(owed_tables(owed, found.netns)), rules, family) if rules is not None else ()
    sysctls = found.facts.sysctls or None
    rest = ipvs_departures(
        owed,
        servers=there.servers,
        addresses=there.bound,
        ipsets=there.ipsets,
        sysctls=sysctls,
        netns=found.netns,
    )
    return (*told, *rest)


def _unread_of_ipvs(there: NodeRules) -> dict[str, str]:
    """Return what the mode keeps and nobody read, with the reason."""
    missing: dict[str, str] = {}
    for name, value in (("ipvs", there.servers), ("ipsets", there.ipsets), ("addresses", there.bound)):
        if value is None:
            missing[name] = there.missing.get(name, "it is not in what was given")
    return missing


_MODES: Mapping[str, Callable[[Wanted, NodeRules, int], Sequence[Departure]]] = {
    "iptables": _iptables,
    "nftables": _native,
    "ipvs": _ipvs,
}
