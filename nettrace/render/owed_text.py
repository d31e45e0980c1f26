"""
What is owed to a node, in the words of the tool that shows it there.

Lives here: one owed thing as lines, and which tool's they are.
Not here: kube-proxy's rule sets, which are printed whole (nettrace.render.expect_text).
"""

from nettrace.model.addr import family_of
from nettrace.model.change import AddressAdd, FdbAdd, LinkSet, NeighbourAdd, RouteAdd
from nettrace.model.owed import (
    Owed,
    OwedAddress,
    OwedChain,
    OwedFdb,
    OwedIpset,
    OwedJump,
    OwedLink,
    OwedNeighbour,
    OwedRoute,
    OwedRule,
    OwedSysctl,
    OwedVirtualServer,
)
from nettrace.model.xt import XtRule
from nettrace.parse.ipset import save_ipset
from nettrace.parse.iptables import rule_text
from nettrace.parse.ipvs import save_ipvsadm
from nettrace.render.command import argv

__all__ = ["IPTABLES", "owed_family", "owed_lines", "owed_tool"]

#: The tool whose lines belong to a table.
IPTABLES = "iptables-save"

_TOOLS: dict[type[Owed], str] = {
    OwedChain: IPTABLES,
    OwedJump: IPTABLES,
    OwedRule: IPTABLES,
    OwedRoute: "ip route",
    OwedNeighbour: "ip neigh",
    OwedFdb: "bridge fdb",
    OwedSysctl: "sysctl",
    OwedLink: "ip link",
    OwedAddress: "ip addr",
    OwedVirtualServer: "ipvsadm-save -n",
    OwedIpset: "ipset save",
}


def owed_tool(item: Owed) -> str:
    """Return the tool that shows such a thing; ``bridge link`` for what only a bridge's port has."""
    if isinstance(item, OwedLink) and _words(item)[0] == "bridge":
        return "bridge link"
    return _TOOLS[type(item)]


def owed_family(item: Owed) -> int:
    """Return the address family that it is of, 4 where it is of none."""
    match item:
        case OwedRoute(route=route):
            return family_of(route.dst)
        case OwedNeighbour(entry=entry):
            return family_of(entry.address)
        case OwedAddress(address=one):
            return family_of(one.address)
        case OwedVirtualServer(server=server):
            return 6 if server.six or ":" in server.address else 4
        case OwedIpset():
            return item.set.family
    return 4


def owed_lines(item: Owed) -> tuple[str, ...]:
    """Return it as the tool prints it; of a rule ``-A CHAIN ...``, of a chain its rules."""
    match item:
        case OwedChain():
            return tuple(_rule(item.chain, rule) for rule in item.rules)
        case OwedJump() | OwedRule():
            return (_rule(item.chain, item.rule),)
        case OwedRoute():
            return (_after("add", _argv(RouteAdd(netns=item.netns, route=item.route))),)
        case OwedNeighbour():
            return (_after("replace", _argv(NeighbourAdd(netns=item.netns, entry=item.entry))),)
        case OwedFdb():
            words = _argv(FdbAdd(netns=item.netns, entry=item.entry))
            return (_after("append" if "append" in words else "replace", words),)
        case OwedSysctl():
            return (f"{item.name} = {' or '.join(item.values)}",)
        case OwedLink():
            return (_after("set", _words(item)),)
        case OwedAddress():
            return (_after("add", _argv(AddressAdd(netns=item.netns, address=item.address))),)
        case OwedVirtualServer():
            return tuple(save_ipvsadm([item.server]).splitlines())
        case OwedIpset():
            return tuple(save_ipset(item.set, item.options).splitlines())


def _rule(chain: str, rule: XtRule) -> str:
    return f"-A {chain} {rule_text(rule)}".rstrip()


def _argv(change: RouteAdd | NeighbourAdd | FdbAdd | AddressAdd | LinkSet) -> tuple[str, ...]:
    return argv(change).args


def _words(item: OwedLink) -> tuple[str, ...]:
    return _argv(LinkSet(netns=item.netns, device=item.device, attribute=item.attribute, value=item.value))


def _after(verb: str, words: tuple[str, ...]) -> str:
    """Return what stands behind the verb of a command: what the tool lists."""
    return " ".join(words[words.index(verb) + 1 :])
