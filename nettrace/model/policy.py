"""
Network policies: the objects of three APIs, and of the Namespaces that they select by label.

Lives here: NetworkPolicy (networking.k8s.io/v1), AdminNetworkPolicy and
BaselineAdminNetworkPolicy (policy.networking.k8s.io/v1alpha1), label selectors.  Field names are
the API's in snake case.
Not here: what they say about a flow (nettrace.kube.policy).
"""

from msgspec import Struct, field

__all__ = [
    "NAMESPACE_NAME",
    "AdminPeer",
    "AdminPolicy",
    "AdminPort",
    "AdminRule",
    "Expression",
    "IpBlock",
    "LabelSelector",
    "Namespace",
    "NetworkPolicy",
    "PolicyPeer",
    "PolicyPort",
    "PolicyRule",
]

#: The label that the API server gives every Namespace (since 1.21); its value is the name.
NAMESPACE_NAME = "kubernetes.io/metadata.name"


class Namespace(Struct, frozen=True, kw_only=True):
    """A Namespace.  ``labels`` has NAMESPACE_NAME, as the API server sees to."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)


class Expression(Struct, frozen=True, kw_only=True):
    """One of ``matchExpressions``; ``operator`` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelector(Struct, frozen=True, kw_only=True):
    """Labels that all have to be there, and expressions that all have to hold; empty: everything."""

    match_labels: dict[str, str] = field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()

    @property
    def empty(self) -> bool:
        """Does it select everything?"""
        return not self.match_labels and not self.match_expressions


class IpBlock(Struct, frozen=True, kw_only=True):
    """A prefix, without those in ``excepted`` (the API's ``except``)."""

    cidr: str
    excepted: tuple[str, ...] = ()


class PolicyPeer(Struct, frozen=True, kw_only=True):
    """
    One peer of a NetworkPolicy's rule: selectors or an address block, never both.

    With both selectors a pod has to be chosen by both (pods so labelled in namespaces so
    labelled).  ``pod_selector`` alone is about the policy's own namespace.
    """

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IpBlock | None = None


class PolicyPort(Struct, frozen=True, kw_only=True):
    """One port of a NetworkPolicy's rule.  ``port`` None: all ports; a text: a container port's name."""

    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class PolicyRule(Struct, frozen=True, kw_only=True):
    """One rule: a peer and a port have to match.  No peers: anybody.  No ports: any traffic."""

    peers: tuple[PolicyPeer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


class NetworkPolicy(Struct, frozen=True, kw_only=True):
    """
    A NetworkPolicy.

    ``types`` are the directions that it isolates its pods in, ``Ingress`` and ``Egress``, with
    the API's default filled in.  Rules of a direction that is not among them say nothing.
    """

    name: str
    namespace: str = "default"
    pod_selector: LabelSelector = LabelSelector()
    types: tuple[str, ...] = ("Ingress",)
    ingress: tuple[PolicyRule, ...] = ()
    egress: tuple[PolicyRule, ...] = ()

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class AdminPort(Struct, frozen=True, kw_only=True):
    """A port of an admin policy's rule: ``first`` to ``last`` of a protocol, or a container port's name."""

    protocol: str = ""
    first: int | None = None
    last: int | None = None
    name: str = ""


class AdminPeer(Struct, frozen=True, kw_only=True):
    """
    A peer, or the subject, of an admin policy; one of the fields is set.

    ``namespace_selector`` without ``pod_selector``: all pods of such namespaces (the API's
    ``namespaces``); with it: the API's ``pods``.  ``node_selector`` and ``networks`` are for
    egress.  ``unread`` names what nettrace does not evaluate (domain names).
    """

    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None
    node_selector: LabelSelector | None = None
    networks: tuple[str, ...] = ()
    unread: str = ""


class AdminRule(Struct, frozen=True, kw_only=True):
    """One rule: ``action`` is Allow, Deny or Pass.  No ports: any traffic."""

    action: str
    name: str = ""
    peers: tuple[AdminPeer, ...] = ()
    ports: tuple[AdminPort, ...] = ()


class AdminPolicy(Struct, frozen=True, kw_only=True):
    """
    An AdminNetworkPolicy, or with ``priority`` None the BaselineAdminNetworkPolicy.

    The lowest priority number is asked first; within a policy the first rule that matches
    decides.
    """

    name: str
    priority: int | None = None
    subject: AdminPeer
    ingress: tuple[AdminRule, ...] = ()
    egress: tuple[AdminRule, ...] = ()

    @property
    def baseline(self) -> bool:
        """Is it asked only where no NetworkPolicy isolates the pod?"""
        return self.priority is None
