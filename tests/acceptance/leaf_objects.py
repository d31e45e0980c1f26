"""
Edits of the lab's manifests, which stand for what the API server says.

Lives here: a function an edit, for the leaves of the guided Service flow.
"""

from tests.acceptance.faults import Scene
from tests.acceptance.leaf import Object


def service_of(scene: Scene, objects: list[Object], key: str = "") -> Object:
    """The object of the Service under test, or of another by its namespace/name."""
    wanted = key or scene.service
    return next(o for o in objects if o["kind"] == "Service" and _key(o) == wanted)


def _slices(scene: Scene, objects: list[Object], key: str = "") -> list[Object]:
    namespace, name = (key or scene.service).split("/")
    return [
        o
        for o in objects
        if o["kind"] == "EndpointSlice"
        and o["metadata"].get("namespace", "default") == namespace
        and o["metadata"]["labels"]["kubernetes.io/service-name"] == name
    ]


def _pods(scene: Scene, objects: list[Object]) -> list[Object]:
    return [o for o in objects if o["kind"] == "Pod" and _key(o) in scene.endpoints]


def _key(o: Object) -> str:
    return f"{o['metadata'].get('namespace', 'default')}/{o['metadata']['name']}"


def external_name(scene: Scene, objects: list[Object]) -> None:
    """The Service is an alias."""
    service_of(scene, objects)["spec"] = {"type": "ExternalName", "externalName": "example.com"}


def headless(scene: Scene, objects: list[Object]) -> None:
    """The Service has no address."""
    spec = service_of(scene, objects)["spec"]
    spec["type"], spec["clusterIP"] = "ClusterIP", "None"
    spec.pop("clusterIPs", None)
    for port in spec["ports"]:
        port.pop("nodePort", None)


def foreign_proxy(scene: Scene, objects: list[Object]) -> None:
    """Another proxy is to serve it."""
    labels = service_of(scene, objects)["metadata"].setdefault("labels", {})
    labels["service.kubernetes.io/service-proxy-name"] = "other"


def unnamed_port(scene: Scene, objects: list[Object]) -> None:
    """The targetPort is a name that no container has."""
    service_of(scene, objects)["spec"]["ports"][0]["targetPort"] = "web"


def wrong_selector(scene: Scene, objects: list[Object]) -> None:
    """The selector has another value."""
    selector = service_of(scene, objects)["spec"]["selector"]
    first = next(iter(selector))
    selector[first] += "-v2"


def not_ready(scene: Scene, objects: list[Object]) -> None:
    """No pod is ready."""
    for pod in _pods(scene, objects):
        for condition in pod["status"]["conditions"]:
            condition["status"] = "False"
    for piece in _slices(scene, objects):
        for endpoint in piece["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}


def stale_slice(scene: Scene, objects: list[Object]) -> None:
    """One ready pod is not in the slice."""
    for piece in _slices(scene, objects):
        piece["endpoints"] = piece["endpoints"][1:]


def other_family(scene: Scene, objects: list[Object]) -> None:
    """The Service is dual stack, its pods are not."""
    spec = service_of(scene, objects)["spec"]
    spec["clusterIPs"] = [scene.cluster_ip, "fd00:10:96::77"]
    spec["ipFamilies"] = ["IPv4", "IPv6"]


def same_address(scene: Scene, objects: list[Object]) -> None:
    """Two pods have one address."""
    first = _pods(scene, objects)[0]
    other = next(o for o in objects if o["kind"] == "Pod" and _key(o) in scene.client.values())
    other["status"]["podIP"] = first["status"]["podIP"]
    other["status"]["podIPs"] = [{"ip": first["status"]["podIP"]}]


def other_address(scene: Scene, objects: list[Object]) -> None:
    """The Service was made anew: DNS still has the old address."""
    spec = service_of(scene, objects)["spec"]
    spec["clusterIP"] = spec["clusterIP"].rsplit(".", 1)[0] + ".233"
    spec["clusterIPs"] = [spec["clusterIP"]]


def as_written(scene: Scene, objects: list[Object]) -> None:
    """A lab brings its clients itself, and its controllers write addresses and slices anew."""
    clients = set(scene.client.values())
    objects[:] = [o for o in objects if o["kind"] != "EndpointSlice"]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in clients]
    for pod in objects:
        if pod["kind"] == "Pod":
            del pod["status"]


def internal_local(scene: Scene, objects: list[Object]) -> None:
    """Policy Local for callers inside, and all endpoints on the far node."""
    service_of(scene, objects)["spec"]["internalTrafficPolicy"] = "Local"


def external_local(scene: Scene, objects: list[Object]) -> None:
    """Policy Local for callers outside, and one node without a pod."""
    as_written(scene, objects)
    service_of(scene, objects)["spec"]["externalTrafficPolicy"] = "Local"
    near = min(scene.client)
    gone = [pod for pod, node in scene.node_of.items() if node == near]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in gone]


def far_only(scene: Scene, objects: list[Object]) -> None:
    """Policy Local inside, and no pod on the client's node."""
    as_written(scene, objects)
    internal_local(scene, objects)
    near = min(scene.client)
    gone = [pod for pod, node in scene.node_of.items() if node == near]
    objects[:] = [o for o in objects if o["kind"] != "Pod" or _key(o) not in gone]


def dns_not_ready(scene: Scene, objects: list[Object]) -> None:
    """The pods of the cluster's DNS are not ready."""
    for piece in _slices(scene, objects, "kube-system/kube-dns"):
        for endpoint in piece["endpoints"]:
            endpoint["conditions"] = {"ready": False, "serving": False, "terminating": False}
    for pod in objects:
        if pod["kind"] == "Pod" and _key(pod).startswith("kube-system/"):
            for condition in pod["status"]["conditions"]:
                condition["status"] = "False"
