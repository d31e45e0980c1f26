"""
What kube-proxy owes one node in one address family, whole: one type for all three modes.

Lives here: the shapes.  Not here: who fills them (nettrace.kube.expect and, by mode, iptables,
nft_*, ipvs_*), their text (nettrace.render).

nftables and IPVS state is kept as their tools print it: rules and elements are texts in the
form of ``nft list ruleset``, so that what is compared with a node is what people read there.
"""

from msgspec import Struct, field

from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.nft import NftBase
from nettrace.model.xt import XtRuleset

__all__ = [
    "Expected",
    "ExpectedIpset",
    "ExpectedIpvs",
    "ExpectedNftChain",
    "ExpectedNftSet",
    "ExpectedNftTable",
    "NodeFacts",
    "RealServer",
    "VirtualServer",
]


class NodeFacts(Struct, frozen=True, kw_only=True):
    """
    What of the node itself shapes the rules and stands in no object of the cluster.

    ``addresses`` are those of its devices, None where nobody read them: the Node's own
    addresses are taken then.  ``sysctls`` as in a snapshot; what is not in it has the
    kernel's default.
    """

    addresses: tuple[str, ...] | None = None
    sysctls: dict[str, str] = field(default_factory=dict)


class ExpectedNftChain(Struct, frozen=True, kw_only=True):
    """
    One chain of a native table; ``rules`` as nft prints them, without handles.

    ``base`` is None where nothing but jumps lead to it.
    """

    name: str
    base: NftBase | None = None
    rules: tuple[str, ...] = ()
    comment: str = ""


class ExpectedNftSet(Struct, frozen=True, kw_only=True):
    """
    One set or map; ``is_map`` tells which.

    ``type`` is what stands behind the word ``type``; ``flags`` the flags that nft prints;
    ``elements`` the texts between the braces, in no order, each with its comment and value;
    ``size`` the most elements, None where there is no bound.
    """

    name: str
    type: str
    is_map: bool = False
    flags: tuple[str, ...] = ()
    comment: str = ""
    timeout: str = ""
    size: int | None = None
    elements: tuple[str, ...] = ()


class ExpectedNftTable(Struct, frozen=True, kw_only=True):
    """One native table: ``family`` is ``ip`` or ``ip6``."""

    family: str
    name: str = "kube-proxy"
    comment: str = ""
    sets: tuple[ExpectedNftSet, ...] = ()
    chains: tuple[ExpectedNftChain, ...] = ()


class ExpectedIpset(Struct, frozen=True, kw_only=True):
    """One ipset; ``options`` stand behind the type in ``ipset save``."""

    name: str
    type: str
    options: str = ""
    members: tuple[str, ...] = ()


class ExpectedIpvs(Struct, frozen=True, kw_only=True):
    """What the ipvs mode keeps outside of iptables; ``addresses`` are those of ``device``."""

    servers: tuple[VirtualServer, ...] = ()
    ipsets: tuple[ExpectedIpset, ...] = ()
    device: str = "kube-ipvs0"
    addresses: tuple[str, ...] = ()


class Expected(Struct, frozen=True, kw_only=True):
    """
    What kube-proxy of ``version`` in ``mode`` owes ``node`` in ``family`` (4 or 6).

    ``iptables`` holds the tables of a namespace without other rules, in the mode ipvs too; None
    where the mode writes none.  ``unordered`` are its chains, as (table, chain), whose rules
    stand in no certain order (but NodePorts come last in KUBE-SERVICES).  ``sysctls`` are
    those that kube-proxy sets.
    """

    mode: str
    family: int
    node: str
    version: str
    iptables: XtRuleset | None = None
    unordered: frozenset[tuple[str, str]] = frozenset()
    nft: tuple[ExpectedNftTable, ...] = ()
    ipvs: ExpectedIpvs | None = None
    sysctls: dict[str, str] = field(default_factory=dict)
