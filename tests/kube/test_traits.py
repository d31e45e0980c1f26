"""What differs from one kube-proxy to the next."""

import pytest

from nettrace.kube.traits import is_derivable, layout_version, traits
from nettrace.model.errors import UserError
from nettrace.model.kube import KubeProxyConfig

ELDER = "service.kubernetes.io/topology-aware-hints"
MODE = "service.kubernetes.io/topology-mode"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.30", (1, 30)),
        ("v1.36.2", (1, 36)),
        ("1.9", (1, 9)),
        ("2.0.0-rc.1", (2, 0)),
        ("1.30-gke.1", (1, 30)),
    ],
)
def test_versions(text: str, expected: tuple[int, int]) -> None:
    """Major and minor are read from a tag as well as from a number."""
    assert layout_version(text) == expected


@pytest.mark.parametrize("text", ["", "latest", "1", "1.x", "1.30x"])
def test_what_is_no_version(text: str) -> None:
    """Anything else is an error that names it."""
    with pytest.raises(UserError, match=f"`{text}` is not a version"):
        layout_version(text)


@pytest.mark.parametrize("version", ["1.9", "1.19"])
def test_layouts_that_are_not_derived(version: str) -> None:
    """Nothing is guessed for versions before."""
    assert not is_derivable(layout_version(version))
    with pytest.raises(UserError, match=rf"{version} are laid out differently"):
        traits(KubeProxyConfig(version=version))


@pytest.mark.parametrize(
    ("version", "xlb", "mark_drop", "counters", "terminating", "ip_mode", "node_hints"),
    [
        ("1.20", True, True, False, False, False, False),
        ("1.21", True, True, False, False, False, False),
        ("1.23", True, True, False, False, False, False),
        ("1.24", False, True, False, False, False, False),
        ("1.25", False, False, False, False, False, False),
        ("1.26", False, False, False, True, False, False),
        ("1.29", False, False, False, True, False, False),
        ("1.30", False, False, False, True, True, False),
        ("1.31", False, False, True, True, True, False),
        ("1.34", False, False, True, True, True, True),
        ("1.36", False, False, True, True, True, True),
    ],
)
def test_what_came_with_which_version(
    version: str,
    xlb: bool,
    mark_drop: bool,
    counters: bool,
    terminating: bool,
    ip_mode: bool,
    node_hints: bool,
) -> None:
    """The layouts, and the gates that changed their default."""
    known = traits(KubeProxyConfig(version=version))
    assert (known.xlb, known.mark_drop, known.counters) == (xlb, mark_drop, counters)
    assert (known.terminating, known.ip_mode, known.node_hints) == (terminating, ip_mode, node_hints)


@pytest.mark.parametrize(
    ("version", "health_checks", "marks_in_service", "one_balancing", "localnet_copy"),
    [
        ("1.20", False, False, False, False),
        ("1.21", True, False, False, False),
        ("1.22", True, True, False, False),
        ("1.23", True, True, True, False),
        ("1.26", True, True, True, False),
        ("1.27", True, True, True, True),
    ],
)
def test_how_the_layout_changed_piece_by_piece(
    version: str, health_checks: bool, marks_in_service: bool, one_balancing: bool, localnet_copy: bool
) -> None:
    """Pull requests #97824, #96959, #106269 with #97279, and #114470 of Kubernetes, in this order."""
    known = traits(KubeProxyConfig(version=version))
    assert (known.health_checks, known.marks_in_service) == (health_checks, marks_in_service)
    assert (known.one_balancing, known.localnet_copy) == (one_balancing, localnet_copy)


def test_gates_are_heeded_where_they_are_known() -> None:
    """A gate can be switched both ways, but not before there was any."""
    config = KubeProxyConfig(version="1.24", feature_gates={"ProxyTerminatingEndpoints": True})
    assert traits(config).terminating
    config = KubeProxyConfig(version="1.36", feature_gates={"PreferSameTrafficDistribution": False})
    assert not traits(config).node_hints
    config = KubeProxyConfig(version="1.20", feature_gates={"LoadBalancerIPMode": True})
    assert not traits(config).ip_mode
    config = KubeProxyConfig(version="1.20", feature_gates={"EndpointSliceProxying": False})
    assert not traits(config).endpoint_slices


@pytest.mark.parametrize(
    ("version", "annotations", "expected"),
    [
        ("1.20", {ELDER: "Auto"}, False),
        ("1.24", {}, False),
        ("1.24", {ELDER: "Auto"}, True),
        ("1.24", {ELDER: "auto"}, True),
        ("1.24", {ELDER: "somehow"}, False),
        ("1.24", {MODE: "Auto"}, False),
        ("1.27", {MODE: "Auto"}, True),
        ("1.27", {MODE: "example.com/mine"}, True),
        ("1.30", {}, False),
        ("1.30", {MODE: "disabled"}, False),
        ("1.30", {MODE: "Disabled"}, False),
        ("1.30", {ELDER: "auto"}, True),
        ("1.30", {ELDER: "Disabled", MODE: "Auto"}, False),
        ("1.31", {}, True),
        ("1.36", {MODE: "Disabled"}, True),
    ],
)
def test_zone_hints_asked_for_by_annotation(
    version: str, annotations: dict[str, str], expected: bool
) -> None:
    """Up to 1.30 a Service asks for them; the elder annotation goes first."""
    known = traits(KubeProxyConfig(version=version))
    assert known.hints_zones(annotations) is expected


def test_hints_by_traffic_distribution() -> None:
    """With the gate on, 1.30 needs no annotation; without topology hints there are none at all."""
    config = KubeProxyConfig(version="1.30", feature_gates={"ServiceTrafficDistribution": True})
    assert traits(config).hints_zones({})
    config = KubeProxyConfig(version="1.36", feature_gates={"TopologyAwareHints": False})
    assert not traits(config).hints_zones({})
