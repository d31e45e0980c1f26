"""
Which base chains of native nftables hang on a hook, and in what order they run.

Lives here: families, priorities, devices, asking for all of a namespace's base chains at once.
Not here: walking them (nft_chain), the hook as a whole (hooks).
Sources: net/netfilter/core.c (nf_hook_entries_grow: of equal priorities the one registered last
runs first), net/netfilter/nf_tables_api.c (a chain is registered when it is made, and with its
table's others, in order, when a dormant table wakes up).
"""

from nettrace.model.nft import NftRuleset, nft_path
from nettrace.model.section import Missing, MissingKind, SectionKey
from nettrace.walk.context import Run, Wanted
from nettrace.walk.memory import derived
from nettrace.walk.namespace import Namespace
from nettrace.walk.nft_chain import NativeChain
from nettrace.walk.nft_read import native_ruleset

__all__ = ["native_chains"]


def native_chains(
    run: Run, ns: Namespace, families: tuple[str, ...], hook: str, device: str | None = None
) -> tuple[NativeChain, ...]:
    """
    Return the base chains at a hook that may do something, by priority.

    Of chains of one table and priority the one that was made last comes first.  *device*
    narrows those of the hooks ingress and egress.  Asks at once for the rules of all base
    chains of the namespace.
    """
    ruleset = native_ruleset(run, ns.name)
    if not ruleset.tables:
        return ()
    wanted = derived(_unread, ruleset)
    if wanted:
        raise Wanted([SectionKey(ns.name, path) for path in wanted])
    found = [
        chain
        for family in families
        for chain, devices in derived(_by_hook, ruleset).get((family, hook), ())
        if device is None or device in devices
    ]
    return tuple(sorted(found, key=lambda one: one.priority))


def _unread(ruleset: NftRuleset) -> tuple[str, ...]:
    return tuple(
        nft_path(table, name)
        for table in ruleset.tables.values()
        for name, chain in table.chains.items()
        if chain.base is not None
        and isinstance(chain.rules, Missing)
        and chain.rules.kind is MissingKind.NOT_READ
    )


def _by_hook(
    ruleset: NftRuleset,
) -> dict[tuple[str, str], tuple[tuple[NativeChain, tuple[str, ...]], ...]]:
    """Chains with rules, or with a policy that drops; a dormant table's are hooked in nowhere."""
    found: dict[tuple[str, str], list[tuple[NativeChain, tuple[str, ...]]]] = {}
    for table in ruleset.tables.values():
        if table.dormant:
            continue
        for name, chain in reversed(table.chains.items()):
            base = chain.base
            if base is None or (not chain.use and base.policy == "accept"):
                continue
            one = NativeChain(table, name, base.type, base.priority, base.policy)
            found.setdefault((table.family, base.hook), []).append((one, base.devices))
    return {key: tuple(ones) for key, ones in found.items()}
