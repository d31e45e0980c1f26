"""
The sysctls that decide a packet's way, and what the kernel has for them by default.

Lives here: names.  ``*`` stands for ``all`` and for each device.
Source of the defaults: Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst, and
net/ipv4/devinet.c (ipv4_devconf), net/ipv6/addrconf.c (ipv6_devconf).  Forwarding and
rp_filter have none here: distributions and administrators set them, so a snapshot without
them does not decide.
"""

__all__ = ["DEFAULTS", "SYSCTLS"]

#: Everything the walk may ask for.
SYSCTLS: tuple[str, ...] = (
    "net.ipv4.conf.*.forwarding",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.conf.*.accept_local",
    "net.ipv4.conf.*.arp_announce",
    "net.ipv4.conf.*.arp_filter",
    "net.ipv4.conf.*.arp_ignore",
    "net.ipv4.conf.*.bc_forwarding",
    "net.ipv4.conf.*.ignore_routes_with_linkdown",
    "net.ipv4.conf.*.proxy_arp",
    "net.ipv4.conf.*.route_localnet",
    "net.ipv4.conf.*.send_redirects",
    "net.ipv4.conf.*.src_valid_mark",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.fwmark_reflect",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.icmp_errors_use_inbound_ifaddr",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_forward_use_pmtu",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_fwmark_accept",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_window_scaling",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv6.conf.*.disable_ipv6",
    "net.ipv6.conf.*.force_forwarding",
    "net.ipv6.conf.*.forwarding",
    "net.ipv6.conf.*.hop_limit",
    "net.ipv6.conf.*.ignore_routes_with_linkdown",
    "net.ipv6.conf.*.mtu",
    "net.ipv6.conf.*.proxy_ndp",
    "net.ipv6.conf.*.use_oif_addrs_only",
    "net.ipv6.conf.*.use_tempaddr",
    "net.ipv6.anycast_src_echo_reply",
    "net.ipv6.fwmark_reflect",
    "net.ipv6.icmp.echo_ignore_all",
)

DEFAULTS: dict[str, str] = {
    "net.ipv4.conf.*.accept_local": "0",
    "net.ipv4.conf.*.arp_announce": "0",
    "net.ipv4.conf.*.arp_filter": "0",
    "net.ipv4.conf.*.arp_ignore": "0",
    "net.ipv4.conf.*.bc_forwarding": "0",
    "net.ipv4.conf.*.ignore_routes_with_linkdown": "0",
    "net.ipv4.conf.*.proxy_arp": "0",
    "net.ipv4.conf.*.route_localnet": "0",
    "net.ipv4.conf.*.send_redirects": "1",
    "net.ipv4.conf.*.src_valid_mark": "0",
    "net.ipv4.fib_multipath_hash_policy": "0",
    "net.ipv4.fwmark_reflect": "0",
    "net.ipv4.icmp_echo_ignore_all": "0",
    "net.ipv4.icmp_errors_use_inbound_ifaddr": "0",
    "net.ipv4.ip_default_ttl": "64",
    "net.ipv4.ip_forward_use_pmtu": "0",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.tcp_ecn": "2",
    "net.ipv4.tcp_fwmark_accept": "0",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_window_scaling": "1",
    "net.netfilter.nf_conntrack_tcp_be_liberal": "0",
    "net.netfilter.nf_conntrack_tcp_loose": "1",
    # without br_netfilter the switch does not exist and bridged packets meet no ip hooks
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
    "net.ipv6.conf.*.disable_ipv6": "0",
    "net.ipv6.conf.*.force_forwarding": "0",  # kernels before 6.17 do not have it
    "net.ipv6.conf.*.hop_limit": "64",
    "net.ipv6.conf.*.ignore_routes_with_linkdown": "0",
    "net.ipv6.conf.*.proxy_ndp": "0",
    "net.ipv6.conf.*.use_oif_addrs_only": "0",
    "net.ipv6.conf.*.use_tempaddr": "0",
    "net.ipv6.anycast_src_echo_reply": "0",
    "net.ipv6.fwmark_reflect": "0",
    "net.ipv6.icmp.echo_ignore_all": "0",
}
