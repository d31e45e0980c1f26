"""svc-protocol-mismatch: the Service has the port for another protocol."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_PROTOCOL_MISMATCH"]

SVC_PROTOCOL_MISMATCH = Cause(
    id="svc-protocol-mismatch",
    title="the Service has the port for another protocol",
    what="`spec.ports` has this port, for another protocol than the one that is asked for.",
    shows="UDP to a TCP Service (or the other way round) times out or is refused.",
    dies="Past the Service's rules, which test the protocol.",
    proof="`spec.ports[].protocol`.",
    repair="Correct the protocol; TCP is the default.",
    owner="The Service's manifest.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
