"""proxy-mode-switch-leftover: rules of another kube-proxy mode are left over."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["PROXY_MODE_SWITCH_LEFTOVER"]

PROXY_MODE_SWITCH_LEFTOVER = Cause(
    id="proxy-mode-switch-leftover",
    title="rules of another kube-proxy mode are left over",
    what=(
        "The kernel has state of two kube-proxy modes: rules of iptables, a table of nftables, or the "
        "device kube-ipvs0."
    ),
    shows="After a change of mode old rejections and translations stay.",
    dies="At a rule of the old mode.",
    proof="KUBE-SVC- chains beside a table `ip kube-proxy` or kube-ipvs0.",
    repair="`kube-proxy --cleanup` on the node, or a reboot.",
    owner="kube-proxy: it does not remove what another mode left.",
    source="kubernetes#102314, KEP-3866",
    candidates=nobody,
)
