"""bridge-port-isolated: two bridge ports are isolated from each other."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import devices, port_candidate
from nettrace.model.finding import Safety
from nettrace.model.step import Verdict

__all__ = ["BRIDGE_PORT_ISOLATED"]


def _candidates(context: Context) -> Iterator[Candidate]:
    for netns, link in devices(context):
        if link.port is None or not link.port.isolated:
            continue
        yield port_candidate(
            context,
            netns,
            link,
            cause="bridge-port-isolated",
            message="is isolated from the other isolated ports",
            found="isolated on",
            change=("isolated", "off"),
            safety=Safety.GUARDED,
            overwritten="not for this port; ports of new pods are made by the CNI configuration",
            lasting="if it is not meant: portIsolation false in the CNI configuration",
        )


BRIDGE_PORT_ISOLATED = Cause(
    id="bridge-port-isolated",
    title="two bridge ports are isolated from each other",
    what="Isolated ports of a bridge reach no other isolated port.",
    shows="Pods of the same node do not reach each other; they reach the node and everybody else.",
    dies="In the bridge, which passes no frame from one isolated port to another.",
    proof="`bridge -d link` shows isolated on for both ports.",
    repair="bridge link set dev PORT isolated off",
    owner="The CNI plugin that made the ports; isolation may be meant.",
    source="the option portIsolation of the CNI bridge plugin",
    verdicts=frozenset({Verdict.BRIDGE_DROPPED, Verdict.NEIGHBOUR_FAILED}),
    candidates=_candidates,
)
