"""
The names that Weave gives to devices, chains and sets.

Lives here: constants, and the names of weave-npc's sets, which are hashes.
Sources: weave, net/bridge.go; common/chains/npc.go; npc/constants.go, npc/shortname.go.
"""

from hashlib import sha1

__all__ = [
    "ACCEPT",
    "BRIDGE",
    "CAPTURE",
    "CUSTOM",
    "DATAPATH",
    "DATAPATH_PORT",
    "DEFAULT",
    "EGRESS",
    "EGRESS_DEFAULT",
    "INGRESS",
    "MAIN",
    "MARK",
    "MASQUERADE",
    "NO_MASQUERADE",
    "PORT",
    "TUNNEL",
    "UPLINK",
    "set_name",
]

BRIDGE = "weave"
DATAPATH = "datapath"
#: The two ends of the veth between the bridge and the datapath.
#: Where the router captures frames if it has no datapath (sleeve).
CAPTURE = "vethwe-pcap"
UPLINK = "vethwe-bridge"
DATAPATH_PORT = "vethwe-datapath"
TUNNEL = "vxlan-6784"

#: TCP between peers, and UDP of the slow way (sleeve); the fast one is at the next port.
PORT = 6783

MASQUERADE = "WEAVE"
NO_MASQUERADE = "weaver-no-masq-local"

MAIN = "WEAVE-NPC"
DEFAULT = "WEAVE-NPC-DEFAULT"
INGRESS = "WEAVE-NPC-INGRESS"
EGRESS = "WEAVE-NPC-EGRESS"
EGRESS_DEFAULT = "WEAVE-NPC-EGRESS-DEFAULT"
CUSTOM = "WEAVE-NPC-EGRESS-CUSTOM"
ACCEPT = "WEAVE-NPC-EGRESS-ACCEPT"
#: Of a packet that egress policies let through.
MARK = "0x40000/0x40000"

#: No comma is among them: it has a meaning where a set is put into a list:set.
_SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789(){}[]+=_$%^!*|/?.;:@#~"


def set_name(key: str) -> str:
    """Return the name of the set for *key*: ``NAMESPACE:SELECTOR``, ``ingress-default-allow:NAMESPACE``."""
    number = int.from_bytes(sha1(key.encode(), usedforsecurity=False).digest(), "big")
    found = "weave-"
    while number:
        number, rest = divmod(number, len(_SYMBOLS))
        found += _SYMBOLS[rest]
    return found
