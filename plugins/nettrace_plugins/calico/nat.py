"""
calico-nat-outgoing-off: what pods send out of the cluster keeps an address that nobody can answer.

Lives here: the cause: the pool says so, or the set of pools to masquerade lacks it.
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.goal import innermost
from nettrace.diagnose.look import chains_in, where
from nettrace.model.addr import in_prefix
from nettrace.model.change import IpsetEntryAdd, RuleInsert
from nettrace.model.finding import Evidence, Safety
from nettrace.model.section import Known, SectionKey
from nettrace.model.step import Stage
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.calico.facts import OWNER, Pool, pools
from nettrace_plugins.calico.masquerade import NAT_CHAIN
from nettrace_plugins.calico.names import ALL_POOLS, MASQUERADED

__all__ = ["CALICO_NAT_OUTGOING_OFF"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for pool in pools(context.snapshot):
        for netns in _leaving(context, pool):
            for backend, _ in chains_in(context.snapshot, netns, "nat", NAT_CHAIN):
                members = _members(context, netns)
                if members is not None and pool.cidr not in members:
                    yield _candidate(context, netns, backend, pool)


def _leaving(context: Context, pool: Pool) -> list[str]:
    """Return the namespaces that packets of the failing branches leave with a source of the pool."""
    found: dict[str, None] = {}
    for failure in context.failures:
        for step in failure.path.legs[0].steps if failure.path.legs else ():
            packet = step.after or step.before
            if step.stage is not Stage.TRANSMIT or packet is None:
                continue
            inner = innermost(packet)
            inside = in_prefix(inner.dst, pool.cidr) if inner.dst else True
            if inner.src and in_prefix(inner.src, pool.cidr) and not inside:
                found[step.netns] = None
    return list(found)


def _members(context: Context, netns: str) -> tuple[str, ...] | None:
    section = context.snapshot.section(SectionKey(netns, "ipsets"))
    sets = section.value if isinstance(section, Known) else ()
    return next((one.members for one in sets if one.name == MASQUERADED), None)


def _candidate(context: Context, netns: str, backend: str, pool: Pool) -> Candidate:
    place = where(context.snapshot, netns)
    rule = parse_rule(
        f'-s {pool.cidr} -m set ! --match-set {ALL_POOLS} dst -m comment --comment "nettrace: natOutgoing" '
        "-j MASQUERADE --random-fully"
    )
    insert = RuleInsert(netns=netns, backend=backend, table="nat", chain=NAT_CHAIN, position=1, rule=rule)
    off = not pool.nat_outgoing
    entry = IpsetEntryAdd(netns=netns, name=MASQUERADED, entry=pool.cidr)
    return Candidate(
        cause="calico-nat-outgoing-off",
        netns=netns,
        where=place,
        subject=f"ippool/{pool.name}",
        message=(
            f"packets leave {place} with a source address of {pool.cidr}, which the outside cannot answer: "
            + (f"IPPool {pool.name} has no natOutgoing" if off else f"the set {MASQUERADED} lacks it")
        ),
        changes=(insert if off else entry,),
        evidence=(
            Evidence(
                ref="kube/custom",
                text=f"natOutgoing: {str(pool.nat_outgoing).lower()}",
                note=f"IPPool {pool.name}",
            ),
            Evidence(ref=f"{netns}/ipsets", text=f"{MASQUERADED} does not hold {pool.cidr}"),
        ),
        safety=Safety.ADVICE if off else Safety.GUARDED,
        owner=OWNER,
        overwritten="Felix fills the set again, and writes this chain, when something changes or it starts",
        lasting=(
            f'calicoctl patch ippool {pool.name} --patch \'{{"spec": {{"natOutgoing": true}}}}\''
            if off
            else f"restart calico-node on {place}, which fills the set; find what empties it"
        ),
    )


def _reads(context: Context) -> Iterator[SectionKey]:
    for netns in context.visited:
        if pools(context.snapshot) and netns in {node.netns for node in context.snapshot.nodes.values()}:
            yield SectionKey(netns, "ipsets")


CALICO_NAT_OUTGOING_OFF = Cause(
    id="calico-nat-outgoing-off",
    title="a Calico pool is not masqueraded towards the outside",
    what=(
        "Felix masquerades what leaves a pool with natOutgoing for addresses in no pool: the set "
        "cali40masq-ipam-pools holds these pools. A pool that is not in it keeps its pods' addresses, which "
        "only the cluster can answer."
    ),
    shows="Pods time out to the internet and to hosts of the LAN; within the cluster all is well.",
    dies="The request arrives, or is filtered upstream; the reply has no way back.",
    proof="`calicoctl get ippool -o wide` has NAT false; `ipset list cali40masq-ipam-pools` lacks the pool.",
    repair="ipset add cali40masq-ipam-pools POOL; where the pool has no natOutgoing: natOutgoing: true",
    owner="Whoever made the IPPool.",
    source="calico#4277, calico#6254, calico#7183, cni-plugin#193, calicoctl#1249",
    reads=_reads,
    candidates=_candidates,
)
