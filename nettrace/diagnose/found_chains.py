"""
The chains that are there, asked by name.

Lives here: telling a chain that does not exist from one that was not read.
"""

from nettrace.diagnose.difference_xt import plain
from nettrace.model.section import Known
from nettrace.model.xt import XtRule, XtRuleset
from nettrace.model.xt_target import Dnat

__all__ = ["FoundChains"]


class FoundChains:
    """One back end's rules of one family."""

    def __init__(self, rules: XtRuleset, family: int) -> None:
        self.family = family
        self._rules = rules
        self._plain: dict[tuple[str, str], frozenset[XtRule]] = {}

    def is_read(self, table: str, chain: str) -> bool:
        """Is it known what the chain holds, or that it does not exist?"""
        section = self._rules.tables.get(table)
        if section is None:
            return True
        if not isinstance(section, Known):
            return False
        found = section.value.chains.get(chain)
        return found is None or isinstance(found, Known)

    def rules(self, table: str, chain: str) -> tuple[XtRule, ...] | None:
        """Return the chain's rules; None if there is no such chain, or it was not read."""
        section = self._rules.tables.get(table)
        found = section.value.chains.get(chain) if isinstance(section, Known) else None
        return found.value.rules if isinstance(found, Known) else None

    def has(self, table: str, chain: str, rule: XtRule) -> bool:
        """Does a rule of the chain do the same as *rule*?"""
        key = (table, chain)
        if key not in self._plain:
            self._plain[key] = frozenset(plain(one) for one in self.rules(table, chain) or ())
        return plain(rule) in self._plain[key]

    def any_of_kube_proxy(self) -> bool:
        """Is there any chain that kube-proxy makes?"""
        return any(
            name.startswith("KUBE-")
            and name not in ("KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT", "KUBE-FIREWALL")
            for section in self._rules.tables.values()
            if isinstance(section, Known)
            for name in section.value.chains
        )

    def destination(self, chain: str) -> str | None:
        """Return ``10.244.1.5:9376`` that an endpoint's chain leads to, None if it leads nowhere."""
        for rule in self.rules("nat", chain) or ():
            if isinstance(rule.target, Dnat) and rule.target.to.lo is not None:
                address, ports = rule.target.to.lo, rule.target.to.ports
                shown = f"[{address}]" if ":" in address else address
                return f"{shown}:{ports.lo}" if ports is not None else shown
        return None
