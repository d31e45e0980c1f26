"""
Names: of labs, namespaces, devices, and hardware addresses made from names.

Lives here: what a lab may be called and what it calls its parts.  All of it is a function of
names alone, so that a lab can be found and taken down without its record.
"""

import re
from hashlib import sha256

from nettrace.model.errors import UserError

__all__ = ["NETNS_PREFIX", "check_lab_name", "lab_prefix", "mac_of", "netns_name", "node_name", "veth_name"]

#: Every namespace of every lab is called ``ntl-LAB-NAME`` under /run/netns.
NETNS_PREFIX = "ntl-"

_LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")
_FILE_NAME_MAX = 255  # NAME_MAX of linux/limits.h: the namespace is a file in /run/netns


def check_lab_name(name: str) -> str:
    """Return *name* if a lab may be called so, else UserError."""
    if not _LAB_NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be the name of a lab",
            hint="use at most 30 lower-case letters, digits and dashes, with a letter or digit at both ends",
        )
    return name


def lab_prefix(lab: str) -> str:
    """What the namespaces of *lab* begin with."""
    return f"{NETNS_PREFIX}{lab}-"


def netns_name(lab: str, name: str) -> str:
    """Return the name under /run/netns of the lab's namespace *name*; UserError if it is too long."""
    full = lab_prefix(lab) + name
    if len(full) > _FILE_NAME_MAX:
        raise UserError(f"{name!r} is too long for the name of a namespace", hint="use a shorter name")
    return full


def node_name(index: int) -> str:
    """``node-a``, ``node-b`` ... for 0, 1 ..."""
    return f"node-{chr(ord('a') + index)}"


def veth_name(owner: str) -> str:
    """Return the name of the node's end of the veth of *owner*, in the manner of the CNI bridge plugin."""
    return f"veth{sha256(owner.encode()).hexdigest()[:8]}"


def mac_of(owner: str) -> str:
    """Return a unicast, locally administered hardware address that *owner* always gets."""
    digest = sha256(owner.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in ((digest[0] & 0xFC) | 0x02, *digest[1:6]))
