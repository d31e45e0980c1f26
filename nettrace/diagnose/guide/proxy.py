"""Is kube-proxy alive on the node, and in which mode is it, judged by what is in the kernel?"""

from msgspec import Struct
from msgspec.structs import replace

from nettrace.diagnose.causes.iptables_legacy_nft_mix import IPTABLES_LEGACY_NFT_MIX
from nettrace.diagnose.causes.kubeproxy_not_running import KUBEPROXY_NOT_RUNNING
from nettrace.diagnose.causes.nft_table_gone import NFT_TABLE_GONE
from nettrace.diagnose.causes.proxy_mode_switch_leftover import PROXY_MODE_SWITCH_LEFTOVER
from nettrace.diagnose.guide.case import Case, Heading, advice
from nettrace.diagnose.guide.flow import tried, worst
from nettrace.diagnose.guide.objects import families, find_service, node_of
from nettrace.diagnose.guide.request import Asking, section, state
from nettrace.model.finding import Evidence, Finding, Repair
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.section import Known, Missing, SectionKey

__all__ = ["alive"]

_TITLE = Heading("kube-proxy", Axis.RULES, "Is kube-proxy alive on the client's node, and in which mode?")
_CHECKED = ("processes, port 10256, KUBE-SERVICES in both backends, table kube-proxy, kube-ipvs0",)
_HEALTHZ = 10256  # the default of healthzBindAddress, KubeProxyConfiguration v1alpha1
_TABLE = "kube-proxy"
_FAMILIES = {4: "ip", 6: "ip6"}  # nft's words


class _Kernel(Struct, frozen=True, kw_only=True):
    """The modes whose state the kernel has, the evidence, and what could not be read."""

    modes: tuple[str, ...]
    tables: tuple[str, ...]
    seen: tuple[Evidence, ...]
    missing: tuple[str, ...]


def alive(case: Case) -> Asking[Check]:
    """Look for the process, its health port, and the state of each mode; from outside on every node."""
    snapshot = yield from state()
    here = node_of(snapshot, case.netns)
    nodes = sorted(snapshot.nodes) if case.external else [here] if here is not None else []
    if not nodes:
        return _TITLE.skipped("the client is on no node that was read")
    found = []
    for node in nodes:
        one = yield from _on(case, node, snapshot.nodes[node].netns)
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return one
    said = "; ".join(dict.fromkeys(one.conclusion for one in found))
    seen = tuple(piece for one in found for piece in one.seen)
    return _TITLE.ended(worst([one.state for one in found]), said, checked=_CHECKED, seen=seen)


def _on(case: Case, node: str, netns: str) -> Asking[Check]:
    kernel = yield from _kernel(netns)
    running, process = yield from _process(node, netns)
    seen = (*process, *kernel.seen)
    finding = None
    if len(kernel.modes) > 1:
        finding = _several(node, kernel)
    elif not kernel.modes and not kernel.missing:
        finding = yield from _nothing(case, node, running=running, seen=seen)
    elif kernel.modes == ("nftables",):
        finding = yield from _half(case, node, kernel, seen)
    if finding is not None:
        return _TITLE.problem(finding, checked=_CHECKED, seen=seen, flow=(_caller(case, node), case.subject))
    if not kernel.modes:
        reason = f"its mode is not known: {'; '.join(kernel.missing)}"
        if not kernel.missing:
            reason = (
                f"{node} has no rules of kube-proxy in any mode; that {case.key} lacks them does not show"
            )
        return _TITLE.unknown(reason, checked=_CHECKED, seen=seen)
    words: dict[bool | None, str] = {True: "it runs", False: "no such process is seen, its rules are there"}
    said = (
        f"{words.get(running, 'its rules are there, whether it runs is not known')}; mode {kernel.modes[0]}"
    )
    if kernel.missing:
        said = f"{said}; other modes are not ruled out: {'; '.join(kernel.missing)}"
    if kernel.missing or running is None:
        return _TITLE.unknown(said, checked=_CHECKED, seen=seen)
    return _TITLE.passed(said, checked=_CHECKED, seen=seen)


def _kernel(netns: str) -> Asking[_Kernel]:
    """Say which modes have left state in the kernel."""
    modes: list[str] = []
    tables: list[str] = []
    seen: list[Evidence] = []
    missing: list[str] = []
    for backend in ("nft", "legacy"):
        table = yield from section(SectionKey(netns, f"xt/{backend}"))
        if isinstance(table, Missing):
            missing.append(f"iptables-{backend}: {table.reason or table.kind.value}")
            continue
        nat = table.value.tables.get("nat")
        if isinstance(nat, Missing):
            nat = yield from section(SectionKey(netns, f"xt/{backend}/nat"))
        if isinstance(nat, Missing):
            missing.append(f"iptables-{backend}, table nat: {nat.reason or nat.kind.value}")
        chains = nat.value.chains if isinstance(nat, Known) and nat.value is not None else {}
        owned = [name for name in chains if name.startswith(("KUBE-SVC-", "KUBE-SEP-"))]
        if "KUBE-SERVICES" in chains:
            ref = f"{netns}/xt/{backend}/nat/KUBE-SERVICES"
            seen.append(
                Evidence(ref=ref, text=f"iptables-{backend}: KUBE-SERVICES, {len(owned)} chains of Services")
            )
            if owned:
                modes.append(f"iptables ({backend})")
    native = yield from section(SectionKey(netns, "nft"))
    if isinstance(native, Missing):
        missing.append(f"nftables: {native.reason or native.kind.value}")
    else:
        tables = [key for key in native.value.tables if key.endswith(f" {_TABLE}")]
        if tables:
            modes.append("nftables")
            seen.append(Evidence(ref=f"{netns}/nft", text=f"nftables: table {', table '.join(tables)}"))
    links = yield from section(SectionKey(netns, "links"))
    if isinstance(links, Missing):
        missing.append(f"devices: {links.reason or links.kind.value}")
    elif any(link.name == "kube-ipvs0" for link in links.value):
        modes.append("ipvs")
        seen.append(Evidence(ref=f"{netns}/links/kube-ipvs0", text="the device kube-ipvs0"))
    return _Kernel(modes=tuple(modes), tables=tuple(tables), seen=tuple(seen), missing=tuple(missing))


def _process(node: str, netns: str) -> Asking[tuple[bool | None, tuple[Evidence, ...]]]:
    """Say whether kube-proxy runs: by its process, else by who listens on its health port."""
    found = yield from section(SectionKey(f"node:{node}", "processes"))
    if isinstance(found, Known):
        process = next((p for p in found.value if p.name == "kube-proxy"), None)
        if process is not None:
            return True, (Evidence(ref=f"node:{node}/processes", text=f"kube-proxy, process {process.pid}"),)
    sockets = yield from section(SectionKey(netns, "sockets"))
    if isinstance(sockets, Known):
        healthy = any(s.port == _HEALTHZ and s.proto == "tcp" and s.state == "listen" for s in sockets.value)
        if healthy:
            return True, (
                Evidence(ref=f"{netns}/sockets/tcp/{_HEALTHZ}", text=f"somebody listens on {_HEALTHZ}"),
            )
        if isinstance(found, Known):
            said = f"no process kube-proxy, nobody listens on {_HEALTHZ}"
            return False, (Evidence(ref=f"node:{node}/processes", text=said),)
    return None, (Evidence(ref="", text="whether it runs could not be read"),)


def _several(node: str, kernel: _Kernel) -> Finding:
    iptables = [mode for mode in kernel.modes if mode.startswith("iptables")]
    cause = IPTABLES_LEGACY_NFT_MIX if len(iptables) > 1 else PROXY_MODE_SWITCH_LEFTOVER
    return advice(
        cause,
        f"{node} has the rules of kube-proxy twice: {' and '.join(kernel.modes)}",
        subject=f"node/{node}",
        where=node,
        evidence=kernel.seen,
    )


def _half(case: Case, node: str, kernel: _Kernel, seen: tuple[Evidence, ...]) -> Asking[Finding | None]:
    """Mode nftables has a table for each IP family: look for the Service's own."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    for family in families(service.cluster_ips) if service is not None else ():
        if f"{_FAMILIES[family]} {_TABLE}" not in kernel.tables:
            return _table_gone(node, family, seen)
    return None


def _table_gone(node: str, family: int, seen: tuple[Evidence, ...]) -> Finding:
    return advice(
        NFT_TABLE_GONE,
        f"{node} has no table {_FAMILIES[family]} {_TABLE}: kube-proxy, in mode nftables, owes it",
        subject=f"node/{node}",
        where=node,
        evidence=seen,
    )


def _caller(case: Case, node: str) -> str:
    """Who calls the Service's address on that node: from outside nobody does, so the node itself."""
    return f"node/{node}" if case.external else case.client


def _nothing(
    case: Case, node: str, *, running: bool | None, seen: tuple[Evidence, ...]
) -> Asking[Finding | None]:
    """No mode has state: kube-proxy is dead, or somebody flushed what it wrote."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is None or service.headless or not service.cluster_ips or not case.ports(service):
        return None
    flow = yield from tried(_caller(case, node), case.target(case.ports(service)[0]))
    if flow.state is not CheckState.PROBLEM:
        return None  # somebody else translates it, or what happens cannot be told
    flushed = next(iter(flow.findings), None)
    if running and flushed is not None:
        return flushed
    proxy = snapshot.kube.proxy
    if isinstance(proxy, Known) and proxy.value.mode == "nftables":
        return _table_gone(node, families(service.cluster_ips)[0], seen)
    if running:
        return None
    repairs: tuple[Repair, ...] = flushed.repairs if flushed is not None else ()
    made = advice(
        KUBEPROXY_NOT_RUNNING,
        f"{node} has no rules of kube-proxy in any mode"
        + ("" if running is None else ", and no kube-proxy runs on it"),
        subject=f"node/{node}",
        where=node,
        evidence=seen,
    )
    if flushed is None:
        return made
    return replace(made, alternatives=(flushed.cause,), repairs=repairs or made.repairs)
