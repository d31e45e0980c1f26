"""
What rules of iptables do.

Lives here: one frozen type per target that nettrace understands, ``UnknownTarget`` for all others.
Not here: rules (nettrace.model.xt), text (nettrace.parse.iptables), what targets do to a packet
(nettrace.walk).
"""

from typing import TypeAlias

from msgspec import Struct

from nettrace.model.packet import PortRange

__all__ = [
    "Accept",
    "ConnmarkTarget",
    "Ct",
    "Dnat",
    "Drop",
    "ExtensionTarget",
    "Jump",
    "Log",
    "MarkTarget",
    "Masquerade",
    "NatRange",
    "Nflog",
    "Notrack",
    "PassThrough",
    "Redirect",
    "Reject",
    "Return",
    "Snat",
    "Target",
    "Tcpmss",
    "UnknownTarget",
]


class Accept(Struct, frozen=True, tag="ACCEPT"):
    """Ends this table's base chain, not the hook."""


class Drop(Struct, frozen=True, tag="DROP"):
    """Ends everything."""


class Return(Struct, frozen=True, tag="RETURN"):
    """Back to the calling chain; in a built-in chain, the policy."""


class Jump(Struct, frozen=True, tag="jump"):
    """``-j CHAIN``, or ``-g CHAIN`` with ``goto``: no way back to here."""

    chain: str
    goto: bool = False


class Reject(Struct, frozen=True, tag="REJECT"):
    """Drop and answer; ``with_`` as in ``--reject-with``."""

    with_: str = "icmp-port-unreachable"


class NatRange(Struct, frozen=True, kw_only=True):
    """
    Addresses *lo* to *hi* and ports; None: kept.

    With a *base* a port is moved by as much as it was above that (``:5000-5100/80``).
    """

    lo: str | None = None
    hi: str | None = None
    ports: PortRange | None = None
    base: int | None = None


class Dnat(Struct, frozen=True, tag="DNAT", kw_only=True):
    """``-j DNAT --to-destination``."""

    to: NatRange
    random: bool = False
    persistent: bool = False


class Snat(Struct, frozen=True, tag="SNAT", kw_only=True):
    """``-j SNAT --to-source``."""

    to: NatRange
    random: bool = False
    random_fully: bool = False
    persistent: bool = False


class Masquerade(Struct, frozen=True, tag="MASQUERADE", kw_only=True):
    """SNAT to the address of the device that the packet leaves by."""

    ports: PortRange | None = None
    random: bool = False
    random_fully: bool = False


class Redirect(Struct, frozen=True, tag="REDIRECT", kw_only=True):
    """DNAT to the address of the device that the packet came in by; 127.0.0.1 in OUTPUT."""

    ports: PortRange | None = None
    random: bool = False


class MarkTarget(Struct, frozen=True, tag="MARK"):
    """``--set-xmark VALUE/MASK``: mark = (mark & ~MASK) ^ VALUE."""

    value: int
    mask: int = 0xFFFFFFFF


class ConnmarkTarget(Struct, frozen=True, tag="CONNMARK", kw_only=True):
    """
    ``action`` is ``set``, ``save`` or ``restore``; masks as in xt_CONNMARK.

    ``shift`` moves the new mark to the left by so many bits, to the right if it is negative.
    """

    action: str
    value: int = 0
    ctmask: int = 0xFFFFFFFF
    nfmask: int = 0xFFFFFFFF
    shift: int = 0


class Notrack(Struct, frozen=True, tag="NOTRACK"):
    """``-j CT --notrack`` and ``-j NOTRACK``; ``old`` keeps which one was written."""

    old: bool = False


class Ct(Struct, frozen=True, tag="CT"):
    """``-j CT`` with other options, kept as written (zone, helper, timeout ...)."""

    text: str


class Log(Struct, frozen=True, tag="LOG"):
    """``-j LOG``; no verdict."""

    text: str = ""


class Nflog(Struct, frozen=True, tag="NFLOG"):
    """``-j NFLOG``; no verdict."""

    text: str = ""


class Tcpmss(Struct, frozen=True, tag="TCPMSS"):
    """``-j TCPMSS``: ``mss`` None means clamp to the path MTU."""

    mss: int | None = None


class PassThrough(Struct, frozen=True, tag="none"):
    """No ``-j`` at all: the rule only counts."""


class ExtensionTarget(Struct, frozen=True, tag="extension"):
    """
    Another target of iptables, its options checked and kept as text.

    nettrace.parse.iptables.extension_options takes the text apart again.
    """

    name: str
    text: str  # everything after ``-j NAME``, "" if nothing


class UnknownTarget(Struct, frozen=True, tag="unknown"):
    """A target nettrace does not know: kept as text, evaluates to unknown."""

    name: str
    text: str


Target: TypeAlias = (
    Accept
    | Drop
    | Return
    | Jump
    | Reject
    | Dnat
    | Snat
    | Masquerade
    | Redirect
    | MarkTarget
    | ConnmarkTarget
    | Notrack
    | Ct
    | Log
    | Nflog
    | Tcpmss
    | PassThrough
    | ExtensionTarget
    | UnknownTarget
)
