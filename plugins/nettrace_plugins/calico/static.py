"""
The chains of Felix that are the same on every node.

Lives here: the frame, by table: jumps from the built-in chains, what comes before and after the pods' own
chains, natOutgoing, the checks of tunnels.  The layout is that of Calico 3.26.
Not here: pods (workloads) and policies (policies).
Source: felix/rules/static.go and nat.go.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from nettrace_plugins.calico.names import ALL_POOLS, HOSTS, MASQUERADED, TUNNEL, VTEPS, VXLAN
from nettrace_plugins.calico.rules import ACCEPT, ALL, SCRATCH0, cleared, commented, marked, unmarked

__all__ = ["APPENDED", "INSERTED", "NAT_OUTGOING", "Texts", "frame"]

#: Table -> chain -> texts of rules.
Texts: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]

#: What goes to the head of built-in chains.
INSERTED: Texts = {
    "raw": {name: [f"--jump cali-{name}"] for name in ("PREROUTING", "OUTPUT")},
    "mangle": {name: [f"--jump cali-{name}"] for name in ("PREROUTING", "POSTROUTING")},
    "nat": {name: [f"--jump cali-{name}"] for name in ("PREROUTING", "OUTPUT", "POSTROUTING")},
    "filter": {name: [f"--jump cali-{name}"] for name in ("INPUT", "FORWARD", "OUTPUT")},
}

#: What goes to their end.
APPENDED: Texts = {
    "filter": {
        "FORWARD": [
            commented("Policy explicitly accepted packet.", f"{marked(ACCEPT)} --jump ACCEPT"),
            f"--jump MARK --set-mark {ACCEPT:#x}/{ACCEPT:#x}",
        ]
    }
}

#: What masquerades, of packets from pools with natOutgoing to whatever is in no pool.
NAT_OUTGOING = (
    f"-m set --match-set {MASQUERADED} src -m set ! --match-set {ALL_POOLS} dst "
    "--jump MASQUERADE --random-fully"
)

_HOST_ACCEPTED = commented("Host endpoint policy accepted packet.", f"{marked(ACCEPT)} --jump ACCEPT")
_VXLAN = "-p 17 -m multiport --destination-ports 4789"


def frame(encapsulation: str, *, nat_outgoing: bool = True) -> Texts:
    """Return the frame; *encapsulation* is ``ipip``, ``vxlan`` or ``""`` for neither."""
    ipip, vxlan = encapsulation == "ipip", encapsulation == "vxlan"
    return {
        "raw": _raw(vxlan=vxlan),
        "mangle": _MANGLE,
        "nat": _nat({"ipip": TUNNEL, "vxlan": VXLAN}.get(encapsulation, ""), nat_outgoing=nat_outgoing),
        "filter": {
            "cali-INPUT": _input(ipip=ipip, vxlan=vxlan),
            "cali-wl-to-host": [
                "--jump cali-from-wl-dispatch",
                commented("Configured DefaultEndpointToHostAction", "--jump ACCEPT"),
            ],
            "cali-FORWARD": _FORWARD,
            "cali-OUTPUT": _output(ipip=ipip, vxlan=vxlan),
            **{name: [] for name in _WITHOUT_HOST_ENDPOINTS},
        },
    }


#: Chains that only host endpoints, and the blocking of Service loops, put rules into.
_WITHOUT_HOST_ENDPOINTS = (
    *("cali-from-host-endpoint", "cali-to-host-endpoint", "cali-from-hep-forward", "cali-to-hep-forward"),
    "cali-cidr-block",
)

_FORWARD = [
    cleared(ALL & ~ACCEPT),
    f"{unmarked(ACCEPT)} --jump cali-from-hep-forward",
    "--in-interface cali+ --jump cali-from-wl-dispatch",
    "--out-interface cali+ --jump cali-to-wl-dispatch",
    "--jump cali-to-hep-forward",
    "--jump cali-cidr-block",
]

_MANGLE = {
    "cali-PREROUTING": [
        "-m conntrack --ctstate RELATED,ESTABLISHED --jump ACCEPT",
        f"{marked(ACCEPT)} --jump ACCEPT",
        "--jump cali-from-host-endpoint",
        _HOST_ACCEPTED,
    ],
    "cali-POSTROUTING": [
        f"{marked(ACCEPT)} --jump RETURN",
        cleared(ALL),
        "-m conntrack --ctstate DNAT --jump cali-to-host-endpoint",
        commented("Host endpoint policy accepted packet.", f"{marked(ACCEPT)} --jump RETURN"),
    ],
    "cali-from-host-endpoint": [],
    "cali-to-host-endpoint": [],
}


def _input(*, ipip: bool, vxlan: bool) -> list[str]:
    found = []
    if ipip:
        known = f"-p 4 -m set --match-set {HOSTS} src -m addrtype --dst-type LOCAL --jump ACCEPT"
        found.append(commented("Allow IPIP packets from Calico hosts", known))
        found.append(commented("Drop IPIP packets from non-Calico hosts", "-p 4 --jump DROP"))
    if vxlan:
        local = "-m addrtype --dst-type LOCAL"
        known = f"{_VXLAN} -m set --match-set {VTEPS} src {local} --jump ACCEPT"
        found.append(commented("Allow IPv4 VXLAN packets from allowed hosts", known))
        found.append(
            commented("Drop IPv4 VXLAN packets from non-allowed hosts", f"{_VXLAN} {local} --jump DROP")
        )
    return [
        *found,
        "--in-interface cali+ --goto cali-wl-to-host",
        f"{marked(ACCEPT)} --jump ACCEPT",
        cleared(ALL),
        "--jump cali-from-host-endpoint",
        _HOST_ACCEPTED,
    ]


def _output(*, ipip: bool, vxlan: bool) -> list[str]:
    found = [f"{marked(ACCEPT)} --jump ACCEPT", "--out-interface cali+ --jump RETURN"]
    local = "-m addrtype --src-type LOCAL --jump ACCEPT"
    if ipip:
        known = f"-p 4 -m set --match-set {HOSTS} dst {local}"
        found.append(commented("Allow IPIP packets to other Calico hosts", known))
    if vxlan:
        known = f"{_VXLAN} -m set --match-set {VTEPS} dst {local}"
        found.append(commented("Allow IPv4 VXLAN packets to other allowed hosts", known))
    return [
        *found,
        cleared(ALL),
        "-m conntrack ! --ctstate DNAT --jump cali-to-host-endpoint",
        _HOST_ACCEPTED,
    ]


def _raw(*, vxlan: bool) -> dict[str, list[str]]:
    untracked = ["-p udp -m udp --dport 4789 --jump NOTRACK"] if vxlan else []
    return {
        "cali-PREROUTING": [
            cleared(ALL),
            *untracked,
            f"--in-interface cali+ --jump MARK --set-mark {SCRATCH0:#x}/{SCRATCH0:#x}",
            f"{marked(SCRATCH0)} --jump cali-rpf-skip",
            f"{marked(SCRATCH0)} -m rpfilter --invert --validmark --jump DROP",
            f"{unmarked(SCRATCH0)} --jump cali-from-host-endpoint",
            f"{marked(ACCEPT)} --jump ACCEPT",
        ],
        "cali-OUTPUT": [
            cleared(ALL),
            "--jump cali-to-host-endpoint",
            *untracked,
            f"{marked(ACCEPT)} --jump ACCEPT",
        ],
        "cali-rpf-skip": [],
        "cali-from-host-endpoint": [],
        "cali-to-host-endpoint": [],
    }


def _nat(device: str, *, nat_outgoing: bool) -> dict[str, list[str]]:
    wrong_source = (
        f"--out-interface {device} -m addrtype ! --src-type LOCAL --limit-iface-out "
        "-m addrtype --src-type LOCAL --jump MASQUERADE --random-fully"
    )
    return {
        "cali-PREROUTING": ["--jump cali-fip-dnat"],
        "cali-OUTPUT": ["--jump cali-fip-dnat"],
        "cali-POSTROUTING": [
            "--jump cali-fip-snat",
            "--jump cali-nat-outgoing",
            *([wrong_source] if device else []),
        ],
        "cali-fip-dnat": [],
        "cali-fip-snat": [],
        "cali-nat-outgoing": [NAT_OUTGOING] if nat_outgoing else [],
    }
