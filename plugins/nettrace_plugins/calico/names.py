"""
The names that Calico gives to devices, chains and sets.

Lives here: names made from Kubernetes names, and what an object is called behind a hashed one.
Sources: libcalico-go, lib/backend/k8s/conversion (VethNameForWorkload); felix/hashutils/id.go,
felix/rules/policy.go (PolicyChainName), felix/ipsets; felix/dataplane/linux/vxlan_mgr.go (MAC).
"""

from base64 import urlsafe_b64encode
from hashlib import sha1, sha224, sha256

__all__ = [
    "ALL_POOLS",
    "HOSTS",
    "MASQUERADED",
    "PREFIX",
    "TUNNEL",
    "VTEPS",
    "VXLAN",
    "WORKLOAD",
    "limited",
    "policy_chain",
    "policy_set",
    "profile_chain",
    "veth",
    "vtep_mac",
    "workload_chain",
]

#: What Calico's chains, and the devices of its pods, begin with.
PREFIX = "cali-"
WORKLOAD = "cali"

VXLAN = "vxlan.calico"
TUNNEL = "tunl0"

#: Sets of all pools' networks, of those that natOutgoing is on for, of the nodes' addresses, of VTEPs' nodes.
ALL_POOLS = "cali40all-ipam-pools"
MASQUERADED = "cali40masq-ipam-pools"
HOSTS = "cali40all-hosts-net"
VTEPS = "cali40all-vxlan-net"

_CHAIN_MAX = 28  # XT_EXTENSION_MAXNAMELEN, less the zero
_SET_MAX = 31  # IPSET_MAXNAMELEN, less the zero


def veth(namespace: str, pod: str) -> str:
    """Return the name of the node's end of a pod's veth."""
    return WORKLOAD + sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()[:11]


def vtep_mac(node: str) -> str:
    """Return the MAC address of a node's VXLAN device."""
    digest = sha1(node.encode(), usedforsecurity=False).digest()
    return ":".join(f"{byte:02x}" for byte in (ord("f"), *digest[:5]))


def limited(prefix: str, name: str, longest: int = _CHAIN_MAX) -> str:
    """Return *prefix* and *name*, or a hash of the name where both are too long."""
    if len(prefix) + len(name) > longest or (len(prefix) + len(name) == longest and name.startswith("_")):
        name = "_" + urlsafe_b64encode(sha256(name.encode()).digest()).decode()[: longest - len(prefix) - 1]
    return prefix + name


def workload_chain(direction: str, device: str) -> str:
    """Return the chain of a pod's device: *direction* is ``tw`` (to the workload) or ``fw`` (from it)."""
    return limited(f"{PREFIX}{direction}-", device)


def policy_chain(direction: str, namespace: str, policy: str) -> str:
    """Return the chain of a Kubernetes policy: *direction* ``pi`` (inbound) or ``po`` (outbound)."""
    return limited(f"{PREFIX}{direction}-", f"{namespace}/knp.default.{policy}")


def profile_chain(direction: str, profile: str) -> str:
    """Return the chain of a profile (``kns.default``): *direction* ``pri`` or ``pro``."""
    return limited(f"{PREFIX}{direction}-", profile)


def policy_set(kind: str, selector: str) -> str:
    """Return the set of what a selector chooses: *kind* ``s`` for addresses, ``n`` for named ports."""
    digest = urlsafe_b64encode(sha224(selector.encode()).digest()).decode().rstrip("=")
    return f"cali40{kind}:{digest}"[:_SET_MAX]
