"""svc-headless-port: a headless Service does not translate ports."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_HEADLESS_PORT"]

SVC_HEADLESS_PORT = Cause(
    id="svc-headless-port",
    title="a headless Service does not translate ports",
    what=(
        "A headless Service has no address: DNS answers with the pods' own, and nothing maps `port` to "
        "`targetPort`."
    ),
    shows="Connections to `port` are refused by the pods, those to `targetPort` work.",
    dies="At the pod's sockets.",
    proof="`spec.clusterIP` is None, and `port` differs from `targetPort`.",
    repair="Let clients use the pods' port, or make `port` the same.",
    owner="The Service's manifest.",
    source="kubernetes#94673",
    candidates=nobody,
)
