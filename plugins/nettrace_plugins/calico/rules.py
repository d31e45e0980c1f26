"""
Rules in the words that Felix writes them in, with the hashes by which it knows them again.

Lives here: a chain's rules from their texts.  Felix puts ``cali:HASH`` in front of each rule's
comments; each hash covers the rule and, through the hash before it, all rules above.
Not here: which rules these are (static, workloads, policies).
Source: felix/generictables/rules.go (RuleHashes), felix/iptables/actions.go and match_builder.go.
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha224

from nettrace.model.xt import XtRule
from nettrace.parse.iptables import parse_rule

__all__ = ["ACCEPT", "ALL", "PASS", "SCRATCH0", "SCRATCH1", "cleared", "commented", "hashes", "marked"]
__all__ += ["rules", "unmarked"]

#: The bits of the mark that Felix takes by default (felix/dataplane/driver.go, IptablesMarkMask 0xffff0000).
ACCEPT, PASS, SCRATCH0, SCRATCH1 = 0x10000, 0x20000, 0x40000, 0x80000
ALL = ACCEPT | PASS | SCRATCH0 | SCRATCH1

_HASH = 16  # characters


def cleared(bits: int) -> str:
    """The action that clears bits of the mark."""
    return f"--jump MARK --set-mark 0/{bits:#x}"


def marked(bits: int) -> str:
    """The match on one bit that is set."""
    return f"-m mark --mark {bits:#x}/{bits:#x}"


def unmarked(bits: int) -> str:
    """The match on bits that are clear."""
    return f"-m mark --mark 0/{bits:#x}"


def commented(comment: str, rest: str) -> str:
    """The text of a rule with a comment of its own."""
    return f'-m comment --comment "{comment}" {rest}'.rstrip()


def hashes(chain: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the hash of each rule of a chain; *texts* as Felix renders them, without its own comment."""
    digest, found = sha224(chain.encode()).digest(), []
    for text in texts:
        digest = sha224(digest + f"-A {chain} HASH {text}".rstrip().encode()).digest()
        found.append(urlsafe_b64encode(digest).decode()[:_HASH])
    return tuple(found)


def rules(chain: str, texts: Sequence[str]) -> tuple[XtRule, ...]:
    """Return the rules of a chain, each with its hash."""
    return tuple(
        parse_rule(f'-m comment --comment "cali:{one}" {text}')
        for one, text in zip(hashes(chain, texts), texts, strict=True)
    )
