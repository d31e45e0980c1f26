"""iptables-legacy-nft-mix: kube-proxy's rules are in both backends of iptables."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["IPTABLES_LEGACY_NFT_MIX"]

IPTABLES_LEGACY_NFT_MIX = Cause(
    id="iptables-legacy-nft-mix",
    title="kube-proxy's rules are in both backends of iptables",
    what=(
        "Both iptables-legacy and iptables-nft hold KUBE- chains: both run, and a drop or a translation in "
        "either counts."
    ),
    shows="Rules that look right, and packets that go to old pods or are dropped.",
    dies="At a rule of the backend that nobody writes any more.",
    proof="`iptables-legacy-save` and `iptables-nft-save` both have KUBE-SERVICES.",
    repair="Delete the chains of the backend that nobody writes, once it is known which; or reboot the node.",
    owner="Whoever chooses the backend: the distribution's alternatives, kube-proxy's image.",
    source="kubernetes#71305, kubernetes#109811",
    candidates=nobody,
)
