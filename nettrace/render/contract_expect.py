"""
The contract of ``nettrace expect -o json``.

Lives here: what kube-proxy owes a node, and how the node departs from it.
"""

from typing import Literal

from msgspec import Struct, field

from nettrace.diagnose.departure import DepartureKind
from nettrace.kube.expected import ExpectedIpvs, ExpectedNftTable
from nettrace.render.contract_state import MissingView
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = ["DepartureView", "ExpectDiffDocument", "ExpectedChainView", "ExpectedDocument", "ShareView"]


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


class ExpectedDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="Expected"):
    """
    The answer of ``nettrace expect``: what kube-proxy owes ``node`` in one address family.

    ``chains`` are those of iptables (ip6tables for family 6), ``nft`` the native tables, ``ipvs``
    the virtual servers, ipsets and addresses; each is empty or null where the mode has none.
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
    do not get what they should; ``unmatched`` is the part that goes to none.
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


class ExpectDiffDocument(Struct, frozen=True, kw_only=True, tag_field="kind", tag="ExpectDiff"):
    """
    The answer of ``nettrace expect --diff``.

    ``equal`` is null where nothing differs in what was read, and something was not read.
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
