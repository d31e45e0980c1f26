"""
The chains of ufw and firewalld in words.

Source: ufw-framework(8), ufw's src/ufw-init-functions; firewalld.zones(5), firewalld's
src/firewall/core/nftables.py and ipXtables.py.
"""

import re

__all__ = ["chain_words"]

_HOOKS = {
    "input": "what comes to the node",
    "output": "what the node sends",
    "forward": "what is passed on",
    "INPUT": "what comes to the node",
    "IN": "what comes to the node",
    "OUTPUT": "what the node sends",
    "FORWARD": "what is passed on",
    "FWD": "what is passed on",
    "FWDI": "what is passed on, by where it comes from",
    "FWDO": "what is passed on, by where it goes to",
    "PRE": "what arrives, before routing",
    "PREROUTING": "what arrives, before routing",
    "POST": "what leaves, after routing",
    "POSTROUTING": "what leaves, after routing",
}
_UFW = {
    "before": "before the user's rules (before.rules)",
    "user": "the user's rules (ufw allow, ufw deny)",
    "after": "after the user's rules (after.rules)",
    "track": "what is let through by the policy",
    "reject": "what is rejected by the policy",
    "skip-to-policy": "the policy",
}
_PARTS = {
    "pre": "rules of low priority numbers",
    "log": "what is logged",
    "deny": "what is denied",
    "allow": "what is allowed",
    "post": "rules of high priority numbers",
}
_FIREWALLD = re.compile(
    r"(?:(?:filter|nat|mangle|raw)_)?(INPUT|OUTPUT|FORWARD|PREROUTING|POSTROUTING|IN|FWDI|FWDO|FWD|PRE|POST)_(.+)"
)


def chain_words(owner: str, chain: str) -> str:
    """Say what a chain is for: ``ufw: the user's rules (ufw allow, ufw deny), for what is passed on``."""
    return f"{owner}: {_ufw(chain) if owner == 'ufw' else _firewalld(chain)}"


def _ufw(chain: str) -> str:
    head, _, hook = chain.removeprefix("ufw6-").removeprefix("ufw-").rpartition("-")
    if hook not in _HOOKS:
        return "one of its chains"
    logs = "-logging" in head or "logging" in head
    what = _UFW.get(head.removesuffix("-logging"), "one of its chains")
    return f"{'logging ' if logs else ''}{what}, for {_HOOKS[hook]}"


def _firewalld(chain: str) -> str:
    found = _FIREWALLD.fullmatch(chain)
    if found is None:
        return "one of its chains"
    hook, rest = found.groups()
    if rest.startswith(("ZONES", "IN_ZONES", "OUT_ZONES")):
        return f"which zone it is, for {_HOOKS[hook]}"
    if rest.startswith("POLICIES"):
        return f"policies between zones, for {_HOOKS[hook]}"
    if rest == "direct":
        return f"direct rules, for {_HOOKS[hook]}"
    zone, _, part = rest.rpartition("_")
    if part in _PARTS and zone:
        return f"zone {zone}, {_PARTS[part]}, for {_HOOKS[hook]}"
    return f"zone {rest}, for {_HOOKS[hook]}"
