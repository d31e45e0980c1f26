"""
Pod and Node objects to the model.

Sources: k8s.io/api core/v1 types.
"""

from nettrace.model.kube import ContainerPort, KubeNode, Pod, PodContainer
from nettrace.parse.fields import Fields

__all__ = ["node", "pod"]

_PROTOCOLS = ("TCP", "UDP", "SCTP")


def pod(fields: Fields) -> Pod:
    """Return a Pod.  One without a status, as people write it, counts as running and ready."""
    metadata, spec, status = fields.inside("metadata"), fields.inside("spec"), fields.inside("status")
    conditions = {entry.text("type"): entry.text("status") for entry in status.objects("conditions")}
    several = tuple(entry.address("ip") for entry in status.objects("podIPs"))
    one = status.address("podIP")
    # an init container that is restarted always runs beside the others (a sidecar)
    beside = [entry for entry in spec.objects("initContainers") if entry.text("restartPolicy") == "Always"]
    return Pod(
        name=metadata.required("name"),
        namespace=metadata.text("namespace", "default"),
        node_name=spec.text("nodeName") or None,
        ips=tuple(filter(None, several)) or ((one,) if one else ()),
        labels=metadata.mapping("labels"),
        annotations=metadata.mapping("annotations"),
        host_network=spec.flag("hostNetwork"),
        ready=conditions.get("Ready") == "True" if conditions else True,
        phase=status.text("phase", "Running"),
        containers=tuple(_container(entry) for entry in (*spec.objects("containers"), *beside)),
        uid=metadata.text("uid"),
        created=metadata.text("creationTimestamp"),
    )


def _container(fields: Fields) -> PodContainer:
    return PodContainer(
        name=fields.required("name"), ports=tuple(_container_port(entry) for entry in fields.objects("ports"))
    )


def _container_port(fields: Fields) -> ContainerPort:
    port = fields.port("containerPort")
    if port is None:
        fields.fail("containerPort is missing", "containerPort")
    return ContainerPort(
        container_port=port,
        protocol=fields.chosen("protocol", _PROTOCOLS, "TCP"),
        name=fields.text("name"),
        host_port=fields.port("hostPort"),
    )


def node(fields: Fields) -> KubeNode:
    """Return a Node."""
    metadata, spec = fields.inside("metadata"), fields.inside("spec")
    one_cidr = spec.text("podCIDR")
    internal: list[str] = []
    external: list[str] = []
    kinds = {"InternalIP": internal, "ExternalIP": external}
    for entry in fields.inside("status").objects("addresses"):
        kind = entry.required("type")
        if kind in kinds:
            kinds[kind].append(entry.address("address"))
    return KubeNode(
        name=metadata.required("name"),
        internal_ips=tuple(internal),
        external_ips=tuple(external),
        pod_cidrs=spec.texts("podCIDRs") or ((one_cidr,) if one_cidr else ()),
        labels=metadata.mapping("labels"),
        annotations=metadata.mapping("annotations"),
    )
