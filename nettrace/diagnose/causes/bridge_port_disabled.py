"""bridge-port-disabled: a bridge port does not forward."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import devices, port_candidate
from nettrace.model.finding import Safety

__all__ = ["BRIDGE_PORT_DISABLED"]

_STATES = {0: "disabled", 1: "listening", 2: "learning", 4: "blocking"}


def _candidates(context: Context) -> Iterator[Candidate]:
    for netns, link in devices(context):
        if link.port is None or not link.up or not link.carrier or link.port.state not in _STATES:
            continue
        state = _STATES[link.port.state]
        yield port_candidate(
            context,
            netns,
            link,
            cause="bridge-port-disabled",
            message=f"is {state}: it passes no frames",
            found=f"state {state}",
            change=("state", "3"),
            safety=Safety.AUTO,
            overwritten="not by itself; with STP the bridge decides",
            lasting="turn STP off on a bridge of pods: ip link set dev BRIDGE type bridge stp_state 0",
        )


BRIDGE_PORT_DISABLED = Cause(
    id="bridge-port-disabled",
    title="a bridge port does not forward",
    what=(
        "The bridge port of a pod is disabled, blocking, listening or learning: it takes no frames, or "
        "passes none on."
    ),
    shows=(
        "Nothing reaches the pod: no route to host after 3 s. With STP it goes away by itself after twice "
        "the forward delay."
    ),
    dies="In the bridge, which drops frames of a port that does not forward.",
    proof="`bridge link` shows a state other than forwarding.",
    repair="bridge link set dev PORT state 3",
    owner="The CNI plugin that made the port; with STP the bridge itself.",
    source="podman#9694",
    candidates=_candidates,
)
