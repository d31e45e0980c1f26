"""CNI's files: which configurations are valid, how ranges are completed, leases and the runtime's cache."""

import json
from typing import Any

import pytest

from nettrace.model.cni import IpRange
from nettrace.parse.cni import parse_conf, parse_lease, parse_sandbox, whole_range

GOOD = {"name": "cbr0", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}


def test_a_list_and_a_single_plugin() -> None:
    """A .conflist lists plugins; a .conf or .json is one."""
    conf = parse_conf("/etc/cni/net.d/10-a.conflist", json.dumps(GOOD))
    assert (conf.name, conf.version, conf.error) == ("cbr0", "1.0.0", "")
    assert [plugin.type for plugin in conf.plugins] == ["bridge", "portmap"]
    assert conf.plugins[0].bridge == "cni0"
    single = parse_conf("/etc/cni/net.d/10-a.conf", '{"name": "x", "type": "ptp"}')
    assert [plugin.type for plugin in single.plugins] == ["ptp"]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("a.conflist", "{", "it is not JSON"),
        ("a.conflist", "[]", "it is not a JSON object"),
        ("a.conflist", '{"plugins": [{"type": "x"}]}', "it has no name"),
        ("a.conflist", '{"name": "x"}', "it lists no plugins"),
        ("a.conflist", '{"name": "x", "plugins": []}', "it lists no plugins"),
        ("a.conflist", '{"name": "x", "plugins": [{}]}', "plugin 1 has no type"),
        ("a.conf", json.dumps(GOOD), "plugin 1 has no type"),  # a list in a file for one
    ],
)
def test_what_is_no_configuration(name: str, text: str, error: str) -> None:
    """Each way that libcni refuses has its words."""
    assert parse_conf(f"/etc/cni/net.d/{name}", text).error.startswith(error)


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        (("10.1.2.0/24",), ("10.1.2.0/24", "10.1.2.1", "10.1.2.254", "10.1.2.1")),
        (
            ("10.1.2.0/24", "10.1.2.10", "10.1.2.20", "10.1.2.254"),
            ("10.1.2.0/24", "10.1.2.10", "10.1.2.20", "10.1.2.254"),
        ),
        (("fd00::/120",), ("fd00::/120", "fd00::1", "fd00::ff", "fd00::1")),
        (("usePodCidr",), ("usePodCidr", "", "", "")),
    ],
)
def test_ranges_are_completed(given: tuple[str, ...], whole: tuple[str, ...]) -> None:
    """First, last and gateway are those of host-local where they are not written."""
    subnet, first, last, gateway = whole
    assert whole_range(*given) == IpRange(subnet=subnet, first=first, last=last, gateway=gateway)


def test_both_forms_of_ranges() -> None:
    """The old form with one subnet, and the new one with sets, which a pod gets one address of each."""
    ipam: dict[str, Any] = {"type": "host-local", "subnet": "10.1.0.0/24", "dataDir": "/run/x"}
    plugin = {"type": "bridge", "ipam": ipam | {"ranges": [[{"subnet": "fd00::/64"}]]}}
    conf = parse_conf("/a.conflist", json.dumps({"name": "n", "plugins": [plugin]}))
    found = conf.plugins[0].ipam
    assert found is not None
    assert [[row.subnet for row in rows] for rows in found.ranges] == [["10.1.0.0/24"], ["fd00::/64"]]
    assert found.data_dir == "/run/x"


def test_leases() -> None:
    """A file called as an address is a lease, with or without a carriage return; others are none."""
    path = "/var/lib/cni/networks/cbr0/10.1.0.7"
    for text in ("abc\r\neth0", "abc\neth0\n"):
        lease = parse_lease(path, text)
        assert lease is not None
        assert (lease.address, lease.container, lease.ifname, lease.network) == (
            "10.1.0.7",
            "abc",
            "eth0",
            "cbr0",
        )
    assert parse_lease("/var/lib/cni/networks/cbr0/last_reserved_ip.0", "10.1.0.7") is None
    assert parse_lease("/var/lib/cni/networks/cbr0/fd00::2", "abc\r\neth0") is not None


def test_the_runtimes_cache() -> None:
    """Whose sandbox it is, in which namespace, with which addresses and ports."""
    entry = {
        "kind": "cniCacheV1",
        "containerId": "abc",
        "networkName": "cbr0",
        "ifName": "eth0",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "shop"], ["K8S_POD_NAME", "web"]],
        "capabilityArgs": {"portMappings": [{"hostPort": 80, "containerPort": 8080, "protocol": "TCP"}]},
        "result": {
            "interfaces": [{"name": "eth0", "sandbox": "/run/netns/cni-1"}],
            "ips": [{"address": "10.1.0.7/24"}],
        },
    }
    found = parse_sandbox("/var/lib/cni/results/cbr0-abc-eth0", json.dumps(entry))
    assert found is not None
    assert (found.pod, found.container, found.netns) == ("shop/web", "abc", "/run/netns/cni-1")
    assert (found.addresses, found.ports) == (("10.1.0.7",), ((80, 8080, "tcp"),))
    assert parse_sandbox("/x", json.dumps({"cniVersion": "0.3.1", "ips": []})) is None
    assert parse_sandbox("/x", "{half") is None
