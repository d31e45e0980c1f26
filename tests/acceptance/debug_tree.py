"""
The leaves of the decision tree of Debug Services, each a test or with the reason why it is none.

Lives here: all leaves in one tuple, the sample that is always run, and what is no leaf of a lab.
"""

from tests.acceptance.leaf import Leaf
from tests.acceptance.leaves import LEAVES
from tests.acceptance.leaves_network import NETWORK_LEAVES
from tests.acceptance.leaves_settings import SETTINGS_LEAVES

__all__ = ["ALL_LEAVES", "ANOTHER_NAME", "ANOTHER_TEST", "NO_LEAF", "SAMPLE", "TREE"]

ALL_LEAVES: tuple[Leaf, ...] = (*LEAVES, *NETWORK_LEAVES, *SETTINGS_LEAVES)

#: At least one for each check, and one for each way of making it.
_SAMPLED = (
    "svc-missing",
    "svc-port-not-listed",
    "svc-selector-mismatch",
    "svc-ipfamily-mismatch",
    "itp-local-no-endpoint",
    "etp-local-no-endpoint",
    "etp-local-hostname-mismatch",
    "healthcheck-nodeport-failing",
    "dns-wrong-clusterdns",
    "dns-udp-blocked",
    "pod-not-listening",
    "kubeproxy-not-running",
    "reject-route",
    "hairpin-off",
    "nft-table-gone",
    "netpol-default-deny",
    "stale-endpoint-rule",
    "vtep-mac-mismatch",
    "vni-mismatch",
    "masquerade-all",
    "lb-source-ranges",
)

SAMPLE: tuple[Leaf, ...] = tuple(
    next(leaf for leaf in ALL_LEAVES if leaf.cause == cause) for cause in _SAMPLED
)

#: The tree's leaves by its steps, in its order.
TREE = {
    "1 does the pod serve": (
        "svc-wrong-targetport svc-app-listens-localhost netpol-default-deny forward-policy-drop "
        "veth-host-down veth-detached duplicate-mac bridge-address-missing bridge-down bridge-port-disabled "
        "bridge-port-isolated"
    ),
    "2 does the Service exist": "svc-missing svc-wrong-namespace svc-externalname svc-headless-port",
    "3 DNS": (
        "dns-hostnetwork dns-wrong-clusterdns dns-coredns-down dns-loop input-reject-apiserver "
        "kubeproxy-not-running dns-udp-blocked bridge-nf-off conntrack-stale-udp dns-policy-egress-blocked "
        "dns-nodelocal-broken masquerade-missing dns-upstream-unreachable dns-search-wildcard "
        "conntrack-dns-race dns-ndots-amplification svc-ipfamily-mismatch"
    ),
    "4 the Service by its address": (
        "svc-ping-clusterip ipvs-ping-semantics svc-port-not-listed svc-named-port-mismatch "
        "svc-protocol-mismatch svc-selector-mismatch svc-no-ready-endpoints stale-endpoint-rule "
        "ipvs-stale-real-server duplicate-ip session-affinity-stuck conntrack-invalid-rst snat-port-race "
        "ipvs-conn-reuse-1s vxlan-checksum-offload"
    ),
    "5 kube-proxy and the node's rules": (
        "conntrack-tool-missing bpf-datapath-opaque kubeproxy-leftover-with-replacement "
        "iptables-legacy-nft-mix proxy-mode-switch-leftover service-jump-missing "
        "service-output-jump-missing service-rules-absent kubeproxy-restore-failing xtables-lock "
        "rules-flushed hairpin-masq-missing kube-postrouting-missing clustercidr-wrong masquerade-all "
        "service-no-endpoints itp-local-no-endpoint lb-source-ranges notrack-on-service ipvs-vip-missing "
        "ipvs-no-real-servers ipvs-rs-weight0 ipvs-ipset-missing ipvs-modules-missing nft-table-gone "
        "nft-foreign-drop ip-forward-off forward-reject-host-prohibited input-drop-kills-node-clients "
        "node-no-default-route conntrack-full"
    ),
    "6 the way to other nodes": (
        "pod-route-missing reject-route policy-rule-hijack wrong-next-hop hostgw-no-l2 flannel-arp-missing "
        "flannel-fdb-missing fdb-stale-remote vtep-mac-mismatch vni-mismatch vxlan-port-mismatch "
        "overlay-udp-blocked calico-ipip-blocked cloud-src-dst-check vmware-vxlan-drop mtu-pod-too-big "
        "mtu-underlay-blackhole calico-bgp-down calico-wrong-autodetect podcidr-duplicate pod-wrong-netmask"
    ),
    "7 hairpin": "hairpin-off",
    "8 from outside": (
        "cloud-sg-nodeport metallb-no-arp ipvs-strict-arp-off nodeport-addresses-excluded "
        "docker-dnat-missing hostport-portmap-missing etp-local-no-endpoint etp-local-hostname-mismatch "
        "route-localnet-off nodeport-localhost healthcheck-nodeport-failing lb-hairpin "
        "published-secondary-iface-asym rp-filter-strict nodeport-input-rule-myth martian-local-source"
    ),
}

#: The same state by another name of the tree.
ANOTHER_NAME = {
    "service-no-endpoints": "svc-no-ready-endpoints",
    "nodeport-localhost": "route-localnet-off",
}

#: What other tests make, mostly because it is no matter of a Service.
ANOTHER_TEST = {
    "masquerade-missing": "tests/acceptance/test_faults.py: debug asks for the Service's own names alone",
    "docker-dnat-missing": "tests/acceptance/test_faults.py: Docker's, in a lab without Services",
    "nodeport-input-rule-myth": "tests/acceptance/test_debug.py: it changes nothing, and every check passes",
    "dns-search-wildcard": "tests/diagnose/test_guide_dns.py: a record of somebody else's domain",
    "dns-hostnetwork": "tests/diagnose/test_guide_dns.py: a lab's pods have a network of their own",
    "bpf-datapath-opaque": "tests/kernel: the walk ends UNKNOWN at a program of BPF, which is no leaf",
    "kubeproxy-leftover-with-replacement": "of networks that replace kube-proxy, in their own labs",
    "calico-bgp-down": "tests/acceptance/test_calico_bgp.py",
    "calico-wrong-autodetect": "Calico's tests",
    "podcidr-duplicate": "the tests of debug pod/NS/NAME",
    "hostport-portmap-missing": "the tests of debug pod/NS/NAME",
}

#: What a lab of namespaces cannot have.
NO_LEAF = {
    **dict.fromkeys(
        (
            "ipvs-stale-real-server",
            "ipvs-vip-missing",
            "ipvs-no-real-servers",
            "ipvs-rs-weight0",
            "ipvs-ipset-missing",
        ),
        "needs a kernel with IPVS: tests/vm",
    ),
    "ipvs-ping-semantics": "debug never pings a Service's address",
    "ipvs-conn-reuse-1s": "needs IPVS, and a source port used again: no cause of that name yet",
    "ipvs-strict-arp-off": "needs IPVS, and a balancer that asks by ARP: no cause of that name yet",
    "ipvs-modules-missing": "modules are the machine's, not a namespace's",
    "calico-ipip-blocked": "needs the module ipip",
    "conntrack-full": "nf_conntrack_max is the machine's, and read-only in a namespace",
    "conntrack-tool-missing": "about the image that kube-proxy runs in",
    "cloud-src-dst-check": "a setting of a cloud's network",
    "vmware-vxlan-drop": "a hypervisor's network card",
    "cloud-sg-nodeport": "a cloud's firewall: nothing of it can be read on a node",
    "metallb-no-arp": "the lab's balancer is no MetalLB",
    "lb-hairpin": "a cloud's balancer that sends a node's own packets back to it",
    "dns-loop": "told by CoreDNS' log, and the lab's DNS server is dnsmasq",
    "dns-nodelocal-broken": "the lab has no node-local cache",
    "dns-upstream-unreachable": "debug asks for names of the cluster alone",
    "dns-ndots-amplification": "every name resolves; it is a matter of time and load",
    "input-reject-apiserver": "the lab has no API server",
    "kubeproxy-restore-failing": "the lab's kube-proxy is no process: told by its log",
    "xtables-lock": "the lab's kube-proxy is no process: told by its log",
    "conntrack-dns-race": "a race of two packets: not to be made at will",
    "snat-port-race": "a race of two connections: not to be made at will",
    "conntrack-invalid-rst": "resets in the middle of a transfer: debug transfers nothing large",
    "svc-ping-clusterip": "debug never pings a Service's address",
}
