"""The choice of endpoints before the traffic policies had chains of their own, 1.20 to 1.23."""

import pytest
from msgspec.structs import replace

from nettrace.kube.elder_endpoints import choose_elder
from nettrace.kube.endpoints import Backend, Choice
from nettrace.kube.services import proxied_ports
from nettrace.kube.traits import traits
from nettrace.model.kube import KubeProxyConfig, Service
from tests.kube.test_iptables import WEB

HERE = Backend(address="10.244.1.5", port=8080, local=True, hints_zones=("a",))
THERE = Backend(address="10.244.2.5", port=8080, hints_zones=("b",))
LEAVING = replace(HERE, address="10.244.1.6", ready=False, terminating=True)
OUTSIDE_LOCAL = replace(WEB, external_traffic_policy="Local")
HINTS = {"TopologyAwareHints": True}
HINTED = {"service.kubernetes.io/topology-aware-hints": "Auto"}


def chosen(
    version: str, service: Service, *everyone: Backend, zone: str = "a", gates: dict[str, bool] | None = None
) -> Choice:
    """The choice on a node in *zone*."""
    known = traits(KubeProxyConfig(version=version, feature_gates=gates or {}))
    return choose_elder(everyone, proxied_ports((service,), 4)[0], zone=zone, known=known)


def test_policy_local_from_outside() -> None:
    """FilterEndpoints returns all endpoints then; KUBE-XLB takes this node's."""
    found = chosen("1.23", replace(OUTSIDE_LOCAL, internal_traffic_policy="Local"), HERE, THERE)
    assert (found.cluster, found.local) == ((HERE, THERE), (HERE,))
    assert chosen("1.23", OUTSIDE_LOCAL, THERE).local == ()
    assert chosen("1.23", WEB, HERE).local == ()


@pytest.mark.parametrize(("version", "kept"), [("1.21", (HERE, THERE)), ("1.22", (HERE,))])
def test_policy_local_from_inside_is_heeded_since_1_22(version: str, kept: tuple[Backend, ...]) -> None:
    """FilterEndpoints then leaves the Service this node's: without one it has no endpoints at all."""
    service = replace(WEB, internal_traffic_policy="Local")
    assert chosen(version, service, HERE, THERE).cluster == kept
    assert chosen(version, service, THERE).exists is (version == "1.21")


def test_zone_hints_are_behind_a_gate() -> None:
    """filterEndpointsWithHints: each endpoint has to have one, ready or not, and one has to fit."""
    service = replace(WEB, annotations=HINTED)
    assert chosen("1.23", service, HERE, THERE).cluster == (HERE, THERE)
    assert chosen("1.23", service, HERE, THERE, gates=HINTS).cluster == (HERE,)
    assert chosen("1.23", service, HERE, THERE, gates=HINTS, zone="").cluster == (HERE, THERE)
    assert chosen("1.23", service, HERE, THERE, gates=HINTS, zone="c").cluster == (HERE, THERE)
    blank = replace(LEAVING, hints_zones=())
    assert chosen("1.23", service, HERE, THERE, blank, gates=HINTS).cluster == (HERE, THERE)
    local = replace(OUTSIDE_LOCAL, annotations=HINTED)
    assert chosen("1.23", local, HERE, THERE, gates=HINTS).cluster == (HERE, THERE)


def test_endpoints_that_terminate_serve_policy_local_behind_a_gate() -> None:
    """Only outside traffic of policy Local falls back to them, and only where no local one is ready."""
    gate = {"ProxyTerminatingEndpoints": True}
    assert not chosen("1.23", OUTSIDE_LOCAL, LEAVING).exists
    found = chosen("1.23", OUTSIDE_LOCAL, LEAVING, THERE, gates=gate)
    assert (found.cluster, found.local, found.reachable) == ((THERE,), (LEAVING,), (LEAVING, THERE))
    assert chosen("1.23", OUTSIDE_LOCAL, HERE, LEAVING, gates=gate).local == (HERE,)
    assert chosen("1.23", OUTSIDE_LOCAL, LEAVING, gates=gate).exists
    assert not chosen("1.23", WEB, LEAVING, gates=gate).exists
