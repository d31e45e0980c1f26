"""Do the pod's hostPorts lead to it?"""

from nettrace.diagnose.guide.case import Heading
from nettrace.diagnose.guide.flow import Tried, failed, tried, worst
from nettrace.diagnose.guide.pod.case import PodCase
from nettrace.diagnose.guide.request import Asking, state
from nettrace.model.guide import Axis, Check, CheckState
from nettrace.model.snapshot import Snapshot

__all__ = ["host_ports"]

_TITLE = Heading("hostports", Axis.NODE, "Do its hostPorts lead to it?")


def host_ports(case: PodCase) -> Asking[Check]:
    """Walk to each hostPort of the node, from outside or from another node."""
    snapshot = yield from state()
    ports = [
        (port.host_port, port.protocol.lower())
        for container in case.pod.containers
        for port in container.ports
        if port.host_port and port.protocol != "SCTP"
    ]
    if not ports:
        return _TITLE.skipped("it asks for none")
    source = _caller(snapshot, case.node)
    if source is None:
        return _TITLE.skipped("nobody who could call them is in what was read: only its own node")
    found: list[Tried] = []
    for number, proto in ports:
        one = yield from tried(source, f"node/{case.node}:{number}/{proto}")
        found.append(one)
        if one.state is CheckState.PROBLEM:
            return failed(_TITLE, one, found)
    said = f"{len(found)} called from {source}"
    return _TITLE.ended(worst([one.state for one in found]), said, checked=tuple(one.words for one in found))


def _caller(snapshot: Snapshot, node: str) -> str | None:
    if any(netns.role == "outside" for netns in snapshot.namespaces.values()):
        return "internet"
    others = sorted(name for name in snapshot.nodes if name != node)
    return f"node/{others[0]}" if others else None
