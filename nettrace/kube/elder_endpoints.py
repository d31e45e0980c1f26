"""
Which endpoints took the traffic of a service port before the traffic policies had chains of their own.

Lives here: the choice of kube-proxy 1.20 to 1.23 (FilterEndpoints in pkg/proxy/topology.go, and
what syncProxyRules made of it).
Not here: that of later ones (endpoints), rules.
"""

from collections.abc import Sequence

from nettrace.kube.endpoints import Backend, Choice
from nettrace.kube.services import ProxiedPort
from nettrace.kube.traits import Traits

__all__ = ["choose_elder"]


def choose_elder(everyone: Sequence[Backend], port: ProxiedPort, *, zone: str, known: Traits) -> Choice:
    """
    Choose the endpoints of *port* among all of them, in their order.

    ``cluster`` are those for traffic from inside, under whatever policy, ``local`` this node's for
    outside traffic of policy Local.  Without an endpoint that fits the internal policy there is
    none for outside traffic either.
    """
    kept = _kept(everyone, port, zone, known)
    ready = tuple(b for b in kept if b.ready)
    draining = tuple(b for b in kept if b.drains and not b.ready)
    if not (port.node_local and known.terminating):  # only outside traffic of policy Local takes these
        draining = ()
    local: tuple[Backend, ...] = ()
    if port.node_local:
        local = tuple(b for b in ready if b.local) or tuple(b for b in draining if b.local)
    used = {b.text for b in (*ready, *local)}
    reachable = tuple(b for b in kept if b.text in used)
    return Choice(cluster=ready, local=local, reachable=reachable, exists=bool(ready or draining))


def _kept(everyone: Sequence[Backend], port: ProxiedPort, zone: str, known: Traits) -> tuple[Backend, ...]:
    """Outside policy Local goes before the internal one, and that before the zone's hints."""
    if port.node_local:
        return tuple(everyone)
    if known.internal_policy and port.internal_local:
        return tuple(b for b in everyone if b.local)
    if known.hints_zones(port.service.annotations) and zone and all(b.hints_zones for b in everyone):
        return tuple(b for b in everyone if zone in b.hints_zones) or tuple(everyone)
    return tuple(everyone)
