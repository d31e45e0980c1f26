"""
What Calico's devices, chains and addresses are to it, in words.

Lives here: names back to what they stand for: pods, policies, profiles.
"""

from nettrace.model.section import Known
from nettrace.model.snapshot import Snapshot
from nettrace_plugins.calico.facts import all_pods, devices, published
from nettrace_plugins.calico.names import (
    TUNNEL,
    VXLAN,
    policy_chain,
    profile_chain,
    veth,
    workload_chain,
)

__all__ = ["GATEWAY", "name_of"]

GATEWAY = "169.254.1.1"

_FRAME = {
    "cali-FORWARD": "Calico's way to the pods' policies, for what is passed on",
    "cali-INPUT": "Calico's rules for what comes to the node",
    "cali-OUTPUT": "Calico's rules for what the node sends",
    "cali-PREROUTING": "Calico's rules for what arrives",
    "cali-POSTROUTING": "Calico's rules for what leaves",
    "cali-from-wl-dispatch": "Calico's way to the chain of the pod that sends",
    "cali-to-wl-dispatch": "Calico's way to the chain of the pod that is sent to",
    "cali-wl-to-host": "Calico's rules for what pods send to their node",
    "cali-nat-outgoing": "Calico's masquerade of what leaves its pools (natOutgoing)",
    "cali-fip-dnat": "Calico's floating addresses, inwards",
    "cali-fip-snat": "Calico's floating addresses, outwards",
    "cali-cidr-block": "Calico's refusal of packets for Services' networks that would go in circles",
    "cali-rpf-skip": "pods that Calico lets send from other addresses",
    "cali-from-host-endpoint": "Calico's host endpoints, what comes in",
    "cali-to-host-endpoint": "Calico's host endpoints, what goes out",
    "cali-from-hep-forward": "Calico's host endpoints, what comes in and is passed on",
    "cali-to-hep-forward": "Calico's host endpoints, what is passed on and goes out",
}


def name_of(snapshot: Snapshot, netns: str, thing: str) -> str | None:
    """Return the words for a device, a chain or an address; None if it is nobody's here."""
    kind, _, rest = thing.partition("/")
    if kind == "links":
        return _device(snapshot, netns, rest)
    if kind == "xt":
        return _chain(snapshot, rest.partition("/")[2])
    return _address(snapshot, thing)


def _device(snapshot: Snapshot, netns: str, device: str) -> str | None:
    if device not in devices(snapshot, netns):
        return None
    if device in (VXLAN, TUNNEL):
        return f"Calico's {'VXLAN' if device == VXLAN else 'IPIP'} device"
    pod = next((pod for pod in all_pods(snapshot) if veth(pod.namespace, pod.name) == device), None)
    return f"the device of pod {pod.key}" if pod is not None else "the device of a Calico pod"


def _chain(snapshot: Snapshot, chain: str) -> str | None:
    if chain in _FRAME:
        return _FRAME[chain]
    if not chain.startswith("cali-"):
        return None
    if chain.startswith(("cali-from-wl-dispatch-", "cali-to-wl-dispatch-")):
        return _FRAME[chain.rpartition("-")[0]] + ", a part of them"
    for pod in all_pods(snapshot):
        device = veth(pod.namespace, pod.name)
        for kind, words in (("tw", "goes to"), ("fw", "comes from")):
            if workload_chain(kind, device) == chain:
                return f"Calico's rules for what {words} pod {pod.key}"
    section = snapshot.kube.network_policies
    for policy in section.value if isinstance(section, Known) else ():
        for kind, words in (("pi", "ingress"), ("po", "egress")):
            if policy_chain(kind, policy.namespace, policy.name) == chain:
                return f"NetworkPolicy {policy.key}, {words}"
    namespaces = {pod.namespace for pod in all_pods(snapshot)}
    for kind, words in (("pri", "ingress"), ("pro", "egress")):
        for namespace in namespaces:
            if profile_chain(kind, f"kns.{namespace}") == chain:
                return f"Calico's profile of namespace {namespace}, {words}"
            if profile_chain(kind, f"ksa.{namespace}.default") == chain:
                return f"Calico's profile of service account {namespace}/default, {words}"
    return None


def _address(snapshot: Snapshot, address: str) -> str | None:
    if address == GATEWAY:
        return "the gateway of every Calico pod, for which its node answers ARP"
    for one in published(snapshot).values():
        if address and address in (one.vxlan, one.ipip):
            return f"the tunnel's end of {one.node}"
    return None
