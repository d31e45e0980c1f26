"""
Sections: what was read, and what was not, told apart by type.

Lives here: ``Known``, ``Missing`` and the address of a section in a snapshot.
Not here: what the sections hold.
"""

from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

__all__ = ["NOT_READ", "Known", "Missing", "MissingKind", "Section", "SectionKey"]

T = TypeVar("T")


class MissingKind(StrEnum):
    """Why a section has no value."""

    NOT_READ = "not-read"  #: nobody asked yet; a walk that needs it says so and is run again
    DENIED = "denied"  #: privilege is lacking
    UNSUPPORTED = "unsupported"  #: this kernel or this nettrace cannot read it
    FAILED = "failed"  #: reading was tried and broke off


class Known(Struct, Generic[T], frozen=True, tag="known"):
    """A section that was read completely."""

    value: T


class Missing(Struct, frozen=True, tag="missing"):
    """A section without a value.  Never the same as an empty one."""

    kind: MissingKind
    reason: str = ""


Section: TypeAlias = Known[T] | Missing

NOT_READ = Missing(MissingKind.NOT_READ)


class SectionKey(Struct, frozen=True, order=True):
    """
    The address of one section.

    ``netns`` is a namespace name of the snapshot ("" for cluster-wide sections, and
    ``node:NAME`` for what belongs to a node rather than to a namespace).  ``name`` is the
    field (``links``, ``routes``, ``conntrack`` ...), or for rule sets the path to a table
    or a chain: ``xt/nft``, ``xt/nft/nat``, ``xt/nft/nat/KUBE-SERVICES``, ``xt/legacy/nat``,
    ``xt6/...`` for ip6tables, ``nft/inet/filter/input`` and ``nft/ip/kube-proxy/@service-ips``
    for native nftables (nettrace.model.nft.nft_path);
    ``kube/services`` for the cluster's objects; of a node ``bpf``, and ``bpf/NAME`` for the entries of
    the maps of that name.
    """

    netns: str
    name: str

    def __str__(self) -> str:
        return f"{self.netns}/{self.name}" if self.netns else self.name
