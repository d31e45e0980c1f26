"""cni-bridge-old-address: the bridge still has the address of an earlier network."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["CNI_BRIDGE_OLD_ADDRESS"]

CNI_BRIDGE_OLD_ADDRESS = Cause(
    id="cni-bridge-old-address",
    title="the bridge still has the address of an earlier network",
    what=(
        "The plugin bridge finds its bridge with another address than the one it is to have, and refuses: "
        "it was made for an earlier podCIDR."
    ),
    shows='New pods stay in ContainerCreating: `"cni0" already has an IP address different from ...`.',
    dies="Nowhere: no pod is made.",
    proof="`ip addr show cni0` beside the subnet of the CNI configuration.",
    repair="Drain the node, delete the bridge, and let the plugin make it anew.",
    owner="the CNI plugin bridge",
    source="podman#12306, inclavare-containers#1364, containernetworking/cni#273",
    candidates=nobody,
)
