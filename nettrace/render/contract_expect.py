"""
The contract of ``nettrace expect -o json``.

Lives here: what kube-proxy and the network systems owe a node, and how the node departs from it.
"""

from typing import Literal

from msgspec import Struct, field

from nettrace.diagnose.departure import DepartureKind
from nettrace.kube.expected import ExpectedIpvs, ExpectedNftTable
from nettrace.render.contract_state import MissingView
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = [
    "ComparedView",
    "DepartureView",
    "ExpectDiffDocument",
    "ExpectedChainView",
    "ExpectedDocument",
    "OwedView",
    "OwingView",
    "ShareView",
]


class ExpectedChainView(Struct, frozen=True, kw_only=True):
    """
    One chain, its rules as iptables-save prints them, without ``-A CHAIN``.

    ``policy`` is null but for built-in chains.  ``ordered`` false: kube-proxy writes the rules
    of Services in no certain order.
    """

    table: str
    chain: str
    policy: str | None
    ordered: bool
    rules: tuple[str, ...]


class OwedView(Struct, frozen=True, kw_only=True):
    """
    One thing that is owed, as ``tool`` prints it; of a chain its rules, each with ``-A CHAIN``.

    ``table`` and ``chain`` are null for what is no rule; ``whole``: these are all rules of the chain, which
    is nobody else's.  ``about`` names it in words, ``source`` says
    which object or file asks for it; ``subject`` is the object that it serves.
    """

    owner: str
    netns: str
    tool: str
    table: str | None
    chain: str | None
    whole: bool
    lines: tuple[str, ...]
    about: str | None
    subject: str | None
    source: str


class OwingView(Struct, frozen=True, kw_only=True):
    """
    A network system beside kube-proxy: CNI plugins, Docker, Weave.

    ``unknown`` says why what it owes is not known, or not all of it; null where it is.
    """

    name: str
    mode: str | None
    version: str | None
    owed: tuple[OwedView, ...]
    unknown: str | None


class ExpectedDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Expected"):
    """
    The answer of ``nettrace expect``: what ``node`` is owed in one address family.

    What kube-proxy owes, in ``mode`` and ``version``, which are "" where that is not told: ``chains`` are
    those of iptables (ip6tables for family 6), ``nft`` the native tables, ``ipvs`` the virtual servers,
    ipsets and addresses; each is empty or null where the mode has none.  ``systems`` are the others,
    empty where no node is looked at.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    node: str
    mode: str
    version: str
    family: Literal[4, 6]
    chains: tuple[ExpectedChainView, ...]
    nft: tuple[ExpectedNftTable, ...]
    ipvs: ExpectedIpvs | None
    sysctls: dict[str, str]
    systems: tuple[OwingView, ...]


class ShareView(Struct, frozen=True, kw_only=True):
    """What part of the connections one endpoint is owed and gets, from 0 to 1."""

    endpoint: str
    owed: float
    found: float


class DepartureView(Struct, frozen=True, kw_only=True):
    """
    One thing that is not as it is owed.

    ``owed`` and ``found`` are rules as ``iptables -S`` prints them, null where there is none;
    ``position`` is the found rule's number in its chain.  ``shares`` are there where endpoints
    do not get what they should; ``unmatched`` is the part that goes to none.  ``owner`` owes it, by what
    ``source`` says; of what is no rule ``table`` is the tool that shows it.  ``commands`` would put it
    right, ``undo`` takes that back; both are empty where they are not worked out.
    """

    kind: DepartureKind
    cause: str
    meaning: str
    subject: str | None
    family: Literal[4, 6]
    table: str | None
    chain: str | None
    owed: str | None
    found: str | None
    position: int | None
    shares: tuple[ShareView, ...]
    unmatched: float
    owner: str
    source: str | None
    commands: tuple[str, ...]
    undo: tuple[str, ...]


class ComparedView(Struct, frozen=True, kw_only=True):
    """A network system that was compared: how many things it owes, and why that is not all, or null."""

    name: str
    mode: str | None
    version: str | None
    owed: int
    unknown: str | None


class ExpectDiffDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="ExpectDiff"):
    """
    The answer of ``nettrace expect --diff``.

    ``equal`` is null where nothing differs in what was read, and something was not read.  ``mode`` is ""
    where kube-proxy's part was not compared.
    """

    api_version: ApiVersion = field(name="apiVersion", default=API_VERSION)
    context: str
    node: str
    mode: str
    version: str
    families: tuple[Literal[4, 6], ...]
    equal: bool | None
    differences: tuple[DepartureView, ...]
    missing: tuple[MissingView, ...]
    systems: tuple[ComparedView, ...]
