"""
The rules of a lab's node, brought from what they were to what its agents now want.

Lives here: the text for iptables-restore that does it.  Pure.
Not here: which rules these are (topologies), running it (reconcile).
"""

__all__ = ["reprogrammed"]

_BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_AGENTS = "KUBE-"  # kube-proxy's chains, and those of the policy controller
#: Those of them that come and go with Services, endpoints, pods and policies.
_PASSING: tuple[str, ...] = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-SEP-", "KUBE-FW-", "KUBE-XLB-")
_PASSING += ("KUBE-POD-FW-", "KUBE-NWPLCY-", "KUBE-ROUTER-")


def reprogrammed(old: str, new: str, there: str, agents: tuple[str, ...] = ()) -> str:
    """
    Return the text for ``iptables-restore --noflush`` that brings a node from *old* to *new*.

    All are in iptables-save's format; *there* says which chains exist now.  The agents' chains,
    kube-proxy's and those that *agents* names, are written whole, their jumps in the built-in chains
    only where they are wanted for the first time or no longer.
    """
    before, after, present = _tables(old), _tables(new), _tables(there)
    lines: list[str] = []
    for table, chains in after.items():
        was, exists = before.get(table, {}), present.get(table, {})
        lines.append(f"*{table}")
        own = [
            name
            for name in chains
            if name not in _BUILT_IN and (name.startswith((_AGENTS, *agents)) or name not in exists)
        ]
        stale = [name for name in exists if name not in chains and name.startswith((*_PASSING, *agents))]
        lines += [f":{name} - [0:0]" for name in (*own, *stale)]
        for name in _BUILT_IN:
            rules, previous = chains.get(name, []), was.get(name, [])
            lines += [
                f"-D {name} {rule}" for rule in previous if rule not in rules and rule in exists.get(name, [])
            ]
            for index, rule in enumerate(rules):
                if rule not in previous:
                    # in front of what follows it, or at the end
                    later = [one for one in rules[index + 1 :] if one in previous]
                    lines.append(f"-I {name} 1 {rule}" if later else f"-A {name} {rule}")
        lines += [f"-A {name} {rule}" for name in own for rule in chains[name]]
        lines += [f"-X {name}" for name in stale]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def _tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Table -> chain -> rules, of iptables-save's format."""
    found: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = found.setdefault(line[1:], {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], [])
        elif line.startswith("-A "):
            _, name, *rest = line.split(" ", 2)
            chains.setdefault(name, []).append(rest[0] if rest else "")
    return found
