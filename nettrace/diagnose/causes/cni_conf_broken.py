"""cni-conf-broken: the CNI configuration that counts is no valid one."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["CNI_CONF_BROKEN"]

CNI_CONF_BROKEN = Cause(
    id="cni-conf-broken",
    title="the CNI configuration that counts is no valid one",
    what=(
        "The runtime takes the first file of its directory by name. That one is not JSON, has no name, or "
        "lists no plugins. containerd then has no network at all; CRI-O goes on with the next file."
    ),
    shows="The node is NotReady: `failed to load CNI config`, or its pods get the network of another file.",
    dies="Nowhere: no pod is made.",
    proof="The file itself; `crictl info` shows lastCNILoadStatus.",
    repair="Mend the file, or move it out of the directory.",
    owner="whoever wrote the file",
    source="containerd#8662, containerd#8514, kubernetes#55599",
    candidates=nobody,
)
