"""ipvs-vip-missing: a virtual address is none of the node's, so IPVS never sees its packets."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.finding import Safety
from nettrace.model.owed import OwedAddress, OwedRoute, OwedVirtualServer

__all__ = ["IPVS_VIP_MISSING"]


def _candidates(context: Context) -> Iterator[Candidate]:
    asked = context.walk.flow.packet.dst
    virtual = {one.server.address for one in context.owed if isinstance(one, OwedVirtualServer)}
    for difference in context.differences:
        owed = difference.owed
        if isinstance(owed, OwedAddress):
            address, how = owed.address.address, f"it is not on {owed.address.device}"
        elif isinstance(owed, OwedRoute) and owed.route.type == "local":
            address, how = owed.route.dst.partition("/")[0], "no local route leads to it"
        else:
            continue
        if address != asked or address not in virtual:
            continue
        place = where(context.snapshot, owed.netns)
        yield owed_candidate(
            context,
            "ipvs-vip-missing",
            [difference],
            f"{address} is no address of {place}, so its packets are routed away, past IPVS: {how}",
            safety=Safety.GUARDED,
            overwritten=f"{owed.owner} writes the same when it next syncs or starts",
            lasting=f"restart {owed.owner}, and find what removes it",
        )


IPVS_VIP_MISSING = Cause(
    id="ipvs-vip-missing",
    title="a virtual address is not the node's own",
    what=(
        "IPVS takes packets that are for the node itself. The virtual server is there, and its address is "
        "neither on a device (kube-ipvs0) nor in a local route."
    ),
    shows="One Service times out from everywhere on the node; it works on other nodes.",
    dies="It is routed to the default gateway, and lost there.",
    proof="ipvsadm -Ln has the virtual server; ip addr show kube-ipvs0 and ip route get do not.",
    repair="ip addr add VIP/32 dev kube-ipvs0, or ip route add local VIP dev lo",
    owner="kube-proxy, which keeps kube-ipvs0; for a Service made by hand who made it.",
    source="~kube-router#237, ~kubernetes#72270, ~metalk8s#535",
    candidates=_candidates,
)
