"""
The sysctls that decide about packets.

Lives here: which ones, and reading them below /proc/sys/net, which shows the namespace of the
thread that opens a file.
Not here: all others; walking the whole tree costs more than everything else together.
"""

import os
from pathlib import Path

__all__ = ["read_sysctls"]

_ROOT = Path("/proc/sys/net")

_IPV4 = (
    "fib_multipath_hash_policy",
    "fwmark_reflect",
    "icmp_echo_ignore_all",
    "icmp_errors_use_inbound_ifaddr",
    "ip_default_ttl",
    "ip_forward",
    "ip_forward_use_pmtu",
    "ip_local_port_range",
    "ip_nonlocal_bind",
    "tcp_ecn",
    "tcp_fwmark_accept",
    "tcp_sack",
    "tcp_timestamps",
    "tcp_window_scaling",
)
_IPV4_DEVICE = (
    "accept_local",
    "accept_redirects",  # of ``all``: turned over by ip_forward, and restored when that is taken back
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "arp_notify",
    "bc_forwarding",
    "disable_policy",
    "disable_xfrm",
    "forwarding",
    "ignore_routes_with_linkdown",
    "log_martians",
    "proxy_arp",
    "route_localnet",
    "rp_filter",
    "send_redirects",
    "src_valid_mark",
)
_IPV6 = (
    "anycast_src_echo_reply",
    "bindv6only",
    "fib_multipath_hash_policy",
    "fwmark_reflect",
    "icmp/echo_ignore_all",
    "icmp/echo_ignore_anycast",
    "icmp/error_anycast_as_unicast",
    "ip_nonlocal_bind",
)
_IPV6_DEVICE = (
    "accept_dad",
    "accept_ra",
    "disable_ipv6",
    "disable_policy",
    "force_forwarding",
    "forwarding",
    "hop_limit",
    "ignore_routes_with_linkdown",
    "mtu",
    "proxy_ndp",
    "use_oif_addrs_only",
    "use_tempaddr",
)

#: Absent unless br_netfilter is there; their absence means that bridges do not call iptables.
_BRIDGE = (
    "bridge-nf-call-arptables",
    "bridge-nf-call-ip6tables",
    "bridge-nf-call-iptables",
    "bridge-nf-filter-vlan-tagged",
    "bridge-nf-pass-vlan-input-dev",
)
#: Absent unless the kernel has SCTP; one is enough to know.
_SCTP = ("addip_enable",)
#: Absent unless IPVS is there.
_IPVS = (
    "backup_only",
    "cache_bypass",
    "conn_reuse_mode",
    "conntrack",
    "drop_entry",
    "drop_packet",
    "expire_nodest_conn",
    "expire_quiescent_template",
    "nat_icmp_send",
    "pmtu_disc",
    "schedule_icmp",
    "sloppy_tcp",
    "snat_reroute",
)
#: Absent unless nf_conntrack is there.
_NETFILTER = (
    "nf_conntrack_buckets",
    "nf_conntrack_checksum",
    "nf_conntrack_count",
    "nf_conntrack_max",
    "nf_conntrack_tcp_be_liberal",
    "nf_conntrack_tcp_loose",
)


def read_sysctls() -> dict[str, str]:
    """
    Read the chosen sysctls of the calling thread's namespace, by dotted name.

    One that the kernel does not have is not in the answer.  Numbers in one value are separated
    by one blank.  A device's own dots are kept as ``/``, as sysctl(8) does.  OSError if
    /proc/sys/net itself cannot be read.
    """
    _ROOT.stat()  # an absent /proc/sys must not look like a kernel without sysctls
    found: dict[str, str] = {}
    names: tuple[str, ...]
    for directory, names in (
        ("ipv4", _IPV4),
        ("ipv4/vs", _IPVS),
        ("ipv6", _IPV6),
        ("bridge", _BRIDGE),
        ("netfilter", _NETFILTER),
        ("sctp", _SCTP),
    ):
        for name in names:
            _read(found, f"net.{directory}.{name}".replace("/", "."), f"{_ROOT}/{directory}/{name}")
    for directory, names in (("ipv4/conf", _IPV4_DEVICE), ("ipv6/conf", _IPV6_DEVICE)):
        prefix = f"net.{directory.replace('/', '.')}"
        for device in _devices(directory):
            for name in names:
                _read(
                    found,
                    f"{prefix}.{device.replace('.', '/')}.{name}",
                    f"{_ROOT}/{directory}/{device}/{name}",
                )
    return found


def _devices(directory: str) -> list[str]:
    try:
        return sorted(path.name for path in (_ROOT / directory).iterdir())
    except FileNotFoundError:
        return []  # a kernel without IPv6


def _read(found: dict[str, str], name: str, path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            found[name] = " ".join(os.read(descriptor, 4096).decode().split())
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        pass  # this kernel has it not, or the device went away, be it after the file was opened
