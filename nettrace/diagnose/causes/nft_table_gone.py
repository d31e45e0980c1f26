"""nft-table-gone: kube-proxy's nftables table is gone."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["NFT_TABLE_GONE"]

NFT_TABLE_GONE = Cause(
    id="nft-table-gone",
    title="kube-proxy's nftables table is gone",
    what=(
        "kube-proxy runs in mode nftables, and its table `ip kube-proxy` (or `ip6 kube-proxy`) is not in "
        "the kernel: somebody flushed the whole rule set."
    ),
    shows="Every Service of the node is dead at once; pod addresses work.",
    dies="Past the Services' rules: the packet keeps the Service's address and leaves by the default route.",
    proof="`nft list tables` lacks `ip kube-proxy`.",
    repair="Restart kube-proxy: it writes its table anew; only then does it notice.",
    owner="kube-proxy",
    source="`nft flush ruleset` in nftables.service, a firewall that restarts",
    candidates=nobody,
)
