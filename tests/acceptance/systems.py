"""
What `make systems` shows of which network system, and where: a row a topology.

Lives here: for each kind of flow and each fault the test that has it.  test_systems holds the rows
against what pytest collects, so that none names a test that is not there.
Not here: the tests themselves.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["AREAS", "KINDS", "SYSTEMS", "System"]

#: The reachability matrix, by the words of the tests' ids.
KINDS = {
    "pod to pod, same node": ("pod-pod-same-node",),
    "pod to pod, other node": ("pod-pod-other-node",),
    "pod to Service": ("pod-service",),
    "node to Service": ("node-service",),
    "outside to node port": ("outside-nodeport", "outside-nodeport-near", "outside-nodeport-far"),
    "pod to outside": ("pod-outside",),
    "hairpin": ("pod-own-service",),
}

#: Causes by what they are faults of.
AREAS = {
    "docker": ("docker-dnat-missing", "docker-filter-accept-missing", "masquerade-missing", "ip-forward-off"),
    "routes": ("wrong-next-hop", "pod-route-missing"),
    "overlay": (
        *("flannel-fdb-missing", "flannel-arp-missing", "vtep-mac-mismatch", "fdb-stale-remote"),
        *("tunnel-link-down", "masquerade-missing"),
    ),
    "calico": (
        *("calico-workload-route-missing", "calico-proxy-arp-off", "calico-block-blackhole"),
        *("calico-vtep-missing", "calico-nat-outgoing-off", "calico-bgp-down", "masquerade-missing"),
    ),
    "kube-router": ("kube-router-bgp-down", "hairpin-off", "masquerade-missing"),
    "weave": ("weave-peers-disconnected", "masquerade-missing"),
    "cilium": ("cilium-route-missing", "cilium-program-missing", "bpf-datapath-opaque"),
    "ipvs": (
        *("ipvs-rs-weight0", "ipvs-vip-missing", "ipvs-no-real-servers", "ipvs-conntrack-off"),
        *("ipvs-stale-real-server", "service-rules-absent"),
    ),
}


class System(NamedTuple):
    """
    One topology, built with these words.

    ``matrix`` is where its flows are tried, ``faults`` where each cause is made by the shell, found first,
    repaired, undone and taken back; what only an agent can mend is explained.  ``without`` are kinds of
    flow that it cannot have, with the reason.
    """

    words: str
    areas: tuple[str, ...]
    matrix: tuple[str, ...]
    faults: dict[str, str]
    without: Mapping[str, str] = MappingProxyType({})


_MATRIX = "test_prediction_equals_the_real_connection"


def _own(file: str, *causes: str, **others: str) -> dict[str, str]:
    """Faults of one file: *causes* of its table of faults, *others* (cause with _) tests of their own."""
    table = {cause: f"{file}::test_broken_found_repaired_undone[{cause}]" for cause in causes}
    return table | {cause.replace("_", "-"): f"{file}::{test}" for cause, test in others.items()}


_ONE_HOST = {"pod to pod, other node": "there is one host"}
_HERE, _VM = "tests/acceptance", "tests/vm"

SYSTEMS = (
    System(
        "docker",
        ("docker",),
        (f"{_HERE}/test_docker.py::{_MATRIX}",),
        _own(f"{_HERE}/test_docker.py", "docker-dnat-missing", "masquerade-missing", "ip-forward-off"),
        _ONE_HOST,
    ),
    System(
        "flannel-udp",
        ("overlay", "routes"),
        (f"{_HERE}/test_flannel_udp.py::{_MATRIX}",),
        _own(f"{_HERE}/test_flannel_udp.py", "tunnel-link-down", "pod-route-missing", "masquerade-missing"),
    ),
    System(
        "flannel-vxlan",
        ("overlay",),
        (f"{_HERE}/test_healthy.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_flannel_vxlan.py",
            *("flannel-fdb-missing", "flannel-arp-missing", "vtep-mac-mismatch", "fdb-stale-remote"),
            "masquerade-missing",
        ),
    ),
    System(
        "flannel-vxlan-direct",
        ("overlay", "routes"),
        (f"{_HERE}/test_flannel_direct.py::{_MATRIX}",),
        _own(f"{_HERE}/test_flannel_direct.py", "wrong-next-hop", "pod-route-missing", "masquerade-missing"),
    ),
    System(
        "flannel-host-gw",
        ("overlay", "routes"),
        (f"{_HERE}/test_host_gw.py::{_MATRIX}",),
        _own(f"{_HERE}/test_host_gw.py", "wrong-next-hop", "pod-route-missing", "masquerade-missing"),
    ),
    System(
        "calico-bgp",
        ("calico",),
        (f"{_HERE}/test_calico_bgp.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_calico_bgp.py",
            *("calico-workload-route-missing", "calico-proxy-arp-off", "masquerade-missing"),
            calico_bgp_down="test_a_session_that_is_down_is_named",
        ),
    ),
    System(
        "calico-vxlan",
        ("calico",),
        (f"{_HERE}/test_calico_vxlan.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_calico_vxlan.py",
            *("calico-block-blackhole", "calico-vtep-missing", "calico-nat-outgoing-off"),
        ),
    ),
    System(
        "canal",
        ("calico", "overlay"),
        (f"{_HERE}/test_canal.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_canal.py",
            *("calico-workload-route-missing", "calico-proxy-arp-off"),
            *("flannel-fdb-missing", "masquerade-missing"),
        ),
    ),
    System(
        "kube-router",
        ("kube-router", "routes"),
        (f"{_HERE}/test_kube_router.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_kube_router.py",
            *("pod-route-missing", "masquerade-missing"),
            kube_router_bgp_down="test_a_session_that_is_down_is_named",
            hairpin_off="test_a_pod_that_calls_itself_needs_hairpin",
        ),
    ),
    System(
        "weave",
        ("weave", "overlay"),
        (f"{_HERE}/test_weave.py::{_MATRIX}",),
        _own(
            f"{_HERE}/test_weave.py",
            "masquerade-missing",
            tunnel_link_down="test_a_tunnel_that_is_down_is_named",
            weave_peers_disconnected="test_a_peer_that_is_not_connected_is_named",
        ),
    ),
    System(
        "cilium",
        ("cilium",),
        (f"{_HERE}/test_cilium.py::test_connected_and_said_to_be_unknown",),
        _own(
            f"{_HERE}/test_cilium.py",
            cilium_route_missing="test_found_first_mended_undone[no_pod_route]",
            bpf_datapath_opaque="test_found_first_mended_undone[a_stranger]",
            cilium_program_missing="test_a_program_that_is_gone_is_named",
        ),
    ),
    System(
        "calico-ipip",
        ("calico", "overlay", "routes"),
        (f"{_VM}/test_lab_calico_ipip.py::{_MATRIX}",),
        _own(
            f"{_VM}/test_lab_calico_ipip.py",
            *("calico-workload-route-missing", "calico-proxy-arp-off"),
            *("tunnel-link-down", "pod-route-missing"),
        ),
    ),
    System(
        "lvs",
        ("ipvs",),
        (f"{_VM}/test_lab_lvs.py::{_MATRIX}", f"{_VM}/test_lab_lvs.py::{_MATRIX}_beside_it"),
        _own(
            f"{_VM}/test_lab_lvs.py",
            *("ipvs-vip-missing", "ipvs-rs-weight0", "ipvs-no-real-servers"),
            *("ipvs-conntrack-off", "ipvs-stale-real-server"),
        ),
        _ONE_HOST,
    ),
    System(
        "flannel-vxlan --proxy ipvs",
        ("ipvs",),
        (f"{_VM}/test_lab_ipvs.py::{_MATRIX}",),
        _own(
            f"{_VM}/test_lab_ipvs.py",
            *("ipvs-rs-weight0", "ipvs-vip-missing", "ipvs-no-real-servers"),
            *("ipvs-conntrack-off", "service-rules-absent"),
        ),
    ),
)
