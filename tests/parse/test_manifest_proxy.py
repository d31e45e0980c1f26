"""kube-proxy's configuration, and which version it is."""

from nettrace.model.kube import KubeProxyConfig
from tests.parse.manifest_texts import known, kube_of, kube_of_files


def test_kube_proxy_configuration() -> None:
    """The configuration is taken from its file or from the ConfigMap, with kube-proxy's defaults."""
    file = known(kube_of_files("iptables-1.36/kube-proxy-config.json").proxy)
    assert file == KubeProxyConfig(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/56"))
    assert known(kube_of_files("ipvs-1.36/kube-proxy-config.json").proxy).mode == "ipvs"
    from_map = """
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  kubeconfig.conf: "not read"
  config.conf: |-
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    detectLocalMode: BridgeInterface
    detectLocal: {bridgeInterface: cni0, interfaceNamePrefix: veth}
    iptables: {masqueradeAll: true, masqueradeBit: 15, localhostNodePorts: false}
    mode: ""
    nodePortAddresses: [10.0.0.0/8]
"""
    assert known(kube_of(from_map).proxy) == KubeProxyConfig(
        detect_local_mode="BridgeInterface",
        detect_local_bridge="cni0",
        detect_local_interface_prefix="veth",
        masquerade_all=True,
        masquerade_bit=15,
        node_port_addresses=("10.0.0.0/8",),
        localhost_node_ports=False,
    )
    nftables = (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n"
        "iptables: {masqueradeBit: 3}\nnftables: {masqueradeBit: 0}\n"
    )
    assert known(kube_of(nftables).proxy).masquerade_bit == 0
    empty_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy}\n"
    assert known(kube_of(empty_map).proxy) == KubeProxyConfig()


def test_version_of_kube_proxy() -> None:
    """The DaemonSet's image says which version runs; else its pods' or the nodes', the oldest of several."""

    def containers(image: str) -> str:
        return f"{{containers: [{{name: x, image: y}}, {{name: kube-proxy, image: '{image}'}}]}}"

    def nodes(*versions: str) -> str:
        return "---\n".join(
            f"apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}}}\n"
            f"status: {{nodeInfo: {{kubeletVersion: {version}}}}}\n"
            for number, version in enumerate(versions)
        )

    daemon_set = (
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: kube-proxy}\n"
        f"spec: {{template: {{spec: {containers('registry:5000/kube-proxy:v1.33.2@sha256:abc')}}}}}\n"
    )
    pod = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-proxy-x, labels: {k8s-app: kube-proxy}}\n"
        f"spec: {containers('registry/kube-proxy-amd64:v1.32.0')}\n"
    )
    untagged = pod.replace(":v1.32.0", "")
    other = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: flannel}\n"
    assert known(kube_of(daemon_set, pod, nodes("v1.31.1")).proxy).version == "1.33"
    assert known(kube_of(daemon_set).proxy).version_stated
    assert known(kube_of(other, pod, nodes("v1.31.1")).proxy).version == "1.32"
    assert known(kube_of(untagged, nodes("v1.31.1+k3s1", "v1.9.2", "odd")).proxy).version == "1.9"
    assert known(kube_of(untagged).proxy).version == KubeProxyConfig().version
    assert not known(kube_of(untagged).proxy).version_stated
