"""
Where a frame that arrives at a device is sent from: the other end of that device.

Lives here: finding it in a snapshot.  Not here: sending (nettrace.observe.crafted).
"""

from collections.abc import Sequence
from typing import NamedTuple

from nettrace.app.context import Context
from nettrace.model.errors import UserError
from nettrace.model.flow import Flow
from nettrace.model.links import Link
from nettrace.model.section import Known, SectionKey
from nettrace.observe.shape import Arrival

__all__ = ["arrival_of"]


class _Sent(NamedTuple):
    """The namespace to send from, and the frame."""

    netns: str
    frame: Arrival


def arrival_of(context: Context, flow: Flow) -> _Sent:
    """
    Return how the frame of *flow* is made to arrive; UserError where nobody here can send it.

    It is for the MAC address that takes it to the IP layer: that of the device, or of its bridge.
    """
    netns, device = flow.origin.netns, flow.origin.device or ""
    link = _link(context, netns, device)
    peer = link.peer if link is not None else None
    far = None
    if peer is not None and peer.netns in context.snapshot.namespaces:
        far = next((one for one in _links(context, peer.netns) if one.index == peer.ifindex), None)
    if link is None or peer is None or peer.netns is None or far is None:
        raise UserError(
            f"no frame can be made to arrive at {device} of {netns} from here",
            where=f"{netns}/{device}",
            hint="the other end has to be in a namespace of this machine; or run the probe on the sender",
        )
    above = _link(context, netns, link.master) if link.master is not None else None
    return _Sent(peer.netns, Arrival(far.name, far.mac, (above or link).mac))


def _links(context: Context, netns: str) -> Sequence[Link]:
    context.read_unread([SectionKey(netns, "links")])
    section = context.snapshot.namespaces[netns].links
    return section.value if isinstance(section, Known) else ()


def _link(context: Context, netns: str, device: str) -> Link | None:
    return next((one for one in _links(context, netns) if one.name == device), None)
