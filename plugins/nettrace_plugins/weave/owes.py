"""
What Weave owes a node.

Lives here: its masquerade chain and the jump to it, the ways through the chains of its policy controller
in the order that they need, and the controller's fixed chains (net/bridge.go, net/expose.go and
prog/weave-npc/main.go of weave 2.8).
Not here: what policies add to those chains, which is judged by what it does; peers (peers.py).
"""

from collections.abc import Iterator

from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XtRule
from nettrace.model.xt_match import SetMatch
from nettrace.model.xt_target import Jump
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.weave.facts import cni_file, has_npc, network, runs_on
from nettrace_plugins.weave.names import BRIDGE, EGRESS, MAIN, MASQUERADE, NO_MASQUERADE
from nettrace_plugins.weave.npc import BASE_CHAINS

__all__ = ["NPC", "OWNER", "forward_rules", "masquerade_rules", "owed_by_weave"]

OWNER = "weave"
NPC = "weave-npc"

_NOTE = "-m comment --comment \"NOTE: this must go before '-j KUBE-FORWARD'\""
_LOCAL = '-m comment --comment "Prevent SNAT to locally running containers"'


def forward_rules() -> tuple[str, ...]:
    """Return its rules of chain FORWARD, in their order."""
    return (
        f"-i {BRIDGE} {_NOTE} -j {EGRESS}",
        f"-o {BRIDGE} {_NOTE} -j {MAIN}",
        f"-o {BRIDGE} -m state --state NEW -j NFLOG --nflog-group 86",
        f"-o {BRIDGE} -j DROP",
        f"-i {BRIDGE} ! -o {BRIDGE} -j ACCEPT",
        f"-o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )


def masquerade_rules(pods: str, *, local: bool) -> tuple[str, ...]:
    """Return the rules of chain WEAVE for the network *pods*; *local* spares what runs on the node."""
    first = (f"-m set --match-set {NO_MASQUERADE} dst {_LOCAL} -j RETURN",) if local else ()
    return (
        *first,
        f"-s {pods} -d 224.0.0.0/4 -j RETURN",
        f"! -s {pods} -d {pods} -j MASQUERADE",
        f"-s {pods} ! -d {pods} -j MASQUERADE",
    )


def owed_by_weave(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what Weave and its policy controller owe *node*; nothing where it does not make its network."""
    if not runs_on(snapshot, node):
        return
    state = snapshot.nodes[node]
    netns, source = state.netns, cni_file(snapshot, node) or f"device {BRIDGE}"
    pods = network(snapshot, netns)
    if pods is not None:
        rules = masquerade_rules(pods, local=_spares_local(snapshot, netns))
        yield OwedChain(
            netns=netns,
            owner=OWNER,
            source=f"address of {BRIDGE}",
            about=f"masquerade of what leaves {pods}",
            table="nat",
            chain=MASQUERADE,
            rules=tuple(map(parse_rule, rules)),
        )
        yield OwedJump(
            netns=netns,
            owner=OWNER,
            source=f"address of {BRIDGE}",
            about="the way to its masquerade rules",
            table="nat",
            chain="POSTROUTING",
            rule=XtRule(target=Jump(MASQUERADE)),
        )
    if not has_npc(snapshot, state):
        return
    for name, specs in BASE_CHAINS.items():
        yield OwedChain(
            netns=netns,
            owner=NPC,
            source=source,
            about="a chain of its that never changes",
            table="filter",
            chain=name,
            rules=tuple(map(parse_rule, specs)),
        )
    yield OwedJump(
        netns=netns,
        owner=NPC,
        source=source,
        about="policies for what pods send to the node",
        table="filter",
        chain="INPUT",
        rule=parse_rule(f"-i {BRIDGE} -j {EGRESS}"),
    )
    for spec in forward_rules():
        yield _forwarded(netns, source, parse_rule(spec))


def _forwarded(netns: str, source: str, rule: XtRule) -> OwedJump | OwedRule:
    about, table, chain = "the pods' way through its chains", "filter", "FORWARD"
    if isinstance(rule.target, Jump):
        return OwedJump(
            netns=netns,
            owner=NPC,
            source=source,
            about=about,
            table=table,
            chain=chain,
            rule=rule,
            first=True,
        )
    return OwedRule(netns=netns, owner=NPC, source=source, about=about, table=table, chain=chain, rule=rule)


def _spares_local(snapshot: Snapshot, netns: str) -> bool:
    """Does the chain that is there test the set of this node's own ranges (NO_MASQ_LOCAL)?"""
    for backend in BACKENDS:
        chain = snapshot.chain(netns, backend, "nat", MASQUERADE)
        for rule in chain.rules if chain is not None else ():
            if any(isinstance(one, SetMatch) and one.name == NO_MASQUERADE for one in rule.matches):
                return True
    return False
