"""
Systems: what network systems run here, why we think so, and what each owes its node.

Lives here: asking the plugins node by node, and kube-proxy, which the core knows itself.
Not here: recognising a system (plugins), comparing (nettrace.diagnose.standing, expect_diff).
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from nettrace.app.claims import claims_of, is_of
from nettrace.app.context import Context
from nettrace.app.expect import Question, Wanted, owed_of, wanted
from nettrace.app.expect_diff import compare, families_of
from nettrace.app.node_rules import NodeRules, read_node_rules
from nettrace.diagnose.departure import Departure, DepartureReport
from nettrace.diagnose.standing import standing
from nettrace.kube.detect import detect_mode, detect_nft_version, detect_version
from nettrace.kube.expected import Expected
from nettrace.model.errors import UserError
from nettrace.model.finding import Evidence
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.system import OwedCount, System
from nettrace.parse.ipvs import end_text

__all__ = ["Systems", "systems"]

_KUBE_PROXY = "kube-proxy"


class Systems(Struct, frozen=True, kw_only=True):
    """
    All systems of all nodes.

    ``asked`` are the systems that were looked for, ``missing`` maps (namespace or node,
    section) that could not be read to the reason.
    """

    found: tuple[System, ...]
    asked: tuple[str, ...]
    missing: dict[tuple[str, str], str]


def systems(context: Context, *, of: str | None = None) -> Systems:
    """
    Recognise the systems of every node, or of the node *of*, and count what they owe it.

    UserError where there is no such node.
    """
    names = [of.split("/")[-1]] if of is not None else list(context.snapshot.nodes)
    unknown = [name for name in names if name not in context.snapshot.nodes]
    if unknown:
        known = ", ".join(sorted(context.snapshot.nodes))
        raise UserError(f"there is no node {unknown[0]!r}", hint=f"known: {known or 'none'}")
    kube = [SectionKey("", f"kube/{name}") for name in ("nodes", "services", "proxy")]
    context.read_unread(kube)
    asked_for = context.read_for_plugins(lambda key: is_of(context.snapshot, key, names))
    wanted_keys = list(asked_for)
    for name in names:
        node = context.snapshot.nodes[name]
        wanted_keys += [SectionKey(f"node:{name}", "processes"), SectionKey(node.netns, "links")]
    chosen = [key for key in dict.fromkeys(wanted_keys) if is_of(context.snapshot, key, names)]
    context.read_unread(chosen)
    found: list[System] = []
    missing = dict(_missing(context.snapshot, (*chosen, *kube)))
    for name in names:
        found += _plugins_systems(context, context.snapshot.nodes[name])
        rules = read_node_rules(context, context.snapshot.nodes[name].netns)
        proxy = _kube_proxy(context, context.snapshot.nodes[name], rules)
        if proxy is not None:
            found.append(proxy)
        elif rules.v4 is None or "nft" in rules.missing:
            netns = context.snapshot.nodes[name].netns
            missing |= {(netns, word): why for word, why in rules.missing.items()}
    asked = tuple(sorted({*context.plugins.names, _KUBE_PROXY}))
    return Systems(found=tuple(found), asked=asked, missing=missing)


def _missing(snapshot: Snapshot, keys: Iterable[SectionKey]) -> Iterable[tuple[tuple[str, str], str]]:
    """Yield what could not be read; that nobody gave a cluster's objects is no failure."""
    for key in dict.fromkeys(keys):
        section = snapshot.section(key)
        if not isinstance(section, Missing):
            continue
        if key.name.startswith("kube/") and section.kind in (MissingKind.UNSUPPORTED, MissingKind.NOT_READ):
            continue
        yield (key.netns, key.name), section.reason or section.kind.value


# --- what plugins know ------------------------------------------------------------------


def _plugins_systems(context: Context, node: NodeState) -> list[System]:
    made = []
    for claim in claims_of(context, node):
        counted = standing(context.snapshot, claim.owed)
        made.append(
            System(
                name=claim.name,
                node=node.name,
                netns=node.netns,
                mode=claim.mode,
                version=claim.version,
                evidence=claim.evidence,
                leftovers=claim.leftovers,
                owed=counted.counts,
                differs=counted.differs,
                unknown=claim.unknown,
            )
        )
    return made


# --- kube-proxy ------------------------------------------------------------------------


def _kube_proxy(context: Context, node: NodeState, rules: NodeRules) -> System | None:
    """Recognise kube-proxy by its process, its rules, or its configuration beside a Node object."""
    mode = detect_mode(rules.v4, rules.nft)
    if any(rules.tables.values()):
        mode = "nftables"
    evidence = [*_process(node), *_rules(node, rules, mode), *_configuration(context.snapshot, node)]
    if not evidence:
        return None
    made = System(
        name=_KUBE_PROXY,
        node=node.name,
        netns=node.netns,
        mode=mode or "",
        version=_version(rules, mode),
        evidence=tuple(evidence),
    )
    try:
        asked = wanted(Question(node=node.name), context, None, rules)
        config = asked.kube.proxy.value if isinstance(asked.kube.proxy, Known) else None
        stated = config.version if config is not None and config.version_stated else made.version
        made = replace(made, mode=config.mode if config else made.mode, version=stated)
        families = families_of(asked.kube)
        report = compare(asked, rules, families, context.label)
        counts = [count for family in families for count in _counts(asked, family, report)]
    except UserError as error:
        return replace(made, unknown=f"what it owes is not known: {error.what}")
    unread = "; ".join(f"{name}: {why}" for name, why in report.missing.items())
    return replace(
        made,
        owed=_summed(counts),
        differs=tuple(departure.meaning for departure in report.departures),
        unknown=f"not all could be compared: {unread}" if unread else "",
    )


def _process(node: NodeState) -> list[Evidence]:
    processes = node.processes.value if isinstance(node.processes, Known) else ()
    ref = f"node:{node.name}/processes"
    return [Evidence(ref=ref, text=f"{p.name} ({p.pid})") for p in processes if p.name == _KUBE_PROXY]


def _rules(node: NodeState, rules: NodeRules, mode: str | None) -> list[Evidence]:
    if mode is None:
        return []
    if mode == "nftables":
        return [Evidence(ref=f"{node.netns}/nft", text="table kube-proxy", note="nftables")]
    word = rules.chosen.get(4, "xt")
    ref = f"{node.netns}/{word}/nat/KUBE-SERVICES"
    return [Evidence(ref=ref, text="chain KUBE-SERVICES in table nat", note=word.replace("xt/", "iptables-"))]


def _configuration(snapshot: Snapshot, node: NodeState) -> list[Evidence]:
    """The configuration that an object gives, where the node is one of the cluster's."""
    nodes = snapshot.kube.nodes.value if isinstance(snapshot.kube.nodes, Known) else ()
    proxy = snapshot.kube.proxy
    if not isinstance(proxy, Known) or all(one.name != node.name for one in nodes):
        return []
    mode = proxy.value.mode or "iptables"
    return [Evidence(ref="kube/proxy", text=f"mode: {mode}", note=f"configured: {snapshot.kube.origin}")]


def _version(rules: NodeRules, mode: str | None) -> str:
    """The newest version that lays out its rules so, as ``1.30 or older``."""
    seen = None
    if mode == "nftables":
        table = next((one for one in rules.tables.values() if one is not None), None)
        seen = detect_nft_version({chain.name for chain in table.chains}) if table is not None else None
    elif mode == "iptables" and rules.v4 is not None:
        seen = detect_version(rules.v4)
    return f"{seen} or older" if seen else ""


def _counts(asked: Wanted, family: int, report: DepartureReport) -> list[OwedCount]:
    """Count what is owed in one family, and the chains, sets and sysctls that departures are about."""
    owed = owed_of(asked, family)
    mine = [departure for departure in report.departures if departure.family == family]
    counts = [
        _count("chains", _chains_of(owed), mine),
        _count(
            "sets and maps",
            {(f"{table.family} {table.name}", s.name) for table in owed.nft for s in table.sets},
            mine,
        ),
    ]
    settings = sum(departure.kind == "sysctl" for departure in mine)
    counts.append(OwedCount(kind="sysctls", owed=len(owed.sysctls), differing=settings))
    if owed.ipvs is not None:
        sets = {("ipset", one.name) for one in owed.ipvs.ipsets}
        counts.append(_count("ipsets", sets, mine))
        servers = {("ipvs", f"{one.proto} {end_text(one.address, one.port)}") for one in owed.ipvs.servers}
        count = _count("virtual servers", servers, mine)
        unread = count.owed if "ipvs" in report.missing else 0
        counts.append(OwedCount(kind=count.kind, owed=count.owed, differing=count.differing, unknown=unread))
    return [count for count in counts if count.owed]


def _chains_of(owed: Expected) -> set[tuple[str, str]]:
    names = {(f"{table.family} {table.name}", chain.name) for table in owed.nft for chain in table.chains}
    for table, section in (owed.iptables.tables if owed.iptables is not None else {}).items():
        chains = section.value.chains if isinstance(section, Known) else {}
        names |= {
            (table, name)
            for name, chain in chains.items()
            if isinstance(chain, Known) and (chain.value.policy is None or chain.value.rules)
        }
    return names


def _count(kind: str, names: set[tuple[str, str]], departures: Sequence[Departure]) -> OwedCount:
    """Count things by (table, name); a table that was flushed has none of its own."""
    flushed = {one.table for one in departures if one.kind == "flushed"}
    about = {(one.table, one.chain.removeprefix("@")) for one in departures}
    differing = [name for name in names if name[0] in flushed or name in about]
    return OwedCount(kind=kind, owed=len(names), differing=len(differing))


def _summed(counts: Iterable[OwedCount]) -> tuple[OwedCount, ...]:
    """Add up both address families, kind by kind."""
    found: dict[str, OwedCount] = {}
    for count in counts:
        old = found.get(count.kind)
        found[count.kind] = (
            count
            if old is None
            else OwedCount(
                kind=count.kind,
                owed=old.owed + count.owed,
                differing=old.differing + count.differing,
                unknown=old.unknown + count.unknown,
            )
        )
    return tuple(found.values())
