"""cni-conf-missing: the node has no CNI configuration."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["CNI_CONF_MISSING"]

CNI_CONF_MISSING = Cause(
    id="cni-conf-missing",
    title="the node has no CNI configuration",
    what=(
        "The container runtime finds no file in its directory of network configurations: the network's "
        "agent, which writes one, has not been there."
    ),
    shows="The node is NotReady and its pods stay in ContainerCreating: `cni plugin not initialized`.",
    dies="Nowhere: no pod is made.",
    proof="/etc/cni/net.d has no .conflist, .conf or .json.",
    repair="Install or repair the network's DaemonSet; its init container copies the file.",
    owner="the network's DaemonSet",
    source="kubeadm#1704, kubernetes#43957, kubernetes#71692",
    candidates=nobody,
)
