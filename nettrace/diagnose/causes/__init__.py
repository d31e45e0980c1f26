"""
The core's causes, one file each: id, words, evidence, candidates.

Pure.  They know Kubernetes and the kernel; a cause that needs to know another system belongs
to that system's plugin.  One without candidates is about objects rather than a node's state: the
guided flow (nettrace.diagnose.guide) finds it.
"""

from nettrace.diagnose.cause import Cause
from nettrace.diagnose.causes.bpf_datapath_opaque import BPF_DATAPATH_OPAQUE
from nettrace.diagnose.causes.bridge_address_missing import BRIDGE_ADDRESS_MISSING
from nettrace.diagnose.causes.bridge_down import BRIDGE_DOWN
from nettrace.diagnose.causes.bridge_nf_off import BRIDGE_NF_OFF
from nettrace.diagnose.causes.bridge_port_disabled import BRIDGE_PORT_DISABLED
from nettrace.diagnose.causes.bridge_port_isolated import BRIDGE_PORT_ISOLATED
from nettrace.diagnose.causes.clustercidr_wrong import CLUSTERCIDR_WRONG
from nettrace.diagnose.causes.cni_bridge_old_address import CNI_BRIDGE_OLD_ADDRESS
from nettrace.diagnose.causes.cni_conf_broken import CNI_CONF_BROKEN
from nettrace.diagnose.causes.cni_conf_leftover import CNI_CONF_LEFTOVER
from nettrace.diagnose.causes.cni_conf_missing import CNI_CONF_MISSING
from nettrace.diagnose.causes.cni_subnet_mismatch import CNI_SUBNET_MISMATCH
from nettrace.diagnose.causes.conntrack_stale_udp import CONNTRACK_STALE_UDP
from nettrace.diagnose.causes.dns_coredns_down import DNS_COREDNS_DOWN
from nettrace.diagnose.causes.dns_hostnetwork import DNS_HOSTNETWORK
from nettrace.diagnose.causes.dns_no_record import DNS_NO_RECORD
from nettrace.diagnose.causes.dns_search_incomplete import DNS_SEARCH_INCOMPLETE
from nettrace.diagnose.causes.dns_search_wildcard import DNS_SEARCH_WILDCARD
from nettrace.diagnose.causes.dns_udp_blocked import DNS_UDP_BLOCKED
from nettrace.diagnose.causes.dns_wrong_clusterdns import DNS_WRONG_CLUSTERDNS
from nettrace.diagnose.causes.duplicate_ip import DUPLICATE_IP
from nettrace.diagnose.causes.duplicate_mac import DUPLICATE_MAC
from nettrace.diagnose.causes.etp_local_hostname_mismatch import ETP_LOCAL_HOSTNAME_MISMATCH
from nettrace.diagnose.causes.etp_local_no_endpoint import ETP_LOCAL_NO_ENDPOINT
from nettrace.diagnose.causes.fdb_stale_remote import FDB_STALE_REMOTE
from nettrace.diagnose.causes.firewall_rule_drop import FIREWALL_RULE_DROP
from nettrace.diagnose.causes.forward_policy_drop import FORWARD_POLICY_DROP
from nettrace.diagnose.causes.forward_reject_host_prohibited import FORWARD_REJECT_HOST_PROHIBITED
from nettrace.diagnose.causes.hairpin_masq_missing import HAIRPIN_MASQ_MISSING
from nettrace.diagnose.causes.hairpin_off import HAIRPIN_OFF
from nettrace.diagnose.causes.healthcheck_nodeport_failing import HEALTHCHECK_NODEPORT_FAILING
from nettrace.diagnose.causes.iface_forwarding_off import IFACE_FORWARDING_OFF
from nettrace.diagnose.causes.input_drop_kills_node_clients import INPUT_DROP_KILLS_NODE_CLIENTS
from nettrace.diagnose.causes.ip_forward_off import IP_FORWARD_OFF
from nettrace.diagnose.causes.ipam_leaked_ips import IPAM_LEAKED_IPS
from nettrace.diagnose.causes.ipam_lease_missing import IPAM_LEASE_MISSING
from nettrace.diagnose.causes.ipam_range_exhausted import IPAM_RANGE_EXHAUSTED
from nettrace.diagnose.causes.iptables_legacy_nft_mix import IPTABLES_LEGACY_NFT_MIX
from nettrace.diagnose.causes.ipvs_conntrack_off import IPVS_CONNTRACK_OFF
from nettrace.diagnose.causes.ipvs_ipset_missing import IPVS_IPSET_MISSING
from nettrace.diagnose.causes.ipvs_no_real_servers import IPVS_NO_REAL_SERVERS
from nettrace.diagnose.causes.ipvs_rs_weight0 import IPVS_RS_WEIGHT0
from nettrace.diagnose.causes.ipvs_stale_real_server import IPVS_STALE_REAL_SERVER
from nettrace.diagnose.causes.ipvs_vip_missing import IPVS_VIP_MISSING
from nettrace.diagnose.causes.itp_local_no_endpoint import ITP_LOCAL_NO_ENDPOINT
from nettrace.diagnose.causes.kube_postrouting_missing import KUBE_POSTROUTING_MISSING
from nettrace.diagnose.causes.kubeproxy_not_running import KUBEPROXY_NOT_RUNNING
from nettrace.diagnose.causes.lb_source_ranges import LB_SOURCE_RANGES
from nettrace.diagnose.causes.martian_local_source import MARTIAN_LOCAL_SOURCE
from nettrace.diagnose.causes.masq_pod_to_pod import MASQ_POD_TO_POD
from nettrace.diagnose.causes.masquerade_all import MASQUERADE_ALL
from nettrace.diagnose.causes.masquerade_missing import MASQUERADE_MISSING
from nettrace.diagnose.causes.mtu_pod_too_big import MTU_POD_TOO_BIG
from nettrace.diagnose.causes.mtu_underlay_blackhole import MTU_UNDERLAY_BLACKHOLE
from nettrace.diagnose.causes.netpol import (
    DNS_POLICY_EGRESS_BLOCKED,
    NETPOL_DEFAULT_DENY,
    NETPOL_HOSTNETWORK,
    NETPOL_NAMESPACE_LABEL,
    NETPOL_SERVICE_PORT,
)
from nettrace.diagnose.causes.netpol_ipblock_snat import NETPOL_IPBLOCK_SNAT
from nettrace.diagnose.causes.netpol_not_enforced import NETPOL_NOT_ENFORCED
from nettrace.diagnose.causes.netpol_stale_chain import NETPOL_STALE_CHAIN
from nettrace.diagnose.causes.nft_foreign_drop import NFT_FOREIGN_DROP
from nettrace.diagnose.causes.nft_table_gone import NFT_TABLE_GONE
from nettrace.diagnose.causes.node_no_default_route import NODE_NO_DEFAULT_ROUTE
from nettrace.diagnose.causes.nodeport_addresses_excluded import NODEPORT_ADDRESSES_EXCLUDED
from nettrace.diagnose.causes.notrack_on_service import NOTRACK_ON_SERVICE
from nettrace.diagnose.causes.overlay_udp_blocked import OVERLAY_UDP_BLOCKED
from nettrace.diagnose.causes.owed_state_missing import OWED_STATE_MISSING
from nettrace.diagnose.causes.pod_address_missing import POD_ADDRESS_MISSING
from nettrace.diagnose.causes.pod_default_route_missing import POD_DEFAULT_ROUTE_MISSING
from nettrace.diagnose.causes.pod_ip_stale import POD_IP_STALE
from nettrace.diagnose.causes.pod_not_listening import POD_NOT_LISTENING
from nettrace.diagnose.causes.pod_route_missing import POD_ROUTE_MISSING
from nettrace.diagnose.causes.pod_sandbox_missing import POD_SANDBOX_MISSING
from nettrace.diagnose.causes.pod_unscheduled import POD_UNSCHEDULED
from nettrace.diagnose.causes.pod_wrong_netmask import POD_WRONG_NETMASK
from nettrace.diagnose.causes.podcidr_duplicate import PODCIDR_DUPLICATE
from nettrace.diagnose.causes.podcidr_missing import PODCIDR_MISSING
from nettrace.diagnose.causes.podcidr_overlaps_host_net import PODCIDR_OVERLAPS_HOST_NET
from nettrace.diagnose.causes.policy_rule_hijack import POLICY_RULE_HIJACK
from nettrace.diagnose.causes.proxy_mode_switch_leftover import PROXY_MODE_SWITCH_LEFTOVER
from nettrace.diagnose.causes.published_secondary_iface_asym import PUBLISHED_SECONDARY_IFACE_ASYM
from nettrace.diagnose.causes.reject_route import REJECT_ROUTE
from nettrace.diagnose.causes.route_localnet_off import ROUTE_LOCALNET_OFF
from nettrace.diagnose.causes.rp_filter_strict import RP_FILTER_STRICT
from nettrace.diagnose.causes.rules_flushed import RULES_FLUSHED
from nettrace.diagnose.causes.service_jump_missing import SERVICE_JUMP_MISSING
from nettrace.diagnose.causes.service_output_jump_missing import SERVICE_OUTPUT_JUMP_MISSING
from nettrace.diagnose.causes.service_rules_absent import SERVICE_RULES_ABSENT
from nettrace.diagnose.causes.session_affinity_stuck import SESSION_AFFINITY_STUCK
from nettrace.diagnose.causes.stale_endpoint_rule import STALE_ENDPOINT_RULE
from nettrace.diagnose.causes.stale_permanent_neigh import STALE_PERMANENT_NEIGH
from nettrace.diagnose.causes.svc_app_listens_localhost import SVC_APP_LISTENS_LOCALHOST
from nettrace.diagnose.causes.svc_endpoints_stale import SVC_ENDPOINTS_STALE
from nettrace.diagnose.causes.svc_externalname import SVC_EXTERNALNAME
from nettrace.diagnose.causes.svc_foreign_proxy import SVC_FOREIGN_PROXY
from nettrace.diagnose.causes.svc_headless_port import SVC_HEADLESS_PORT
from nettrace.diagnose.causes.svc_ipfamily_mismatch import SVC_IPFAMILY_MISMATCH
from nettrace.diagnose.causes.svc_missing import SVC_MISSING
from nettrace.diagnose.causes.svc_named_port_mismatch import SVC_NAMED_PORT_MISMATCH
from nettrace.diagnose.causes.svc_no_ready_endpoints import SVC_NO_READY_ENDPOINTS
from nettrace.diagnose.causes.svc_port_not_listed import SVC_PORT_NOT_LISTED
from nettrace.diagnose.causes.svc_protocol_mismatch import SVC_PROTOCOL_MISMATCH
from nettrace.diagnose.causes.svc_selector_mismatch import SVC_SELECTOR_MISMATCH
from nettrace.diagnose.causes.svc_wrong_namespace import SVC_WRONG_NAMESPACE
from nettrace.diagnose.causes.svc_wrong_targetport import SVC_WRONG_TARGETPORT
from nettrace.diagnose.causes.tunnel_link_down import TUNNEL_LINK_DOWN
from nettrace.diagnose.causes.veth_detached import VETH_DETACHED
from nettrace.diagnose.causes.veth_host_down import VETH_HOST_DOWN
from nettrace.diagnose.causes.vni_mismatch import VNI_MISMATCH
from nettrace.diagnose.causes.vtep_mac_mismatch import VTEP_MAC_MISMATCH
from nettrace.diagnose.causes.vxlan_checksum_offload import VXLAN_CHECKSUM_OFFLOAD
from nettrace.diagnose.causes.vxlan_port_mismatch import VXLAN_PORT_MISMATCH
from nettrace.diagnose.causes.wrong_next_hop import WRONG_NEXT_HOP
from nettrace.diagnose.causes.xfrm_policy_drop import XFRM_POLICY_DROP

__all__ = ["CAUSES"]

CAUSES: tuple[Cause, ...] = (
    MTU_UNDERLAY_BLACKHOLE,
    DNS_SEARCH_WILDCARD,
    CONNTRACK_STALE_UDP,
    ROUTE_LOCALNET_OFF,
    NODEPORT_ADDRESSES_EXCLUDED,
    LB_SOURCE_RANGES,
    CLUSTERCIDR_WRONG,
    MASQUERADE_ALL,
    MTU_POD_TOO_BIG,
    BPF_DATAPATH_OPAQUE,
    BRIDGE_ADDRESS_MISSING,
    FDB_STALE_REMOTE,
    MARTIAN_LOCAL_SOURCE,
    POD_WRONG_NETMASK,
    VNI_MISMATCH,
    VXLAN_CHECKSUM_OFFLOAD,
    VTEP_MAC_MISMATCH,
    VXLAN_PORT_MISMATCH,
    NFT_TABLE_GONE,
    BRIDGE_DOWN,
    BRIDGE_PORT_DISABLED,
    BRIDGE_PORT_ISOLATED,
    FIREWALL_RULE_DROP,
    FORWARD_REJECT_HOST_PROHIBITED,
    HAIRPIN_MASQ_MISSING,
    HEALTHCHECK_NODEPORT_FAILING,
    IFACE_FORWARDING_OFF,
    INPUT_DROP_KILLS_NODE_CLIENTS,
    MASQ_POD_TO_POD,
    NFT_FOREIGN_DROP,
    NODE_NO_DEFAULT_ROUTE,
    NOTRACK_ON_SERVICE,
    OVERLAY_UDP_BLOCKED,
    POD_DEFAULT_ROUTE_MISSING,
    POLICY_RULE_HIJACK,
    PUBLISHED_SECONDARY_IFACE_ASYM,
    REJECT_ROUTE,
    STALE_PERMANENT_NEIGH,
    TUNNEL_LINK_DOWN,
    VETH_DETACHED,
    VETH_HOST_DOWN,
    WRONG_NEXT_HOP,
    XFRM_POLICY_DROP,
    BRIDGE_NF_OFF,
    DNS_COREDNS_DOWN,
    DNS_HOSTNETWORK,
    DNS_NO_RECORD,
    DNS_POLICY_EGRESS_BLOCKED,
    DNS_SEARCH_INCOMPLETE,
    DNS_UDP_BLOCKED,
    DNS_WRONG_CLUSTERDNS,
    DUPLICATE_IP,
    DUPLICATE_MAC,
    ETP_LOCAL_HOSTNAME_MISMATCH,
    ETP_LOCAL_NO_ENDPOINT,
    FORWARD_POLICY_DROP,
    HAIRPIN_OFF,
    IP_FORWARD_OFF,
    IPTABLES_LEGACY_NFT_MIX,
    IPVS_CONNTRACK_OFF,
    IPVS_IPSET_MISSING,
    IPVS_NO_REAL_SERVERS,
    IPVS_RS_WEIGHT0,
    IPVS_STALE_REAL_SERVER,
    IPVS_VIP_MISSING,
    ITP_LOCAL_NO_ENDPOINT,
    KUBE_POSTROUTING_MISSING,
    KUBEPROXY_NOT_RUNNING,
    MASQUERADE_MISSING,
    NETPOL_DEFAULT_DENY,
    NETPOL_HOSTNETWORK,
    NETPOL_IPBLOCK_SNAT,
    NETPOL_NAMESPACE_LABEL,
    NETPOL_NOT_ENFORCED,
    NETPOL_SERVICE_PORT,
    NETPOL_STALE_CHAIN,
    OWED_STATE_MISSING,
    POD_NOT_LISTENING,
    POD_ROUTE_MISSING,
    PROXY_MODE_SWITCH_LEFTOVER,
    RP_FILTER_STRICT,
    RULES_FLUSHED,
    SERVICE_JUMP_MISSING,
    SERVICE_OUTPUT_JUMP_MISSING,
    SERVICE_RULES_ABSENT,
    SESSION_AFFINITY_STUCK,
    STALE_ENDPOINT_RULE,
    SVC_APP_LISTENS_LOCALHOST,
    SVC_ENDPOINTS_STALE,
    SVC_EXTERNALNAME,
    SVC_FOREIGN_PROXY,
    SVC_HEADLESS_PORT,
    SVC_IPFAMILY_MISMATCH,
    SVC_MISSING,
    SVC_NAMED_PORT_MISMATCH,
    SVC_NO_READY_ENDPOINTS,
    SVC_PORT_NOT_LISTED,
    SVC_PROTOCOL_MISMATCH,
    SVC_SELECTOR_MISMATCH,
    SVC_WRONG_NAMESPACE,
    SVC_WRONG_TARGETPORT,
    POD_UNSCHEDULED,
    PODCIDR_MISSING,
    PODCIDR_OVERLAPS_HOST_NET,
    PODCIDR_DUPLICATE,
    CNI_CONF_MISSING,
    CNI_CONF_BROKEN,
    CNI_CONF_LEFTOVER,
    CNI_SUBNET_MISMATCH,
    CNI_BRIDGE_OLD_ADDRESS,
    IPAM_RANGE_EXHAUSTED,
    IPAM_LEAKED_IPS,
    IPAM_LEASE_MISSING,
    POD_SANDBOX_MISSING,
    POD_ADDRESS_MISSING,
    POD_IP_STALE,
)
