"""
What kube-proxy owes in ipvs mode, as the tools write it.

Lives here: ``ipset save`` text, and the addresses of kube-ipvs0 as ``ip addr`` shows them.
Not here: virtual servers (nettrace.parse.ipvs), iptables rules (nettrace.parse.iptables).
"""

from collections.abc import Iterable, Iterator

from nettrace.kube.expected import ExpectedIpset, ExpectedIpvs

__all__ = ["device_text", "ipset_text"]


def ipset_text(sets: Iterable[ExpectedIpset]) -> str:
    """Return the sets as ``ipset save`` writes them, ready for ``ipset restore``."""
    return "".join(f"{line}\n" for one in sets for line in _set(one))


def _set(one: ExpectedIpset) -> Iterator[str]:
    yield f"create {one.name} {one.type} {one.options}".rstrip()
    for member in one.members:
        yield f"add {one.name} {member}"


def device_text(ipvs: ExpectedIpvs) -> str:
    """Return the device's addresses as ``ip -o addr show`` writes them, one a line."""
    return "".join(
        f"{ipvs.device}    inet{'6' if ':' in address else ''} "
        f"{address}/{128 if ':' in address else 32} scope global {ipvs.device}\n"
        for address in ipvs.addresses
    )
