"""Does it answer from outside: node ports, external addresses, the balancer's?"""

from nettrace.diagnose.guide.case import Case, Heading, names
from nettrace.diagnose.guide.flow import Tried, failed, tried, worst
from nettrace.diagnose.guide.local_policy import bare, has_local, health_asked, misnamed
from nettrace.diagnose.guide.objects import find_service, slices_unread
from nettrace.diagnose.guide.request import Asking, state
from nettrace.kube.settings import settings
from nettrace.model.errors import UserError
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.kube import Service, ServicePort
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["answered"]

_TITLE = Heading("outside", Axis.RULES, "Does it answer from outside?")
_OUTSIDE = "internet"


def answered(case: Case) -> Asking[Check]:
    """Walk from outside to every node's node port and to the Service's outer addresses."""
    snapshot = yield from state()
    service = find_service(snapshot, case.namespace, case.name)
    if service is None:
        return _TITLE.unknown(f"{case.key} is not known")
    targets = [target for port in case.ports(service) for target in _targets(snapshot, service, port)]
    found: list[Tried] = []
    for target in _localhost(case, snapshot, service):
        one = yield from tried(case.client, target, 3)
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return failed(_TITLE, one, found)
    if not targets:
        said = f"it is a {service.type} Service: nothing of it can be called from outside"
        return _TITLE.skipped(said)
    if not any(netns.role == "outside" for netns in snapshot.namespaces.values()):
        reason = "nobody outside is in what was read"
        wanted = CheckState.UNKNOWN if case.external else CheckState.SKIPPED
        return _TITLE.ended(wanted, reason, checked=tuple(targets))
    unread = slices_unread(snapshot)
    if service.external_traffic_policy == "Local" and unread:
        return _TITLE.unknown(
            f"which nodes have an endpoint of it is not known: {unread}", checked=tuple(targets)
        )
    local = service.external_traffic_policy == "Local"
    asked, unhealthy = yield from health_asked(case, snapshot, service, _OUTSIDE)
    if unhealthy is not None:
        flow = (asked[-1].source, asked[-1].target)
        return _TITLE.problem(unhealthy, checked=tuple(one.words for one in asked), flow=flow)
    without: list[str] = []
    for target in targets:
        node = target.removeprefix("node/").partition(":")[0] if target.startswith("node/") else ""
        checked = tuple(one.words for one in (*asked, *found))
        if local and node and not has_local(snapshot, service, node, target.rpartition(":")[2]):
            strange = misnamed(case, snapshot, service, node)
            if strange is not None:
                return _TITLE.problem(strange, checked=checked)
            without.append(node)
            continue
        one = yield from tried(_OUTSIDE, target, 3)
        found.append(one)
        if one.state is CheckState.PROBLEM:
            strange = misnamed(case, snapshot, service, node, one) if local and node else None
            if strange is None:
                return failed(_TITLE, one, found)
            return _TITLE.problem(strange, checked=(*checked, one.words), flow=(one.source, one.target))
    checked = tuple(one.words for one in (*asked, *found))
    if without and (case.external or not found):
        return _TITLE.problem(bare(case, service, snapshot, without), checked=checked)
    note = (
        f"; {names(sorted(set(without)))} drop it: no local endpoint, as externalTrafficPolicy Local asks"
        if without
        else ""
    )
    said = f"{len(found)} entrances called{note}"
    states = [one.state for one in (*asked, *found)]
    return _TITLE.ended(worst(states), said, checked=checked)


def _targets(snapshot: Snapshot, service: Service, port: ServicePort) -> list[str]:
    proto = port.protocol.lower()
    found = []
    if port.node_port:
        found += [f"node/{node}:{port.node_port}/{proto}" for node in sorted(snapshot.nodes)]
    outer = (*service.external_ips, *service.load_balancer_ips)
    found += [f"[{ip}]:{port.port}/{proto}" if ":" in ip else f"{ip}:{port.port}/{proto}" for ip in outer]
    return found


def _localhost(case: Case, snapshot: Snapshot, service: Service) -> list[str]:
    """Return the node ports that the client, a node, may call by 127.0.0.1, where kube-proxy serves them."""
    here = case.client.removeprefix("node/") if case.client.startswith("node/") else ""
    proxy = snapshot.kube.proxy
    if not here or not isinstance(proxy, Known) or proxy.value.mode != "iptables":
        return []
    try:
        served = settings(snapshot.kube, here).localhost_node_ports
    except UserError:
        return []  # a layout that is not derived: what it does with localhost is not known
    ports = [p for p in case.ports(service) if p.node_port and p.protocol == "TCP"] if served else []
    return [f"127.0.0.1:{port.node_port}/tcp" for port in ports]
