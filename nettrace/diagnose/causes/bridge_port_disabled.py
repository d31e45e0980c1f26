"""bridge-port-disabled: a bridge port does not forward."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import devices, peer_netns
from nettrace.diagnose.look import where
from nettrace.model.change import LinkSet
from nettrace.model.finding import Evidence, Safety

__all__ = ["BRIDGE_PORT_DISABLED"]

_STATES = {0: "disabled", 1: "listening", 2: "learning", 4: "blocking"}


def _candidates(context: Context) -> Iterator[Candidate]:
    for netns, link in devices(context):
        if link.port is None or not link.up or not link.carrier or link.port.state not in _STATES:
            continue
        place, behind = where(context.snapshot, netns), peer_netns(link)
        state = _STATES[link.port.state]
        yield Candidate(
            cause="bridge-port-disabled",
            netns=netns,
            where=place,
            subject=f"netns/{behind}" if behind else f"netns/{netns}",
            message=f"bridge port {link.name} on {place} is {state}: it passes no frames",
            changes=(LinkSet(netns=netns, device=link.name, attribute="state", value="3"),),
            evidence=(
                Evidence(
                    ref=f"{netns}/links/{link.name}",
                    text=f"{link.name} master {link.master} state {state}",
                    note="what is there",
                ),
            ),
            safety=Safety.AUTO,
            owner="the CNI plugin that made the port",
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
