"""The hooks of the host's firewalls."""

from collections.abc import Sequence

from nettrace.diagnose.cause import Cause
from nettrace.model.owner import Owner, owner_of_chain
from nettrace.model.section import SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.plugin_api import Detection, hookimpl
from nettrace_plugins.firewall.causes import UFW_ROUTED_DENY
from nettrace_plugins.firewall.facts import evidence
from nettrace_plugins.firewall.names import chain_words
from nettrace_plugins.firewall.owners import AGENTS, FIREWALLD, UFW

__all__ = ["Firewall", "firewalld", "ufw"]


class Firewall:
    """What one firewall adds to nettrace; each is a plugin of its own."""

    def __init__(self, owner: Owner, causes: Sequence[Cause] = (), more: Sequence[Owner] = ()) -> None:
        self.owner = owner
        self.causes = tuple(causes)
        self.more = tuple(more)

    @hookimpl
    def nettrace_detect(self, snapshot: Snapshot) -> Detection | None:
        """It is there where its chains or tables are, or it runs."""
        found = {node.name: evidence(snapshot, node, self.owner) for node in snapshot.nodes.values()}
        nodes = tuple(name for name, seen in found.items() if seen)
        if not nodes:
            return None
        every = tuple(one for name in nodes for one in found[name])
        native = any(one.note == "nftables" for one in every)
        return Detection(
            name=self.owner.name, mode="nftables" if native else "iptables", nodes=nodes, evidence=every
        )

    @hookimpl
    def nettrace_sections(self, snapshot: Snapshot) -> Sequence[SectionKey]:
        """Return each node's files and processes, and which chains and tables it has."""
        found = []
        for node in snapshot.nodes.values():
            holder = f"node:{node.name}"
            found += [SectionKey(holder, "files"), SectionKey(holder, "processes")]
            found += [SectionKey(node.netns, "xt/nft"), SectionKey(node.netns, "nft")]
        return found

    @hookimpl
    def nettrace_name(self, snapshot: Snapshot, netns: str, thing: str) -> str | None:
        """Name the firewall's chains by what they are for."""
        kind, _, rest = thing.partition("/")
        if kind not in ("xt", "nft"):
            return None
        table, _, chain = rest.rpartition("/")
        native = kind == "nft"
        owner = owner_of_chain((self.owner,), table.replace("/", " "), chain, native=native)
        return chain_words(owner.name, chain) if owner is not None else None

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """Return the firewall's own causes."""
        return self.causes

    @hookimpl
    def nettrace_owners(self) -> Sequence[Owner]:
        """Return the firewall, as the owner of its rules."""
        return (self.owner, *self.more)


ufw = Firewall(UFW, (UFW_ROUTED_DENY,), AGENTS)
firewalld = Firewall(FIREWALLD)
