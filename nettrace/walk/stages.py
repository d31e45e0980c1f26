"""The stages of a packet's way, named, so that one stage can hand over to another."""

from enum import Enum

from nettrace.model.step import Stage

__all__ = ["STAGE_OF", "Next"]


class Next(Enum):
    """What comes next.  nettrace.walk.leg says which function each is."""

    SEND = "a socket sends"
    SEND_BY_PORT = "the kernel answers by the bridge port that it was asked by"
    LOCAL_OUT = "OUTPUT, and the route once more"
    RECEIVE = "a frame arrives at a device"
    BRIDGE_IN = "a frame arrives at a bridge port"
    BRIDGE_FORWARD = "the bridge looks for the port"
    BRIDGE_OUT = "the host sends by a bridge"
    IP_RECEIVE = "the IP layer takes a frame"
    ROUTE_IN = "whose is it?"
    FORWARD = "on to another device"
    LOCAL_IN = "INPUT"
    POSTROUTING = "POSTROUTING, MTU"
    NEIGHBOUR = "to which MAC?"
    TRANSMIT = "the device sends"
    ENCAPSULATE = "into a tunnel"
    DELIVER = "to a socket"


#: The stage that a step has when the walk cannot go on there.
STAGE_OF: dict[Next, Stage] = {
    Next.SEND: Stage.SEND,
    Next.SEND_BY_PORT: Stage.SEND,
    Next.LOCAL_OUT: Stage.HOOK,
    Next.RECEIVE: Stage.RECEIVE,
    Next.BRIDGE_IN: Stage.BRIDGE,
    Next.BRIDGE_FORWARD: Stage.BRIDGE,
    Next.BRIDGE_OUT: Stage.BRIDGE,
    Next.IP_RECEIVE: Stage.HOOK,
    Next.ROUTE_IN: Stage.ROUTE,
    Next.FORWARD: Stage.FORWARD,
    Next.LOCAL_IN: Stage.HOOK,
    Next.POSTROUTING: Stage.HOOK,
    Next.NEIGHBOUR: Stage.NEIGHBOUR,
    Next.TRANSMIT: Stage.TRANSMIT,
    Next.ENCAPSULATE: Stage.TUNNEL,
    Next.DELIVER: Stage.DELIVER,
}
