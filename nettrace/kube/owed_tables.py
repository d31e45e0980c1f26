"""
Whole tables as owed state.

Lives here: from the tables that a mode owes to the chains and jumps that are compared.
Not here: the iptables mode, whose rules know whose they are (iptables).
"""

from collections.abc import Iterator
from typing import Any

from nettrace.kube.expected import Expected
from nettrace.model.owed import Owed, OwedChain, OwedJump
from nettrace.model.section import Known
from nettrace.model.xt_target import Jump

__all__ = ["owed_tables"]

_OWNER = "kube-proxy"
_SOURCE = "kube-proxy's configuration"
#: kube-proxy only makes sure that it is there: kubelet fills it.
_KUBELETS = "KUBE-MARK-DROP"


def owed_tables(expected: Expected, netns: str) -> Iterator[Owed]:
    """Yield the jumps from built-in chains and the chains of ``expected.iptables``."""
    tables = expected.iptables.tables if expected.iptables is not None else {}
    for table, section in tables.items():
        chains = section.value.chains if isinstance(section, Known) else {}
        for name, body in chains.items():
            if not isinstance(body, Known) or name == _KUBELETS:
                continue
            given: dict[str, Any] = {"netns": netns, "owner": _OWNER, "source": _SOURCE}
            if body.value.policy is None:
                yield OwedChain(
                    **given,
                    about=f"chain {name}",
                    table=table,
                    chain=name,
                    rules=body.value.rules,
                    ordered=(table, name) not in expected.unordered,
                )
                continue
            for rule in body.value.rules:
                to = rule.target.chain if isinstance(rule.target, Jump) else "a target"
                yield OwedJump(**given, about=f"jump to {to}", table=table, chain=name, rule=rule, first=True)
