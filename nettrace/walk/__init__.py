"""
The path of a packet through the kernel, one stage a file.

Pure: ``walk(snapshot, flow)`` gives a Walk, or the sections it Needs.  No I/O, no clock, no
randomness: where the kernel draws lots the walk branches.
Not here: what should be (nettrace.kube), why it is not (nettrace.diagnose).

From the outside in: walker (branches) > exchange (packets of a conversation) > leg (one
packet, stage after stage) > the stages: send, receive, arrive, forward, deliver, leave,
neighbour, bridge, tunnel.  Stages call hooks > rules > matches, targets; conntrack and nat; ipvs;
routing and source.  context is one run's memory, skb what travels.
"""

from nettrace.walk.limits import Limits
from nettrace.walk.sysctls import SYSCTLS
from nettrace.walk.walker import walk

__all__ = ["SYSCTLS", "Limits", "walk"]
