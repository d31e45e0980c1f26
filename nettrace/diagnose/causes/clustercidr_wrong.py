"""clustercidr-wrong: kube-proxy takes another network for the cluster's pods than they have."""

from nettrace.diagnose.cause import Cause, nobody
from nettrace.model.finding import Severity

__all__ = ["CLUSTERCIDR_WRONG"]

CLUSTERCIDR_WRONG = Cause(
    id="clustercidr-wrong",
    title="kube-proxy takes another network for the cluster's pods",
    severity=Severity.WARNING,
    what=(
        "By clusterCIDR kube-proxy tells pods from callers outside of the cluster, whose source it rewrites. "
        "One that does not hold the pods' addresses has pods masqueraded; one that holds more leaves others "
        "as they are, and their answers take another way."
    ),
    shows="Pods see the node's address instead of the pod's that calls; policies that name pods deny them.",
    dies="Nowhere: it arrives, with another source address.",
    proof="The chain of the Service tests `! -s` of a prefix that the pods' addresses are not in.",
    repair="clusterCIDR: the pods' network, in kube-proxy's configuration (ConfigMap kube-system/kube-proxy)",
    owner="kube-proxy's configuration.",
    source="kubernetes#44916, kubernetes#24224, kubeadm#102, kops#4674",
    candidates=nobody,
)
