"""
The DNAT rules that the failing branches met.

Lives here: what stale-endpoint-rule and svc-wrong-targetport share: which rule sent a branch
where, and which rules lead there in turn.
"""

from collections.abc import Iterator

from msgspec import Struct

from nettrace.diagnose.cause import Context, Failure
from nettrace.diagnose.difference_xt import shown
from nettrace.diagnose.look import rule_ref
from nettrace.model.finding import Evidence
from nettrace.model.step import Step
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Dnat

__all__ = ["Translation", "destination", "met_rules", "translations"]


class Translation(Struct, frozen=True, kw_only=True):
    """One DNAT rule, and the branch that met it."""

    failure: Failure
    netns: str
    backend: str
    chain: str
    position: int
    rule: XtRule
    target: Dnat

    @property
    def evidence(self) -> Evidence:
        """The rule as it stands."""
        ref = rule_ref(self.netns, self.backend, "nat", self.chain, self.position)
        return Evidence(ref=ref, text=shown(self.chain, self.rule), note="what is there")


def met_rules(context: Context, failure: Failure) -> Iterator[tuple[Step, XtRule]]:
    """Yield (step, rule) for each rule of table nat that the branch's request met."""
    for step in failure.path.legs[0].steps if failure.path.legs else ():
        if step.table != "nat" or not step.rule or step.backend is None or step.chain is None:
            continue
        chain = context.snapshot.chain(step.netns, step.backend, "nat", step.chain)
        if chain is not None and step.rule <= len(chain.rules):
            yield step, chain.rules[step.rule - 1]


def translations(context: Context) -> Iterator[Translation]:
    """Yield the rule that gave each failing branch's request its destination."""
    for failure in context.failures:
        found: Translation | None = None
        for step, rule in met_rules(context, failure):
            if isinstance(rule.target, Dnat) and step.backend and step.chain and step.rule:
                found = Translation(
                    failure=failure,
                    netns=step.netns,
                    backend=step.backend,
                    chain=step.chain,
                    position=step.rule,
                    rule=rule,
                    target=rule.target,
                )
        if found is not None:
            yield found


def destination(target: Dnat) -> str:
    """Write where a DNAT leads: ``10.244.1.5:80``."""
    address = target.to.lo or "the same address"
    return f"{address}:{target.to.ports}" if target.to.ports is not None else address
