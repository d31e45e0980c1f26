"""pod-address-missing: the pod's network namespace has no address."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["POD_ADDRESS_MISSING"]

POD_ADDRESS_MISSING = Cause(
    id="pod-address-missing",
    title="the pod's network namespace has no address",
    what=(
        "The pod's sandbox is there, but its device is missing or without the address that it was given: "
        "the CNI plugin did not come to its end, or somebody took it away."
    ),
    shows="The pod reaches nobody and nobody reaches it.",
    dies="In the pod: network is unreachable.",
    proof="`ip addr` inside the pod shows no global address.",
    repair="Recreate the pod.",
    owner="the CNI plugin",
    source="CNI specification 1.0.0, section 4: ADD",
    candidates=nobody,
)
