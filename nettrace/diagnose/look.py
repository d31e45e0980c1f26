"""
Looking things up in a snapshot, for causes.

Lives here: one-line questions about sections that may not have been read.  "Not known" and
"not there" both come back as None or empty: good enough to look for candidates, which the
walk then proves, and for nothing else.
"""

from collections.abc import Iterator

from nettrace.model.addr import family_of, in_prefix, network_of
from nettrace.model.links import Address, Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import Socket
from nettrace.model.step import Step
from nettrace.model.xt import BACKENDS, XtChain

__all__ = [
    "addresses_in",
    "bridge_port",
    "chains_in",
    "connected",
    "connected_prefix",
    "has_chain",
    "holder_of",
    "link_in",
    "links_in",
    "listeners",
    "rule_ref",
    "step_text",
    "subject_of",
    "sysctl",
    "unheard",
    "where",
]


def where(snapshot: Snapshot, netns: str) -> str:
    """Name a namespace in words: the node, if it is a node's own."""
    return next((node.name for node in snapshot.nodes.values() if node.netns == netns), netns)


def subject_of(snapshot: Snapshot, netns: str) -> str:
    """Name a namespace as a target: ``node/NAME`` for a node's own, ``netns/NAME`` otherwise."""
    own = any(node.netns == netns for node in snapshot.nodes.values())
    return f"node/{where(snapshot, netns)}" if own else f"netns/{netns}"


def sysctl(snapshot: Snapshot, netns: str, name: str) -> str | None:
    """Return the value of a sysctl."""
    section = snapshot.section(SectionKey(netns, "sysctls"))
    return section.value.get(name) if isinstance(section, Known) else None


def links_in(snapshot: Snapshot, netns: str) -> tuple[Link, ...]:
    """Return the devices of a namespace."""
    section = snapshot.section(SectionKey(netns, "links"))
    return section.value if isinstance(section, Known) else ()


def link_in(snapshot: Snapshot, netns: str, device: str | None) -> Link | None:
    """Return one device."""
    return next((link for link in links_in(snapshot, netns) if link.name == device), None)


def addresses_in(snapshot: Snapshot, netns: str) -> tuple[Address, ...]:
    """Return the addresses of a namespace."""
    section = snapshot.section(SectionKey(netns, "addresses"))
    return section.value if isinstance(section, Known) else ()


def holder_of(snapshot: Snapshot, address: str) -> str | None:
    """Return the namespace that has *address*, as far as that was read."""
    return next(
        (n for n in snapshot.namespaces if any(a.address == address for a in addresses_in(snapshot, n))),
        None,
    )


def connected_prefix(snapshot: Snapshot, netns: str, address: str, kind: str) -> tuple[Address, str] | None:
    """
    Return the address of a device of *kind* in *netns* whose network holds *address*, and that network.

    ``bridge`` finds the bridge that a pod or container hangs on.
    """
    for own in addresses_in(snapshot, netns):
        link = link_in(snapshot, netns, own.device)
        if link is None or link.kind != kind or family_of(own.address) != family_of(address):
            continue
        network = network_of(own.address, own.prefixlen)
        if in_prefix(address, network):
            return own, network
    return None


def bridge_port(snapshot: Snapshot, netns: str, device: str | None) -> Link | None:
    """Return the device if it is a bridge port."""
    link = link_in(snapshot, netns, device)
    return link if link is not None and link.port is not None else None


def chains_in(snapshot: Snapshot, netns: str, table: str, chain: str) -> Iterator[tuple[str, XtChain]]:
    """Yield (back end, chain) for each back end in which the chain is known and exists."""
    for backend in BACKENDS:
        found = snapshot.chain(netns, backend, table, chain)
        if found is not None:
            yield backend, found


def has_chain(snapshot: Snapshot, netns: str, backend: str, table: str, chain: str) -> bool:
    """Is there such a chain, read or not?"""
    section = snapshot.section(SectionKey(netns, f"xt/{backend}/{table}"))
    return isinstance(section, Known) and section.value is not None and chain in section.value.chains


def listeners(snapshot: Snapshot, netns: str, proto: str) -> tuple[Socket, ...] | None:
    """Return the sockets that wait for *proto* (``tcp`` or ``udp``) in a namespace; None if not read."""
    section = snapshot.section(SectionKey(netns, "sockets"))
    if not isinstance(section, Known):
        return None
    wanted = "listen" if proto == "tcp" else "unconn"
    return tuple(s for s in section.value if s.proto == proto and s.state == wanted and s.remote is None)


def connected(snapshot: Snapshot, netns: str, peer: str, port: int) -> bool | None:
    """Has somebody in a namespace a TCP connection with *peer*, at *port* of either; None if not read."""
    section = snapshot.section(SectionKey(netns, "sockets"))
    if not isinstance(section, Known):
        return None
    return any(
        (one.proto, one.state, one.remote) == ("tcp", "established", peer)
        and port in (one.port, one.remote_port)
        for one in section.value
    )


def unheard(snapshot: Snapshot, netns: str, port: int) -> bool:
    """Is it known that nobody in a namespace waits at a TCP port?"""
    waiting = listeners(snapshot, netns, "tcp")
    return waiting is not None and all(one.port != port for one in waiting)


def rule_ref(netns: str, backend: str, table: str, chain: str, position: int | None = None) -> str:
    """Return the path of a chain, or of its rule *position* (from 1; 0 is the policy)."""
    path = f"{netns}/xt/{backend}/{table}/{chain}"
    return path if position is None else f"{path}/{position}"


def step_text(step: Step) -> str:
    """Say what a step saw: the state that decided, or its note, or its verdict."""
    if step.why is not None and step.why.text:
        return step.why.text
    return step.note or step.verdict
