"""cni-conf-leftover: another network's CNI configuration comes first."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["CNI_CONF_LEFTOVER"]

CNI_CONF_LEFTOVER = Cause(
    id="cni-conf-leftover",
    title="another network's CNI configuration comes first",
    what=(
        "The runtime takes the first file of its directory by name. It is that of another network: of the "
        "runtime's package, of podman, or of a CNI that was there before."
    ),
    shows=(
        "New pods get addresses of a wrong network (10.88.0.0/16, 10.22.0.0/16) and reach nobody on other "
        "nodes."
    ),
    dies="On the way to another node, which has no route back.",
    proof="More than one file in /etc/cni/net.d; the first one's addresses are none of the node's podCIDR.",
    repair="Move the stale file away, then recreate the pods that it attached.",
    owner="whoever left the file",
    source="flannel#1437, plugins#629, calico#1388, bootkube#698, containernetworking/cni#585",
    candidates=nobody,
)
