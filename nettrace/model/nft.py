"""
nftables rule sets: tables, chains, sets, and rules as the kernel holds them.

Lives here: the outline of a rule set, which is read at once, and rules and elements, which are
read when a packet needs them.  What a rule is made of is in nettrace.model.nft_expr.
Not here: reading (nettrace.collect), text (nettrace.parse.nft), evaluation (nettrace.walk).
Sources: include/uapi/linux/netfilter/nf_tables.h, net/netfilter/nf_tables_api.c.
"""

from msgspec import Struct, field

from nettrace.model.nft_expr import Expression, NftVerdict
from nettrace.model.section import NOT_READ, Section

__all__ = [
    "FAMILIES",
    "NftBase",
    "NftChain",
    "NftElement",
    "NftRule",
    "NftRuleset",
    "NftSet",
    "NftTable",
    "nft_path",
    "split_path",
]

#: nfproto -> the word that nft uses.
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}


class NftBase(Struct, frozen=True, kw_only=True):
    """
    Where a base chain hooks in.

    ``type`` is ``filter``, ``nat`` or ``route``; ``policy`` ``accept`` or ``drop``; ``devices``
    are those of the hooks ingress and egress.
    """

    type: str
    hook: str
    priority: int
    policy: str = "accept"
    devices: tuple[str, ...] = ()


class NftRule(Struct, frozen=True, kw_only=True):
    """
    One rule.  Two rules do the same if their expressions are equal.

    ``packets`` is what its counter had counted when it was read, None where it has none.
    """

    handle: int
    expressions: tuple[Expression, ...]
    comment: str = ""
    packets: int | None = None


class NftChain(Struct, frozen=True, kw_only=True):
    """
    One chain; ``base`` is None where nothing but jumps lead to it.

    ``use`` is what the kernel counts: the rules of the chain and the jumps to it; of a base
    chain therefore its rules.
    """

    handle: int
    base: NftBase | None = None
    use: int = 0
    rules: Section[tuple[NftRule, ...]] = NOT_READ


class NftElement(Struct, frozen=True, kw_only=True):
    """
    One element of a set or a map.

    ``key`` and ``key_end`` are the bytes as hexadecimal text; ``key_end`` (inclusive) only in
    sets of concatenated ranges.  ``interval_end`` marks the first key behind an interval in
    sets that keep begin and end apart.  ``data`` is the value of a map, ``verdict`` that of a
    verdict map, ``object`` the name of an object.  ``stateful`` names expressions that the
    element carries (``counter``, ``limit``, ...).  ``expires`` is in milliseconds.
    """

    key: str = ""
    key_end: str | None = None
    interval_end: bool = False
    catch_all: bool = False
    data: str | None = None
    verdict: NftVerdict | None = None
    object: str | None = None
    stateful: tuple[str, ...] = ()
    comment: str = ""
    expires: int | None = None


class NftSet(Struct, frozen=True, kw_only=True):
    """
    One set or map.

    ``flags`` are of anonymous, constant, interval, map, timeout, dynamic, object, concat.
    ``key_type`` and ``data_type`` are nft's own numbers of types, six bits for each part of a
    concatenation, which the kernel only keeps; ``fields`` the lengths of the parts in bytes,
    each begins at a multiple of four.  ``object_type`` is the kernel's number.
    """

    handle: int
    flags: frozenset[str] = frozenset()
    key_type: int = 0
    key_len: int = 0
    data_type: int = 0
    data_len: int = 0
    object_type: int = 0
    fields: tuple[int, ...] = ()
    elements: Section[tuple[NftElement, ...]] = NOT_READ


class NftTable(Struct, frozen=True, kw_only=True):
    """
    One table.

    A dormant one is there, but its chains are hooked in nowhere.  ``owner`` is the netlink port
    of the process that owns it.  Chains and sets stand in the order in which they were made.
    """

    family: str
    name: str
    dormant: bool = False
    owner: int | None = None
    chains: dict[str, NftChain] = field(default_factory=dict)
    sets: dict[str, NftSet] = field(default_factory=dict)


class NftRuleset(Struct, frozen=True, kw_only=True):
    """
    All native tables by ``FAMILY NAME``, as nft writes them.

    ``byteorder`` is that of the machine the rules are from: marks, interface numbers and other
    values of the host stand in it.
    """

    tables: dict[str, NftTable] = field(default_factory=dict)
    byteorder: str = "little"


def nft_path(table: NftTable, name: str) -> str:
    """
    Return a chain's or (``@NAME``) a set's name as a section: ``nft/FAMILY/TABLE/NAME``.

    A slash in the table's name is written ``%2F``; the chain's is left as it is.
    """
    return f"nft/{table.family}/{table.name.replace('%', '%25').replace('/', '%2F')}/{name}"


def split_path(path: str) -> tuple[str, str]:
    """Return the key of the table and the rest of a section's path; ValueError for another path."""
    head, family, table, name = path.split("/", 3)
    if head != "nft":
        raise ValueError(f"{path} is no path of nftables")
    return f"{family} {table.replace('%2F', '/').replace('%25', '%')}", name
