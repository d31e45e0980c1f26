"""
Rules that a walk's packets met beside the kernel's counters of rules, as counts.

Lives here: both, in one form.
"""

from collections import Counter

from nettrace.model.section import Known
from nettrace.model.step import Stage
from nettrace.model.walk import Walk
from nettrace.model.xt import XtRuleset

__all__ = ["counted", "predicted"]


def predicted(walk: Walk, label: str) -> Counter[tuple[str, str, int]]:
    """(table, chain, rule) -> how often the walk's packets met it; rule 0 is the policy."""
    return Counter(
        (step.table or "", step.chain or "", step.rule or 0)
        for leg in walk.paths[0].legs
        for step in leg.steps
        if step.stage is Stage.HOOK
        and step.netns == label
        and step.rule is not None
        and "if it matches" not in step.note
    )


def counted(ruleset: XtRuleset) -> Counter[tuple[str, str, int]]:
    """The same from the kernel's counters; policies of chains without rules are left out."""
    found: Counter[tuple[str, str, int]] = Counter()
    for table, section in ruleset.tables.items():
        assert isinstance(section, Known)
        for name, held in section.value.chains.items():
            assert isinstance(held, Known)
            chain = held.value
            for number, counters in enumerate(chain.counters or (), 1):
                found[table, name, number] = counters.packets
            if chain.policy_counters and (chain.rules or chain.policy != "ACCEPT"):
                found[table, name, 0] = chain.policy_counters.packets
    return +found
