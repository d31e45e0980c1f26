"""
A second reading of the specification, for the truth table of network policies.

Written from the API's own words on objects as people write them (dictionaries), by making the set
of everything that is let through.  It shares nothing with nettrace: no types, no parser, no order
of questions.
"""

from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

Object = dict[str, Any]
Flow = tuple[str, str, str, int]  # source, destination, PROTOCOL, port


def _chosen(selector: Object, labels: dict[str, str]) -> bool:
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for wanted in selector.get("matchExpressions") or []:
        there = wanted["key"] in labels
        among = there and labels[wanted["key"]] in (wanted.get("values") or [])
        if not {"In": among, "NotIn": not among, "Exists": there, "DoesNotExist": not there}[
            wanted["operator"]
        ]:
            return False
    return True


class World:
    """A small cluster: addresses, and which objects have them."""

    def __init__(self, objects: list[Object]) -> None:
        self.spaces = {
            o["metadata"]["name"]: {
                **o["metadata"].get("labels", {}),
                "kubernetes.io/metadata.name": o["metadata"]["name"],
            }
            for o in objects
            if o["kind"] == "Namespace"
        }
        self.pods = {
            o["status"]["podIP"]: o
            for o in objects
            if o["kind"] == "Pod" and not o["spec"].get("hostNetwork")
        }
        self.nodes = {
            a["address"]: o
            for o in objects
            if o["kind"] == "Node"
            for a in o["status"]["addresses"]
            if a["type"] == "InternalIP"
        }
        self.policies = [o for o in objects if o["kind"] == "NetworkPolicy"]
        self.admin = [o for o in objects if o["kind"] == "AdminNetworkPolicy"]
        self.base = [o for o in objects if o["kind"] == "BaselineAdminNetworkPolicy"]

    # --- NetworkPolicy -------------------------------------------------------------------

    def _space(self, pod: Object) -> str:
        return str(pod["metadata"]["namespace"])

    def _peers(self, policy: Object, entry: Object, addresses: set[str]) -> set[str]:
        """The addresses that one entry of from/to names."""
        if "ipBlock" in entry:
            block = entry["ipBlock"]
            return {
                a
                for a in addresses
                if ip_address(a) in ip_network(block["cidr"])
                and not any(ip_address(a) in ip_network(out) for out in block.get("except", []))
            }
        found = set()
        for address, pod in self.pods.items():
            if "namespaceSelector" in entry:
                if not _chosen(entry["namespaceSelector"], self.spaces[self._space(pod)]):
                    continue
            elif self._space(pod) != policy["metadata"]["namespace"]:
                continue
            if "podSelector" in entry and not _chosen(
                entry["podSelector"], pod["metadata"].get("labels", {})
            ):
                continue
            found.add(address)
        return found

    def _ports(self, entry: Object, destination: str, universe: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """The (protocol, port) pairs that one entry of ports lets through to *destination*."""
        protocol: str = entry.get("protocol", "TCP")
        port: Any = entry.get("port")
        if port is None:
            return {pair for pair in universe if pair[0] == protocol}
        if isinstance(port, str):
            pod = self.pods.get(destination)
            declared = [
                p for c in (pod or {"spec": {"containers": []}})["spec"]["containers"] for p in c["ports"]
            ]
            return {
                (protocol, p["containerPort"])
                for p in declared
                if p.get("name") == port and p.get("protocol", "TCP") == protocol
            }
        return {(protocol, number) for number in range(port, entry.get("endPort", port) + 1)}

    def let_through(self, flows: set[Flow]) -> set[Flow]:
        """The flows that get through, both directions taken together."""
        return {
            f
            for f in flows
            if (f[0] == f[1] and f[0] in self.pods)
            or (self._may(f, "Egress", flows) and self._may(f, "Ingress", flows))
        }

    def _may(self, flow: Flow, direction: str, flows: set[Flow]) -> bool:
        src, dst, _, _ = flow
        own, other = (dst, src) if direction == "Ingress" else (src, dst)
        pod = self.pods.get(own)
        if pod is None:
            return True  # policies are about pods
        node = self.nodes.get(other)
        if node is not None and node["metadata"]["name"] == pod["spec"]["nodeName"]:
            return True  # a pod and its node
        for policy in sorted(self.admin, key=lambda p: p["spec"]["priority"]):
            action = self._admin_action(policy, flow, direction, pod, other)
            if action == "Pass":
                break
            if action:
                return action == "Allow"
        isolating = [p for p in self.policies if self._isolates(p, pod, direction)]
        if isolating:
            return any(self._allows(p, flow, direction, other) for p in isolating)
        for policy in self.base:
            action = self._admin_action(policy, flow, direction, pod, other)
            if action:
                return action == "Allow"
        return True

    def _isolates(self, policy: Object, pod: Object, direction: str) -> bool:
        spec = policy["spec"]
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        return (
            policy["metadata"]["namespace"] == self._space(pod)
            and direction in types
            and _chosen(spec.get("podSelector") or {}, pod["metadata"].get("labels", {}))
        )

    def _allows(self, policy: Object, flow: Flow, direction: str, other: str) -> bool:
        _, dst, protocol, port = flow
        rules = policy["spec"].get(direction.lower()) or []
        for rule in rules:
            entries = rule.get("from" if direction == "Ingress" else "to") or []
            peers = set().union(*(self._peers(policy, e, {other}) for e in entries)) if entries else {other}
            wanted = rule.get("ports") or []
            pair = {(protocol, port)}
            ports = set().union(*(self._ports(e, dst, pair) for e in wanted)) if wanted else pair
            if (other, (protocol, port)) in set(product(peers, ports)):
                return True
        return False

    # --- admin policies ------------------------------------------------------------------

    def _admin_has(self, entry: Object, address: str) -> bool:
        if "networks" in entry:
            return any(ip_address(address) in ip_network(n) for n in entry["networks"])
        if "nodes" in entry:
            node = self.nodes.get(address)
            return node is not None and _chosen(entry["nodes"], node["metadata"].get("labels", {}))
        pod = self.pods.get(address)
        if pod is None:
            return False
        space = self.spaces[self._space(pod)]
        if "namespaces" in entry:
            return _chosen(entry["namespaces"], space)
        return _chosen(entry["pods"].get("namespaceSelector") or {}, space) and _chosen(
            entry["pods"].get("podSelector") or {}, pod["metadata"].get("labels", {})
        )

    def _admin_port(self, entry: Object, flow: Flow) -> bool:
        _, dst, protocol, port = flow
        if "portNumber" in entry:
            return (entry["portNumber"].get("protocol", "TCP"), entry["portNumber"]["port"]) == (
                protocol,
                port,
            )
        if "portRange" in entry:
            inner = entry["portRange"]
            return bool(inner.get("protocol", "TCP") == protocol and inner["start"] <= port <= inner["end"])
        pod = self.pods.get(dst)
        return pod is not None and any(
            (p.get("name"), p.get("protocol", "TCP"), p["containerPort"])
            == (entry["namedPort"], protocol, port)
            for c in pod["spec"]["containers"]
            for p in c["ports"]
        )

    def _admin_action(self, policy: Object, flow: Flow, direction: str, pod: Object, other: str) -> str:
        own = next(a for a, one in self.pods.items() if one is pod)
        if not self._admin_has(policy["spec"]["subject"], own):
            return ""
        for rule in policy["spec"].get(direction.lower()) or []:
            peers = rule["from" if direction == "Ingress" else "to"]
            ports = rule.get("ports") or []
            if any(self._admin_has(e, other) for e in peers) and (
                not ports or any(self._admin_port(e, flow) for e in ports)
            ):
                return str(rule["action"])
        return ""
