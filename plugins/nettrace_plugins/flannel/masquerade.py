"""
flannel's masquerade rules.

Lives here: the rules of ``flanneld --ip-masq`` in its own chain, and in the layout of older
versions, straight in POSTROUTING (pkg/trafficmngr/iptables of flannel; before 0.22
network/iptables.go).
"""

from collections.abc import Iterator

from nettrace.model.owed import Owed, OwedChain, OwedJump, OwedRule
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XtChain, XtRule
from nettrace.model.xt_match import Comment, Mark, Match, Negatable
from nettrace.model.xt_target import Jump, Masquerade, Return, Target
from nettrace_plugins.flannel.facts import SUBNET_ENV, SubnetEnv, subnet_env
from nettrace_plugins.flannel.peers import OWNER

__all__ = ["CHAIN", "owed_masquerade"]

CHAIN = "FLANNEL-POSTRTG"

_COMMENT = Comment("flanneld masq")
_MULTICAST = "224.0.0.0/4"

#: kube-proxy's mark: what it is to masquerade flannel leaves alone.
_KUBE_MARK = 0x4000


def owed_masquerade(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield the rules that flanneld owes *node*, in the layout that is there; none without --ip-masq."""
    env = subnet_env(snapshot, node)
    if env is None or not env.masquerades:
        return
    netns = snapshot.nodes[node].netns
    about = f"masquerade of what leaves {env.network}"
    if _is_old(snapshot, netns, env):
        for rule in _old(env):
            yield OwedRule(
                netns=netns,
                owner=OWNER,
                source=SUBNET_ENV,
                about=about,
                table="nat",
                chain="POSTROUTING",
                rule=rule,
            )
        return
    yield OwedChain(
        netns=netns,
        owner=OWNER,
        source=SUBNET_ENV,
        about=about,
        table="nat",
        chain=CHAIN,
        rules=tuple(_new(env)),
    )
    yield OwedJump(
        netns=netns,
        owner=OWNER,
        source=SUBNET_ENV,
        about=f"jump to {CHAIN}, {about}",
        table="nat",
        chain="POSTROUTING",
        rule=_rule(Jump(CHAIN)),
    )


def _rule(
    target: Target, *matches: Match, src: Negatable | None = None, dst: Negatable | None = None
) -> XtRule:
    return XtRule(src=src, dst=dst, matches=(*matches, _COMMENT), target=target)


def _new(env: SubnetEnv) -> Iterator[XtRule]:
    cluster, own = Negatable(env.network), Negatable(env.subnet)
    away, unicast = Negatable(env.network, invert=True), Negatable(_MULTICAST, invert=True)
    yield _rule(Return(), Mark(_KUBE_MARK, _KUBE_MARK))
    yield _rule(Return(), src=own, dst=cluster)
    yield _rule(Return(), src=cluster, dst=own)
    yield _rule(Return(), src=away, dst=own)
    yield _rule(Masquerade(random_fully=True), src=cluster, dst=unicast)
    yield _rule(Masquerade(random_fully=True), src=away, dst=cluster)


def _old(env: SubnetEnv) -> Iterator[XtRule]:
    cluster, own = Negatable(env.network), Negatable(env.subnet)
    away, unicast = Negatable(env.network, invert=True), Negatable(_MULTICAST, invert=True)
    yield _rule(Return(), src=cluster, dst=cluster)
    yield _rule(Masquerade(random_fully=True), src=cluster, dst=unicast)
    yield _rule(Return(), src=away, dst=own)
    yield _rule(Masquerade(random_fully=True), src=away, dst=cluster)


def _is_old(snapshot: Snapshot, netns: str, env: SubnetEnv) -> bool:
    """Do rules of the older layout stand in POSTROUTING, and nothing of the newer one?"""
    for backend in BACKENDS:
        chain = snapshot.chain(netns, backend, "nat", "POSTROUTING")
        if chain is None or _has_new(snapshot, netns, backend, chain):
            continue
        wanted = {(rule.src, rule.dst, type(rule.target)) for rule in _old(env)}
        if any((rule.src, rule.dst, type(rule.target)) in wanted for rule in chain.rules):
            return True
    return False


def _has_new(snapshot: Snapshot, netns: str, backend: str, chain: XtChain) -> bool:
    jumps = any(isinstance(rule.target, Jump) and rule.target.chain == CHAIN for rule in chain.rules)
    return jumps or snapshot.chain(netns, backend, "nat", CHAIN) is not None
