"""
kube-proxy's configuration to the model, and its version from what runs it.

Sources: k8s.io/kube-proxy config/v1alpha1 types, pkg/proxy/apis/config/v1alpha1/defaults.go.
"""

import re

from msgspec import Struct, field

from nettrace.model.kube import KubeProxyConfig
from nettrace.parse.fields import Fields

__all__ = ["Versions", "image_version", "proxy_config"]

_MODES = ("iptables", "ipvs", "nftables")
_DETECTORS = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)(?:[.+-].*)?")


class Versions(Struct):
    """Versions of kube-proxy as text, by who says so, surest first; "" where nothing is said."""

    daemon_sets: list[str] = field(default_factory=list)
    pods: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)

    def oldest(self) -> str | None:
        """
        Return the oldest ``major.minor`` of the surest sources, None if nobody says.

        While a cluster is upgraded several versions run; the newer ones are the exception
        that ends by itself.
        """
        for source in (self.daemon_sets, self.pods, self.nodes):
            found = [match for text in source if (match := _VERSION.fullmatch(text))]
            if found:
                major, minor = min((int(match[1]), int(match[2])) for match in found)
                return f"{major}.{minor}"
        return None


def image_version(pod_spec: Fields) -> str:
    """Return the tag of the image that a pod's kube-proxy container runs, "" if there is none."""
    for container in pod_spec.objects("containers"):
        image = container.text("image").partition("@")[0]
        name, colon, tag = image.rpartition(":")
        if colon and "/" not in tag and name.rpartition("/")[2].startswith("kube-proxy"):
            return tag
    return ""


def proxy_config(fields: Fields | None, versions: Versions) -> KubeProxyConfig:
    """Return the configuration with kube-proxy's defaults; all defaults without an object."""
    given = Fields({}, "") if fields is None else fields
    mode = given.chosen("mode", _MODES, "iptables")
    marking = given.inside("nftables" if mode == "nftables" else "iptables")
    detect = given.inside("detectLocal")
    bit = marking.number("masqueradeBit", 0, 31)
    oldest = versions.oldest()
    return KubeProxyConfig(
        mode=mode,
        cluster_cidrs=tuple(part.strip() for part in given.text("clusterCIDR").split(",") if part.strip()),
        detect_local_mode=given.chosen("detectLocalMode", _DETECTORS, "ClusterCIDR"),
        detect_local_bridge=detect.text("bridgeInterface"),
        detect_local_interface_prefix=detect.text("interfaceNamePrefix"),
        masquerade_all=marking.flag("masqueradeAll"),
        masquerade_bit=14 if bit is None else bit,
        node_port_addresses=given.texts("nodePortAddresses"),
        localhost_node_ports=given.inside("iptables").flag("localhostNodePorts", default=True),
        version=oldest or KubeProxyConfig().version,
        version_stated=oldest is not None,
        bind_address=_bind_address(given),
        tcp_be_liberal=given.inside("conntrack").flag("tcpBeLiberal"),
        feature_gates=given.inside("featureGates").flags(),
        ipvs_scheduler=given.inside("ipvs").text("scheduler"),
        strict_arp=given.inside("ipvs").flag("strictARP"),
    )


def _bind_address(given: Fields) -> str:
    """Return the address that kube-proxy is bound to, "" for all of them."""
    address = given.address("bindAddress")
    return "" if address in ("0.0.0.0", "::") else address
