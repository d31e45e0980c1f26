"""masquerade-all: kube-proxy rewrites the source of all that calls a Service."""

from nettrace.diagnose.cause import Cause, nobody
from nettrace.model.finding import Severity

__all__ = ["MASQUERADE_ALL"]

MASQUERADE_ALL = Cause(
    id="masquerade-all",
    title="kube-proxy masquerades everything that calls a Service",
    severity=Severity.WARNING,
    what=(
        "kube-proxy runs with masqueradeAll: what calls a Service's address has its source rewritten to the "
        "node's, pods included. Answers always come back; who called is lost."
    ),
    shows="Pods see the node's address for every caller; policies and lists that name pods deny them.",
    dies="Nowhere: it arrives, with another source address.",
    proof="The chain of the Service jumps to KUBE-MARK-MASQ without a test of the source.",
    repair="masqueradeAll: false in kube-proxy's configuration (ConfigMap kube-system/kube-proxy)",
    owner="kube-proxy's configuration.",
    source="kubespray#1012, kubernetes#39823",
    candidates=nobody,
)
