"""
The contract of ``nettrace expect -o json``.

Lives here: what kube-proxy owes a node, and how the node departs from it.
"""

from typing import Literal

from msgspec import Struct, field

from nettrace.kube.expected import ExpectedIpvs, ExpectedNftTable
from nettrace.render.version import API_VERSION, ApiVersion

__all__ = ["ExpectedChainView", "ExpectedDocument"]


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
