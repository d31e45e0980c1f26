"""pod-not-listening: nobody in the pod listens on the port."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["POD_NOT_LISTENING"]

POD_NOT_LISTENING = Cause(
    id="pod-not-listening",
    title="nobody in the pod listens on the port",
    what="The pod is reached, and no process in it listens on the port that the Service leads to.",
    shows="Refused at once, by the pod's own address.",
    dies="At the pod's sockets.",
    proof="`ss -ltn` in the pod.",
    repair="Start the application, or correct the port.",
    owner="The application.",
    source="the Debug Services page of Kubernetes",
    candidates=nobody,
)
