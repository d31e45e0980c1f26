"""
Leaves of the guided Service flow: which cause, at which check, and how it is made.

Lives here: the table.  Not here: edits of objects (leaf_objects), faults of the lab (leaf_parts).
"""

from tests.acceptance import faults
from tests.acceptance.leaf import Leaf
from tests.acceptance.leaf_objects import (
    dns_not_ready,
    external_local,
    external_name,
    far_only,
    foreign_proxy,
    headless,
    not_ready,
    other_address,
    other_family,
    same_address,
    stale_slice,
    unnamed_port,
    wrong_selector,
)
from tests.acceptance.leaf_parts import (
    both_backends,
    egress_denied,
    flushed,
    ingress_denied,
    listens_on_localhost,
    no_dns_server,
    no_listener,
    no_search,
    old_mode,
    on_client,
    on_node,
    on_peer,
    udp_dropped,
    wrong_nameserver,
)

__all__ = ["LEAVES"]


_UNMARKED = (
    "iptables -t nat -S | sed -n 's/^-A \\(KUBE-SEP-.*-s POD.*MASQ\\)/-D \\1/p' | "
    "while read -r rule; do eval iptables -t nat $rule; done"
)
_FOREIGN = (
    "nft add table inet fw; nft 'add chain inet fw f { type filter hook forward priority 10; policy drop; }'"
)

_OF_NODE = {
    "bridge-nf-off": "dns",
    "flannel-fdb-missing": "path",
    "forward-policy-drop": "dns",
    "hairpin-off": "hairpin",
    "ip-forward-off": "dns",
    "kube-postrouting-missing": "hairpin",
    "pod-route-missing": "path",
    "service-rules-absent": "rules",
    "stale-endpoint-rule": "rules",
    "svc-wrong-targetport": "rules",
}

LEAVES = (
    Leaf("svc-missing", "service", service="svc/default/no-such"),
    Leaf("svc-wrong-namespace", "service", service="svc/elsewhere/hostnames"),
    Leaf("svc-port-not-listed", "definition", service="svc/default/hostnames:81"),
    Leaf("svc-protocol-mismatch", "definition", service="svc/default/hostnames:80/udp"),
    Leaf("svc-externalname", "definition", edit=external_name),
    Leaf("svc-headless-port", "definition", edit=headless, service="svc/default/hostnames:80"),
    Leaf("svc-foreign-proxy", "definition", edit=foreign_proxy),
    Leaf("svc-named-port-mismatch", "endpoints", edit=unnamed_port),
    Leaf("svc-selector-mismatch", "endpoints", edit=wrong_selector),
    Leaf("svc-no-ready-endpoints", "endpoints", edit=not_ready),
    Leaf("svc-endpoints-stale", "endpoints", edit=stale_slice),
    Leaf("svc-ipfamily-mismatch", "endpoints", edit=other_family),
    Leaf("duplicate-ip", "endpoints", edit=same_address),
    Leaf("itp-local-no-endpoint", "rules", edit=far_only, rebuilt=True),
    Leaf("etp-local-no-endpoint", "outside", edit=external_local, call=("--external",), rebuilt=True),
    Leaf("dns-no-record", "dns", edit=other_address),
    Leaf("dns-wrong-clusterdns", "dns", before=wrong_nameserver),
    Leaf("dns-search-incomplete", "dns", before=no_search),
    Leaf("dns-coredns-down", "dns", before=no_dns_server),
    Leaf("dns-coredns-down", "dns", before=no_dns_server, edit=dns_not_ready),
    Leaf("dns-udp-blocked", "dns", shell=udp_dropped),
    Leaf("pod-not-listening", "pods", before=no_listener),
    Leaf("svc-app-listens-localhost", "pods", shell=listens_on_localhost),
    Leaf("kubeproxy-not-running", "kube-proxy", shell=flushed, call=("--external",)),
    Leaf("rules-flushed", "dns", shell=flushed),
    Leaf("iptables-legacy-nft-mix", "kube-proxy", shell=both_backends),
    Leaf("proxy-mode-switch-leftover", "kube-proxy", shell=old_mode),
    Leaf("veth-host-down", "pods", shell=on_node("ip link set VETH down")),
    Leaf("veth-detached", "pods", shell=on_node("ip link set VETH nomaster")),
    Leaf("bridge-down", "dns", shell=on_node("ip link set cni0 down")),
    Leaf("bridge-port-disabled", "pods", shell=on_node("bridge link set dev VETH state 0")),
    Leaf(
        "bridge-port-isolated",
        "path",
        shell=on_node("bridge link set dev VETH isolated on", "bridge link set dev CLIENT isolated on"),
    ),
    Leaf("pod-default-route-missing", "dns", shell=on_client("ip route del default")),
    Leaf("pod-default-route-missing", "dns", shell=on_client("ip route replace default via 10.244.1.254")),
    Leaf(
        "stale-permanent-neigh",
        "pods",
        shell=on_node("ip neigh replace POD lladdr 02:00:00:00:00:99 dev cni0 nud permanent"),
    ),
    Leaf("reject-route", "path", shell=on_node("ip route replace blackhole PEERCIDR")),
    Leaf("wrong-next-hop", "path", shell=on_node("ip route replace PEERCIDR via OUTSIDE")),
    Leaf(
        "policy-rule-hijack",
        "dns",
        shell=on_node(
            "ip route add default via OUTSIDE dev eth0 table 52", "ip rule add prio 5270 lookup 52"
        ),
    ),
    Leaf("node-no-default-route", "dns", shell=on_node("ip route del default"), call=("--from-node",)),
    Leaf("iface-forwarding-off", "dns", shell=on_node("sysctl -qw net.ipv4.conf.cni0.forwarding=0")),
    Leaf("tunnel-link-down", "path", shell=on_node("ip link set flannel.1 down")),
    Leaf("hairpin-masq-missing", "hairpin", shell=on_node(_UNMARKED)),
    Leaf("overlay-udp-blocked", "path", shell=on_peer("iptables -I INPUT -p udp --dport 8472 -j DROP")),
    Leaf(
        "forward-reject-host-prohibited",
        "dns",
        shell=on_node("iptables -I FORWARD -j REJECT --reject-with icmp-host-prohibited"),
    ),
    Leaf("input-drop-kills-node-clients", "pods", shell=on_node("iptables -P INPUT DROP")),
    Leaf("notrack-on-service", "rules", shell=on_node("iptables -t raw -A PREROUTING -d VIP -j NOTRACK")),
    Leaf(
        "masq-pod-to-pod",
        "path",
        shell=on_node("iptables -t nat -I POSTROUTING -o flannel.1 -j MASQUERADE"),
    ),
    Leaf("nft-foreign-drop", "dns", shell=on_node(_FOREIGN)),
    Leaf("nft-table-gone", "dns", shell=on_node("nft delete table ip kube-proxy"), proxy="nftables"),
    Leaf("netpol-default-deny", "path", before=ingress_denied),
    Leaf("dns-policy-egress-blocked", "dns", before=egress_denied),
    *(Leaf(cause, at, shell=faults.FAULTS[cause].inject) for cause, at in _OF_NODE.items()),
)
