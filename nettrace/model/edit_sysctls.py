"""
Sysctls, changed in the model.

Lives here: which other sysctls the kernel sets when one is written.
"""

import re

from nettrace.model.addr import family_of
from nettrace.model.change import SysctlSet
from nettrace.model.edit_tables import known_section, put_section
from nettrace.model.links import Address
from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot

__all__ = ["set_sysctl", "sysctl_effects"]

_CONF = re.compile(r"net\.(ipv[46])\.conf\.([^.]+)\.([a-z0-9_]+)\Z")


def sysctl_effects(
    values: dict[str, str], name: str, value: str, addresses: tuple[Address, ...] | None = None
) -> dict[str, str]:
    """
    Return every known sysctl that writing *value* to *name* gives a new value, with *name* itself.

    * ``net.ipv4.ip_forward`` is another name of ``conf.all.forwarding``; a write that changes
      it sets ``forwarding`` of ``default`` and of every device, and ``conf.all.accept_redirects``
      to the opposite (net/ipv4/devinet.c, devinet_sysctl_forward, inet_forward_change).
    * ``net.ipv6.conf.all.forwarding`` sets default and devices too
      (net/ipv6/addrconf.c, addrconf_fixup_forwarding).
    * Other ``net.ipv4.conf.default`` values are copied to devices that were never given one
      of their own: no write, no IPv4 address yet (devinet_copy_dflt_conf, ipv4_devconf_setall).
      Taken to be those without an address (of *addresses*) that still have the default.
    * A bridge-nf switch becomes 1 for anything but 0 (net/bridge/br_netfilter_hooks.c,
      brnf_sysctl_call_tables).
    """
    value = " ".join(value.split())
    if name.startswith("net.bridge.bridge-nf-") and value != "0":
        value = "1"
    found = {name: value}
    if name in ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"):
        if values.get(name) != value:
            found |= {
                "net.ipv4.ip_forward": value,
                "net.ipv4.conf.all.accept_redirects": str(int(value == "0")),
            }
            found |= {key: value for key in values if _is_forwarding(key, "ipv4")}
    elif name == "net.ipv6.conf.all.forwarding":
        found |= {key: value for key in values if _is_forwarding(key, "ipv6")}
    elif (
        (parts := _CONF.match(name))
        and parts[1] == "ipv4"
        and parts[2] == "default"
        and parts[3] != "forwarding"
    ):
        addressed = {a.device for a in addresses or () if family_of(a.address) == 4}
        for key, old in values.items():
            other = _CONF.match(key)
            if other and other[1] == "ipv4" and other[3] == parts[3] and old == values.get(name):
                device = other[2].replace("/", ".")
                if device not in ("all", "default") and device not in addressed:
                    found[key] = value
    return {key: new for key, new in found.items() if key in values}


def _is_forwarding(name: str, family: str) -> bool:
    parts = _CONF.match(name)
    return parts is not None and parts[1] == family and parts[3] == "forwarding"


def set_sysctl(snapshot: Snapshot, change: SysctlSet) -> Snapshot:
    """Return *snapshot* with a sysctl written, and what follows from it; ValueError if it is not there."""
    values = known_section(snapshot, change.netns, "sysctls")
    if change.name not in values:
        raise ValueError(f"{change.netns}/sysctls has no {change.name}")
    addresses = snapshot.namespaces[change.netns].addresses
    known = addresses.value if isinstance(addresses, Known) else None
    effects = sysctl_effects(values, change.name, change.value, known)
    return put_section(snapshot, change.netns, "sysctls", {**values, **effects})
