"""
The leaves of the decision tree of Debug Services: all that are tests, and the sample always run.

Lives here: the tuples.
"""

from tests.acceptance.leaves import LEAVES, Leaf
from tests.acceptance.leaves_network import NETWORK_LEAVES
from tests.acceptance.leaves_settings import SETTINGS_LEAVES

__all__ = ["ALL_LEAVES", "SAMPLE"]

ALL_LEAVES: tuple[Leaf, ...] = (*LEAVES, *NETWORK_LEAVES, *SETTINGS_LEAVES)

#: At least one for each check, and one for each way of making it.
_SAMPLED = (
    "svc-missing",
    "svc-port-not-listed",
    "svc-selector-mismatch",
    "svc-ipfamily-mismatch",
    "itp-local-no-endpoint",
    "etp-local-no-endpoint",
    "dns-wrong-clusterdns",
    "dns-udp-blocked",
    "pod-not-listening",
    "kubeproxy-not-running",
    "reject-route",
    "hairpin-off",
    "nft-table-gone",
    "netpol-default-deny",
    "stale-endpoint-rule",
    "vtep-mac-mismatch",
    "vni-mismatch",
)

SAMPLE: tuple[Leaf, ...] = tuple(
    next(leaf for leaf in ALL_LEAVES if leaf.cause == cause) for cause in _SAMPLED
)
