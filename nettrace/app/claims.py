"""
What the network systems of a node say that they owe it: one claim for each system that is there.

Lives here: asking the plugins about one node, and reading what their claims are held against.
Not here: kube-proxy, which the core knows itself (nettrace.app.expect), the comparison
(nettrace.diagnose).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from nettrace.app.context import Context
from nettrace.diagnose.standing import sections_of
from nettrace.model.section import Missing, SectionKey
from nettrace.model.snapshot import NodeState, Snapshot
from nettrace.model.system import Claim

__all__ = ["claims_of", "is_of", "read_claims"]


def is_of(snapshot: Snapshot, key: SectionKey, names: Sequence[str]) -> bool:
    """Is the section one of these nodes', or the cluster's?"""
    places = {f"node:{name}" for name in names} | {snapshot.nodes[name].netns for name in names}
    return not key.netns or key.netns in places


def read_claims(context: Context, node: NodeState) -> tuple[Claim, ...]:
    """Read what systems are recognised by, and return their claims."""
    context.read_for_plugins(lambda key: is_of(context.snapshot, key, (node.name,)))
    context.read_unread([SectionKey(f"node:{node.name}", "processes"), SectionKey(node.netns, "links")])
    return claims_of(context, context.snapshot.nodes[node.name])


def claims_of(context: Context, node: NodeState) -> tuple[Claim, ...]:
    """Return the claims of the systems on *node*, by name, and read the state that they are about."""
    alone = replace(context.snapshot, nodes={node.name: node})
    detected = context.plugins.detect(alone)
    owed = context.plugins.owes(context.snapshot, node.name) if detected else ()
    for stage in sections_of(owed):
        context.read_unread(stage)
    claims = []
    for one in detected:
        own = tuple(item for item in owed if item.owner in one.owners)
        claims.append(
            Claim(
                name=one.name,
                mode=one.mode,
                version=one.version,
                evidence=one.evidence,
                leftovers=one.leftovers,
                owed=own,
                unknown=_unread(context, one.name, node, some=bool(own)),
            )
        )
    return tuple(claims)


def _unread(context: Context, plugin: str, node: NodeState, *, some: bool) -> str:
    """Say what a plugin would have to see to tell all that its system owes; "" if it has seen that."""
    places = ("", f"node:{node.name}", node.netns)
    keys = [key for key in context.plugins.sections_of(plugin, context.snapshot) if key.netns in places]
    sections = ((key, context.snapshot.section(key)) for key in keys)
    unread = [f"{k.name}: {s.reason or s.kind.value}" for k, s in sections if isinstance(s, Missing)]
    what = "not all that it owes is known" if some else "what it owes is not known"
    return f"{what}: {'; '.join(unread)}" if unread else ""
