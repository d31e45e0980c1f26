"""
The contract of ``-o json``, second part: what the commands say that list and inspect.

Lives here: the items of ``show``, labs, the checks of ``doctor``, explanations, snapshots.
Not here: traces and repairs (nettrace.render.contract).
"""

from typing import Literal, TypeAlias

from msgspec import Struct, field

from nettrace.model.bpf import BpfMap, BpfProgram
from nettrace.model.finding import Severity
from nettrace.model.ipvs import VirtualServer
from nettrace.model.kube import EndpointSlice, Service
from nettrace.model.lab import LabRecord
from nettrace.model.links import Address, Link
from nettrace.model.nft import NftBase
from nettrace.model.offloads import DeviceOffloads
from nettrace.model.routes import PolicyRule, Route
from nettrace.model.service_table import MapWords, ServiceEntry
from nettrace.model.snapshot import Snapshot
from nettrace.model.sockets import ConntrackEntry, Socket
from nettrace.model.system import System
from nettrace.model.xfrm import XfrmPolicy, XfrmState
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = [
    "DoctorCheck",
    "DoctorDocument",
    "ExplanationDocument",
    "LabsDocument",
    "MissingView",
    "ShowDocument",
    "ShowItem",
    "ShownChain",
    "ShownConntrack",
    "ShownFrontend",
    "ShownLink",
    "ShownMap",
    "ShownNativeChain",
    "ShownNetns",
    "ShownOffloads",
    "ShownPolicyRule",
    "ShownProgram",
    "ShownRoute",
    "ShownService",
    "ShownSet",
    "ShownSocket",
    "ShownSystem",
    "ShownVirtualServer",
    "ShownXfrmDefault",
    "ShownXfrmPolicy",
    "ShownXfrmState",
    "SnapshotDocument",
]


class SnapshotDocument(Snapshot, frozen=True, kw_only=True, tag_field="kind", tag="Snapshot"):
    """The file of ``nettrace snapshot``."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)


class ExplanationDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Explanation"):
    """
    The answer of ``nettrace explain``.

    ``what`` the cause is, how it ``shows``, where the packet ``dies``, what ``proof`` there is,
    the least ``repair``, the ``owner`` of that state, and the ``source``: where people met it.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    id: str
    title: str
    severity: Severity
    what: str
    shows: str
    dies: str
    proof: str
    repair: str
    owner: str
    source: str


class LabsDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Labs"):
    """The answer of ``nettrace lab list``."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    labs: tuple[LabRecord, ...]


class DoctorCheck(Struct, frozen=True, kw_only=True):
    """
    One thing that nettrace may need of a machine.

    ``state``: ``ok``, ``missing``, or ``unknown`` where it could not be looked at.
    ``needed_for`` says what does not work without it, ``help`` what to do.
    """

    name: str
    state: Literal["ok", "missing", "unknown"]
    text: str
    needed_for: str
    help: str = ""


class DoctorDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Doctor"):
    """The answer of ``nettrace doctor``."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    checks: tuple[DoctorCheck, ...]


class MissingView(Struct, frozen=True, kw_only=True):
    """A section that could not be shown, and why."""

    netns: str
    section: str
    reason: str


class ShownNetns(Struct, frozen=True, kw_only=True, tag_field="item", tag="namespace"):
    """A namespace; ``addresses`` without loopback's."""

    netns: str
    node: str
    role: str
    pod: str | None
    devices: int | None
    addresses: tuple[str, ...]


class ShownLink(Struct, frozen=True, kw_only=True, tag_field="item", tag="link"):
    """A device with its addresses."""

    netns: str
    link: Link
    addresses: tuple[Address, ...]


class ShownRoute(Struct, frozen=True, kw_only=True, tag_field="item", tag="route"):
    """A route."""

    netns: str
    route: Route


class ShownPolicyRule(Struct, frozen=True, kw_only=True, tag_field="item", tag="policy-rule"):
    """A policy rule (``ip rule``)."""

    netns: str
    rule: PolicyRule


class ShownChain(Struct, frozen=True, kw_only=True, tag_field="item", tag="chain"):
    """
    A chain of iptables, or of ip6tables if ``family`` is 6.

    ``rules`` are as iptables-save writes them, without ``-A CHAIN``.
    ``policy`` is null for user-defined chains.  ``packets`` has a counter a rule, null where
    they were not read.
    """

    netns: str
    family: int
    backend: str
    table: str
    chain: str
    policy: str | None
    rules: tuple[str, ...]
    packets: tuple[int, ...] | None


class ShownNativeChain(Struct, frozen=True, kw_only=True, tag_field="item", tag="nft_chain"):
    """
    A chain of native nftables.

    ``rules`` are as nft writes them, comments included; ``base`` is null where nothing but jumps
    lead to it.  ``packets`` has a counter a rule, null for rules without one.
    """

    netns: str
    family: str
    table: str
    chain: str
    base: NftBase | None
    rules: tuple[str, ...]
    packets: tuple[int | None, ...]


class ShownSet(Struct, frozen=True, kw_only=True, tag_field="item", tag="set"):
    """An ipset."""

    netns: str
    name: str
    type: str
    family: int
    members: tuple[str, ...]


class ShownOffloads(Struct, frozen=True, kw_only=True, tag_field="item", tag="offloads"):
    """What a device does in the kernel's place."""

    netns: str
    offloads: DeviceOffloads


class ShownXfrmPolicy(Struct, frozen=True, kw_only=True, tag_field="item", tag="xfrm-policy"):
    """A policy of IPsec."""

    netns: str
    policy: XfrmPolicy


class ShownXfrmState(Struct, frozen=True, kw_only=True, tag_field="item", tag="xfrm-state"):
    """A state (SA) of IPsec, without its keys, which are never read."""

    netns: str
    state: XfrmState


class ShownXfrmDefault(Struct, frozen=True, kw_only=True, tag_field="item", tag="xfrm-default"):
    """What no policy is about is blocked in this direction."""

    netns: str
    direction: str


class ShownVirtualServer(Struct, frozen=True, kw_only=True, tag_field="item", tag="virtual-server"):
    """A virtual server of IPVS with its real servers, in the kernel's order."""

    netns: str
    server: VirtualServer


class ShownService(Struct, frozen=True, kw_only=True, tag_field="item", tag="service"):
    """A Service with its slices."""

    service: Service
    slices: tuple[EndpointSlice, ...]


class ShownFrontend(Struct, frozen=True, kw_only=True, tag_field="item", tag="frontend"):
    """
    An address that a data path answers for which is no rule set, from its own Service table.

    ``service`` is whose address it is, NAMESPACE/NAME or "" if no object has it.  ``lacks`` and
    ``beyond`` are ready endpoints that the table has not, and backends that are no ready endpoints;
    null where that cannot be told.
    """

    node: str
    system: str
    entry: ServiceEntry
    service: str = ""
    lacks: tuple[str, ...] | None = None
    beyond: tuple[str, ...] | None = None


class ShownMap(Struct, frozen=True, kw_only=True, tag_field="item", tag="map"):
    """
    A BPF map of a node.

    ``programs`` are those on the node's hooks that use it.  ``words`` are its entries as the system
    that made it means them, null where no plugin knows the map.
    """

    node: str
    map: BpfMap
    programs: tuple[str, ...]
    words: MapWords | None = None


class ShownProgram(Struct, frozen=True, kw_only=True, tag_field="item", tag="program"):
    """A program of BPF on a device of a namespace (``device``), or on a cgroup of its processes."""

    netns: str
    device: str
    program: BpfProgram


class ShownPolicy(Struct, frozen=True, kw_only=True, tag_field="item", tag="policy"):
    """
    A network policy: ``order`` is a priority, ``baseline``, or "" for a NetworkPolicy.

    ``pods`` are those it is about, ``undecided`` those of which that cannot be told.  ``ingress`` and
    ``egress`` have a line for each rule; None where the policy is not for that direction.
    """

    type: str
    name: str
    namespace: str
    order: str
    selector: str
    pods: tuple[str, ...]
    undecided: tuple[str, ...]
    ingress: tuple[str, ...] | None
    egress: tuple[str, ...] | None


class ShownConntrack(Struct, frozen=True, kw_only=True, tag_field="item", tag="conntrack"):
    """A connection that the kernel remembers."""

    netns: str
    entry: ConntrackEntry


class ShownSocket(Struct, frozen=True, kw_only=True, tag_field="item", tag="socket"):
    """A socket."""

    netns: str
    socket: Socket


class ShownSystem(Struct, frozen=True, kw_only=True, tag_field="item", tag="system"):
    """A network system on a node."""

    system: System


ShowItem: TypeAlias = (
    ShownNetns
    | ShownLink
    | ShownRoute
    | ShownPolicyRule
    | ShownChain
    | ShownNativeChain
    | ShownSet
    | ShownVirtualServer
    | ShownOffloads
    | ShownXfrmPolicy
    | ShownXfrmState
    | ShownXfrmDefault
    | ShownService
    | ShownFrontend
    | ShownProgram
    | ShownMap
    | ShownPolicy
    | ShownConntrack
    | ShownSocket
    | ShownSystem
)


class ShowDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Show"):
    """The answer of ``nettrace show WHAT``; ``asked`` are the systems that were looked for."""

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    what: str
    context: str
    items: tuple[ShowItem, ...]
    missing: tuple[MissingView, ...] = ()
    asked: tuple[str, ...] = ()
