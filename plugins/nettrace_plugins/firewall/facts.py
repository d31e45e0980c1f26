"""
Which firewall is on a node, and what its files say.

Lives here: recognising ufw and firewalld by their chains, tables, processes and configuration.
"""

from collections.abc import Iterator

from nettrace.model.finding import Evidence
from nettrace.model.owner import Owner
from nettrace.model.section import Known
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.xt import BACKENDS

__all__ = ["UFW_DEFAULTS", "evidence", "forward_policy"]

#: Where ufw's policies stand (ufw(8), ufw-framework(8)).
UFW_DEFAULTS = "/etc/default/ufw"
_CONFIGURATION = {"ufw": "/etc/ufw/ufw.conf", "firewalld": "/etc/firewalld/firewalld.conf"}


def evidence(snapshot: Snapshot, node: NodeState, owner: Owner) -> list[Evidence]:
    """
    Return what shows that a firewall is at work on a node: its chains or tables, its process.

    Its files alone do not: it may be installed and off.
    """
    found = [*_chains(snapshot, node.netns, owner), *_tables(snapshot, node.netns, owner)]
    processes = node.processes.value if isinstance(node.processes, Known) else ()
    ref = f"node:{node.name}/processes"
    found += [
        Evidence(ref=ref, text=f"{p.name} ({p.pid})")
        for p in processes
        if p.name == owner.name or any(word.endswith(f"/{owner.name}") for word in p.cmdline[:2])
    ]
    text = _file(snapshot, node, _CONFIGURATION[owner.name])
    if found and text:
        path = _CONFIGURATION[owner.name]
        found.append(Evidence(ref=f"node:{node.name}/files", text=path, note=_said(text)))
    return found


def _said(text: str) -> str:
    """The settings that decide what else happens to rules."""
    names = ("ENABLED", "FirewallBackend", "FlushAllOnReload", "DefaultZone")
    lines = [line.strip() for line in text.splitlines()]
    return ", ".join(line for line in lines if line.partition("=")[0] in names)


def _chains(snapshot: Snapshot, netns: str, owner: Owner) -> Iterator[Evidence]:
    """Yield the table and the number of chains, of each back end that has some."""
    space = snapshot.namespaces.get(netns)
    for backend in BACKENDS if space is not None else ():
        ruleset = getattr(space, f"xt_{backend}")
        for table, section in (ruleset.value.tables if isinstance(ruleset, Known) else {}).items():
            names = section.value.chains if isinstance(section, Known) else ()
            own = [name for name in names if name.startswith(owner.chains)]
            if len(own) > 1:  # one name may be anybody's
                text = f"{len(own)} chains in table {table}: {', '.join(sorted(own)[:2])} ..."
                yield Evidence(ref=f"{netns}/xt/{backend}/{table}", text=text, note=f"iptables-{backend}")


def _tables(snapshot: Snapshot, netns: str, owner: Owner) -> Iterator[Evidence]:
    space = snapshot.namespaces.get(netns)
    ruleset = space.nft if space is not None else None
    for name in ruleset.value.tables if isinstance(ruleset, Known) else ():
        if name in owner.tables:
            yield Evidence(ref=f"{netns}/nft", text=f"table {name}", note="nftables")


def _file(snapshot: Snapshot, node: NodeState, path: str) -> str:
    files = node.files.value if isinstance(node.files, Known) else {}
    return files.get(path, "")


def forward_policy(snapshot: Snapshot, netns: str) -> Evidence | None:
    """Return what ufw's configuration says about routed traffic; None where it was not read."""
    node = next((one for one in snapshot.nodes.values() if one.netns == netns), None)
    text = _file(snapshot, node, UFW_DEFAULTS) if node is not None else ""
    for line in text.splitlines():
        name, found, value = line.strip().partition("=")
        if found and node is not None and name == "DEFAULT_FORWARD_POLICY":
            return Evidence(
                ref=f"node:{node.name}/files", text=f"{UFW_DEFAULTS}: {name}={value}", note="configured"
            )
    return None
