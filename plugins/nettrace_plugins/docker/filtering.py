"""
What dockerd owes a host's filter table, in the layout that is there.

Lives here: telling the layout by its chains, the accept of each published port, the ways to it.
Not here: NAT (owes), what the layouts are (layout).
"""

from collections.abc import Iterator

from nettrace.model.owed import Owed, OwedJump, OwedRule
from nettrace.model.packet import PortRange
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XtRule
from nettrace.model.xt_match import Negatable, Ports, Tcp, Udp
from nettrace.model.xt_target import Accept, Jump
from nettrace_plugins.docker.containers import running_containers
from nettrace_plugins.docker.layout import BEFORE_28, SINCE_28
from nettrace_plugins.docker.owes import OWNER, bridge_of

__all__ = ["FORWARD", "PORTS", "layout_of", "owed_filtering"]

FORWARD = "DOCKER-FORWARD"
PORTS = "DOCKER"


def layout_of(snapshot: Snapshot, netns: str) -> str:
    """Return ``before 28``, ``28 or newer``, or "" where no such chain is there or the table was not read."""
    for backend in BACKENDS:
        table = snapshot.section(SectionKey(netns, f"xt/{backend}/filter"))
        if not isinstance(table, Known) or table.value is None:
            continue
        if FORWARD in table.value.chains:
            return SINCE_28
        if PORTS in table.value.chains:
            return BEFORE_28
    return ""


def owed_filtering(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield the accepts of published ports and the ways to them."""
    state = snapshot.nodes.get(node)
    layout = layout_of(snapshot, state.netns) if state is not None else ""
    if state is None or not layout:
        return
    netns = state.netns
    bridges: dict[str, str] = {}
    for container in running_containers(snapshot, node):
        for network in container.networks:
            bridge = bridge_of(snapshot, netns, network)
            if bridge is None:
                continue
            bridges.setdefault(bridge, container.source)
            for port in container.published:
                number = Ports(PortRange(port.port, port.port))
                test = Tcp(dport=number) if port.proto == "tcp" else Udp(dport=number, proto=port.proto)
                yield OwedRule(
                    netns=netns,
                    owner=OWNER,
                    source=container.source,
                    about=f"container {container.name}, port {port.port}/{port.proto}",
                    subject=f"container/{container.name}",
                    table="filter",
                    chain=PORTS,
                    rule=XtRule(
                        dst=Negatable(f"{network.address}/32"),
                        in_device=Negatable(bridge, invert=True),
                        out_device=Negatable(bridge),
                        proto=Negatable(port.proto),
                        matches=(test,),
                        target=Accept(),
                    ),
                )
            break  # its ports are published by the first network that has a bridge
    about = "the way to published ports"
    if layout == SINCE_28 and bridges:
        yield OwedJump(
            netns=netns,
            owner=OWNER,
            source="dockerd's start",
            about=about,
            table="filter",
            chain="FORWARD",
            rule=XtRule(target=Jump(FORWARD)),
            first=True,
        )
    chain = "DOCKER-BRIDGE" if layout == SINCE_28 else "FORWARD"
    for bridge, source in bridges.items():
        yield OwedRule(
            netns=netns,
            owner=OWNER,
            source=source,
            about=about,
            table="filter",
            chain=chain,
            rule=XtRule(out_device=Negatable(bridge), target=Jump(PORTS)),
        )
