"""
iptables rule sets: tables, chains, rules.

The same types serve iptables-nft and iptables-legacy.
Not here: what rules test (nettrace.model.xt_match) and do (nettrace.model.xt_target), text
(nettrace.parse.iptables), evaluation (nettrace.walk).
"""

from msgspec import Struct

from nettrace.model.section import Section
from nettrace.model.xt_match import Comment, Match, Negatable
from nettrace.model.xt_target import PassThrough, Target

__all__ = [
    "BACKENDS",
    "BUILTIN_CHAINS",
    "TABLES",
    "XT_SECTIONS",
    "Counters",
    "XtChain",
    "XtRule",
    "XtRuleset",
    "XtTable",
]

#: Back ends by the word that stands in section keys (``xt/nft/...``).
BACKENDS = ("nft", "legacy")
#: What section keys of rule sets begin with: iptables' and ip6tables'.
XT_SECTIONS = ("xt", "xt6")

TABLES = ("raw", "mangle", "nat", "filter", "security")

#: Table -> its built-in chains, in the order iptables-save prints them.
BUILTIN_CHAINS: dict[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}


class Counters(Struct, frozen=True):
    """Packets and bytes of a rule or a policy."""

    packets: int
    bytes: int


class XtRule(Struct, frozen=True, kw_only=True):
    """
    One rule.

    ``proto`` is as written (``tcp``, ``132``); devices may end in ``+``.  ``fragment``:
    None not tested, True ``-f``, False ``! -f``.  Two rules are equal when the kernel holds
    the same; counters are not part of a rule.
    """

    src: Negatable | None = None
    dst: Negatable | None = None
    in_device: Negatable | None = None
    out_device: Negatable | None = None
    proto: Negatable | None = None
    fragment: bool | None = None
    matches: tuple[Match, ...] = ()
    target: Target = PassThrough()

    @property
    def comment(self) -> str:
        """The text of the rule's comment match, or ""."""
        return next((m.text for m in self.matches if isinstance(m, Comment)), "")


class XtChain(Struct, frozen=True, kw_only=True):
    """
    One chain.  ``policy`` is None for user-defined chains.

    ``counters`` has one entry a rule, ``policy_counters`` those of a built-in chain.
    """

    policy: str | None = None
    rules: tuple[XtRule, ...] = ()
    counters: tuple[Counters, ...] | None = None
    policy_counters: Counters | None = None


class XtTable(Struct, frozen=True):
    """The chains of a table.  A name that is not in here does not exist on the node."""

    chains: dict[str, Section[XtChain]]


class XtRuleset(Struct, frozen=True):
    """The tables of one back end.  A table that is not in here does not exist on the node."""

    tables: dict[str, Section[XtTable]]
