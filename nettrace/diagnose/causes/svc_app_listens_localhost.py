"""svc-app-listens-localhost: the application listens on localhost only."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_APP_LISTENS_LOCALHOST"]

SVC_APP_LISTENS_LOCALHOST = Cause(
    id="svc-app-listens-localhost",
    title="the application listens on localhost only",
    what="The pod has a listener on the port, bound to 127.0.0.1 or ::1.",
    shows="Refused by the pod's address, while `localhost` in the pod works.",
    dies="At the pod's sockets.",
    proof="`ss -ltn` in the pod shows 127.0.0.1:PORT.",
    repair="Let the application listen on 0.0.0.0 or ::.",
    owner="The application's configuration.",
    source="kind#869, istio#14738",
    candidates=nobody,
)
