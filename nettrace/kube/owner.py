"""Kubernetes as an owner of rules: kube-proxy, and kubelet before it (KEP-3178)."""

from nettrace.model.owner import Owner

__all__ = ["KUBE_PROXY"]

KUBE_PROXY = Owner(
    name="kube-proxy",
    chains=("KUBE-",),
    tables=("ip kube-proxy", "ip6 kube-proxy"),
    overwritten="kube-proxy writes its own again at its next sync",
)
