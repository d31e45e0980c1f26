"""tunnel-link-down: the overlay's device is down."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.links_down import down_candidates

__all__ = ["TUNNEL_LINK_DOWN"]


def _candidates(context: Context) -> Iterator[Candidate]:
    yield from down_candidates(
        context,
        "tunnel-link-down",
        ("vxlan", "ipip", "tun", "wireguard", "gre", "geneve"),
        "the CNI's agent",
        "restart the CNI's agent on this node: it makes the device and its routes anew",
    )


TUNNEL_LINK_DOWN = Cause(
    id="tunnel-link-down",
    title="the overlay's device is down",
    what=(
        "The tunnel device (VXLAN, IPIP, TUN, WireGuard) is down. Routes and neighbours that its agent "
        "put there went with it, and do not come back when it is up again."
    ),
    shows="Pods of other nodes cannot be reached; those of the same node can.",
    dies="At the routing decision: the packets leave by the default gateway, where nobody knows the pods.",
    proof="`ip link` shows the device DOWN; its routes are gone.",
    repair="ip link set dev DEVICE up, and the routes and entries that its agent owes",
    owner="The CNI's agent (flanneld, calico-node).",
    source="flannel#1379",
    candidates=_candidates,
)
