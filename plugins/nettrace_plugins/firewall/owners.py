"""
Who writes which chains: ufw, firewalld, and agents that have no plugin of their own.

Source: ufw 0.36 (src/ufw-init-functions, src/backend_iptables.py), firewalld 1.3
(src/firewall/core/ipXtables.py, nftables.py); the rules of both in fixtures/firewalls.
"""

from nettrace.model.owner import Owner

__all__ = ["AGENTS", "FIREWALLD", "UFW"]

UFW = Owner(
    name="ufw",
    chains=("ufw-", "ufw6-"),
    told=True,
    builtin=True,
    overwritten="lost when ufw is reloaded or the machine starts",
    lasting={
        "forward": "ufw route allow proto {proto} from {src} to {dst} port {dport}",
        "input": "ufw allow proto {proto} from {src} to {dst} port {dport}",
        "output": "ufw allow out proto {proto} to {dst} port {dport}",
    },
)

_RELOAD = "firewall-cmd --reload"
_TRUST = "firewall-cmd --permanent --zone=trusted --add-source="

FIREWALLD = Owner(
    name="firewalld",
    chains=(
        *("IN_", "FWD_", "FWDI_", "FWDO_", "PRE_", "POST_"),
        *(
            f"{hook}_{what}"
            for hook in ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING")
            for what in ("direct", "ZONES", "POLICIES", "IN_ZONES", "OUT_ZONES")
        ),
    ),
    tables=("inet firewalld", "ip firewalld", "ip6 firewalld"),
    told=True,
    builtin=True,
    overwritten="lost when firewalld is reloaded or restarted",
    lasting={
        "forward": f"{_TRUST}{{src}}; {_TRUST}{{dst}} (or the pods' network as a whole); {_RELOAD}",
        "input": f"firewall-cmd --permanent --add-port={{dport}}/{{proto}}; {_RELOAD}",
    },
    flushes="firewalld empties iptables' tables when it starts and when it is reloaded",
)

#: Agents of networks and containers whose chains are known by name alone.
AGENTS = (
    Owner(
        name="the CNI plugin portmap",
        chains=("CNI-",),
        overwritten="the plugin writes its own once, when the pod is made",
    ),
)
