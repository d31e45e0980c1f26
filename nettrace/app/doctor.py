"""
Doctor: what this machine has of what nettrace needs.

Lives here: looking at privilege, tools and the kernel.  Only files are read and programs
looked up, and a BPF program is loaded for a moment; no module is loaded and no namespace made.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from nettrace.observe.drop_events import tracefs
from nettrace.observe.drops import unavailable
from nettrace.render.contract_state import DoctorCheck

__all__ = ["examine"]

#: Capability numbers of include/uapi/linux/capability.h.
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_SYS_PTRACE": 19}

#: Tool -> (Debian package, what does not work without it).
_TOOLS = {
    "iptables": ("iptables", "reading and repairing iptables rules"),
    "iptables-nft": ("iptables", "reading rules of the nft back end"),
    "iptables-legacy-save": ("iptables", "reading rules of the legacy back end"),
    "ip": ("iproute2", "the lab, and repairs of routes and links"),
    "bridge": ("iproute2", "the lab, and repairs of FDB entries and bridge ports"),
    "ipset": ("ipset", "repairs of sets"),
    "conntrack": ("conntrack", "repairs that delete conntrack entries"),
    "sysctl": ("procps", "repairs of sysctls"),
    "nft": ("nftables", "the tests of the kernel"),
    "dnsmasq": ("dnsmasq-base", "the cluster DNS of the lab"),
}

#: Module -> (a symbol that shows it is in the running kernel, what does not work without it).
_MODULES = {
    "nf_conntrack": ("nf_conntrack_in", "NAT and stateful rules"),
    "nf_tables": ("nf_tables_newtable", "iptables of the nft back end"),
    "veth": ("veth_setup", "the lab"),
    "bridge": ("br_dev_setup", "the lab"),
    "br_netfilter": (
        "br_nf_pre_routing",
        "the lab's bridges as Kubernetes wants them (bridge-nf-call-iptables)",
    ),
    "vxlan": ("vxlan_xmit", "the lab flannel-vxlan"),
}


def examine() -> tuple[DoctorCheck, ...]:
    """Return all checks, in the order in which they matter."""
    checks = [_python(), *_capabilities(), _namespaces(), _own_sysctls(), _drops()]
    checks.extend(_tool(name) for name in _TOOLS)
    symbols = _symbols()
    checks.extend(_module(name, symbols) for name in _MODULES)
    return tuple(checks)


def _python() -> DoctorCheck:
    return DoctorCheck(
        name="python",
        state="ok" if sys.version_info >= (3, 11) else "missing",
        text=platform.python_version(),
        needed_for="everything",
        help="nettrace needs Python 3.11 or newer",
    )


def _capabilities() -> list[DoctorCheck]:
    purposes = {
        "CAP_NET_ADMIN": "reading rules and conntrack, repairs, the lab",
        "CAP_SYS_ADMIN": "entering namespaces, the lab",
        "CAP_SYS_PTRACE": "finding the namespaces that processes of others hold",
    }
    try:
        status = Path("/proc/self/status").read_text()
        effective = int(next(r.split()[1] for r in status.splitlines() if r.startswith("CapEff:")), 16)
    except (OSError, StopIteration, ValueError) as error:
        return [
            DoctorCheck(name=name, state="unknown", text=str(error) or "not in /proc", needed_for=purpose)
            for name, purpose in purposes.items()
        ]
    checks = []
    for name, purpose in purposes.items():
        has = bool(effective >> _CAPABILITIES[name] & 1)
        text = "there" if has else f"not there (uid {os.geteuid()})"
        checks.append(
            DoctorCheck(
                name=name,
                state="ok" if has else "missing",
                text=text,
                needed_for=purpose,
                help="" if has else "run nettrace as root",
            )
        )
    return checks


def _namespaces() -> DoctorCheck:
    there = Path("/proc/self/ns/net").exists()
    return DoctorCheck(
        name="network namespaces",
        state="ok" if there else "missing",
        text=f"kernel {platform.release()}",
        needed_for="everything beyond this machine's own namespace",
        help="" if there else "a kernel with CONFIG_NET_NS",
    )


def _own_sysctls() -> DoctorCheck:
    there = os.access("/proc/sys/net/ipv4/ip_forward", os.R_OK)
    writable = os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK)
    text = "readable and writable" if writable else "readable, not writable" if there else "not readable"
    return DoctorCheck(
        name="/proc/sys/net",
        state="ok" if writable else "missing",
        text=text,
        needed_for="walking at all" if not there else "repairs of sysctls, the lab",
        help="" if writable else "run as root, in a container with /proc/sys mounted read-write",
    )


def _drops() -> DoctorCheck:
    """Look whether drops can be watched; a program is loaded and at once let go."""
    why = unavailable()
    root = tracefs() if why else None
    instead = f"; {root} would give reasons without packets" if root is not None else ""
    return DoctorCheck(
        name="BPF",
        state="missing" if why else "ok",
        text=f"{why}{instead}" if why else "raw tracepoints and BTF",
        needed_for="watch, and where trace --probe's packets are dropped",
        help="root (CAP_BPF, CAP_PERFMON), and a kernel with CONFIG_DEBUG_INFO_BTF" if why else "",
    )


def _tool(name: str) -> DoctorCheck:
    package, purpose = _TOOLS[name]
    path = shutil.which(name)
    return DoctorCheck(
        name=name,
        state="ok" if path else "missing",
        text=path or "not in PATH",
        needed_for=purpose,
        help="" if path else f"on Debian: apt-get install {package}",
    )


def _symbols() -> frozenset[str]:
    """Return those symbols of the modules that the kernel has; readable by anybody, addresses aside."""
    wanted = {symbol for symbol, _ in _MODULES.values()}
    try:
        with Path("/proc/kallsyms").open() as listing:
            names = (line.split()[2] for line in listing)
            return frozenset(name for name in names if name in wanted)
    except (OSError, IndexError):
        return frozenset()


def _module(name: str, symbols: frozenset[str]) -> DoctorCheck:
    """Look for a module: in the running kernel, loadable, or not there."""
    symbol, purpose = _MODULES[name]
    if symbol in symbols or Path(f"/sys/module/{name}").exists():
        return DoctorCheck(name=name, state="ok", text="in the kernel", needed_for=purpose)
    folder = Path("/lib/modules") / platform.release()
    try:
        listed = (folder / "modules.dep").read_text().splitlines()
    except OSError:
        return DoctorCheck(
            name=name,
            state="unknown",
            text=f"not in the running kernel, and {folder} is not there to look in",
            needed_for=purpose,
            help=f"try: modprobe {name}",
        )
    if any(f"/{name}.ko" in entry.split(":")[0] for entry in listed):
        return DoctorCheck(name=name, state="ok", text="loadable", needed_for=purpose)
    return DoctorCheck(
        name=name, state="missing", text="not in this kernel", needed_for=purpose, help="another kernel"
    )
