"""
Snapshot files: a Snapshot as JSON with a header, and back, strictly checked.

Lives here: the header, the version, and what a damaged or foreign file is told.
Not here: reading and writing files (nettrace.app), taking snapshots (nettrace.collect).
"""

import zlib

import msgspec
from msgspec import Struct

from nettrace.model.errors import UserError
from nettrace.model.section import Known, Section
from nettrace.model.snapshot import SNAPSHOT_VERSION, Netns, Snapshot
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.parse.late_chains import LateNetns, with_late_chains
from nettrace.parse.strict import StrictError, decode_strictly

__all__ = ["API_VERSION", "decode_snapshot", "encode_snapshot"]

API_VERSION = "nettrace/v1"
_KIND = "Snapshot"
_GZIP_MAGIC = b"\x1f\x8b"
#: Bytes of JSON above which chains are parsed when they are looked at.
_LARGE = 4_000_000
_AGAIN = "take it again: nettrace snapshot -o FILE"


class _Header(Struct, rename={"api_version": "apiVersion"}):
    api_version: str | None = None
    kind: str | None = None
    version: int | None = None


class _SnapshotFile(Snapshot, frozen=True, kw_only=True):
    """A Snapshot with the header that makes it a document of its own."""

    apiVersion: str  # noqa: N815 - the field's name in the file
    kind: str


class _LargeFile(_SnapshotFile, frozen=True, kw_only=True):
    """The same with chains that are still JSON."""

    namespaces: dict[str, LateNetns]  # type: ignore[assignment]


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """
    Return the snapshot as one JSON document; it starts with ``apiVersion`` and ``kind``.

    UserError if a text in it is not Unicode, which JSON cannot hold.
    """
    header = msgspec.json.encode({"apiVersion": API_VERSION, "kind": _KIND})
    try:
        return header[:-1] + b"," + msgspec.json.encode(snapshot)[1:]
    except UnicodeEncodeError as error:
        text = (
            error.object[max(error.start - 20, 0) : error.end + 20].encode(errors="backslashreplace").decode()
        )
        raise UserError("the snapshot holds text that is not Unicode", where=text) from None


def decode_snapshot(data: bytes, where: str) -> Snapshot:
    """
    Return the snapshot in *data*: JSON, or JSON in gzip.

    *where* names the file in errors.  UserError for data that is cut off, not JSON, of
    another kind, of a newer version, misspelt anywhere, or at odds with itself.  In a large file
    a chain of iptables is looked at when it is needed: one that does not hold what it should is
    then ``Missing(FAILED)`` with its place.
    """
    text = _unpacked(data, where)
    _check_header(text, where)
    large = len(text) > _LARGE
    try:
        read = decode_strictly(text, _LargeFile if large else _SnapshotFile)
    except StrictError as error:
        raise UserError(
            f"not a snapshot: {_lowered(error.what)}", where=f"{where}: {error.path}", hint=_AGAIN
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error, where) from None
    fields = {name: getattr(read, name) for name in Snapshot.__struct_fields__}
    if isinstance(read, _LargeFile):
        fields["namespaces"] = {n: with_late_chains(one, where) for n, one in read.namespaces.items()}
    snapshot = Snapshot(**fields)
    _check_names(snapshot, where, counters=not large)
    return snapshot


def _unpacked(data: bytes, where: str) -> bytes:
    if not data.startswith(_GZIP_MAGIC):
        return data
    packed = zlib.decompressobj(wbits=31)  # 16 for gzip's header, 15 for the largest window
    try:
        text = packed.decompress(data)
    except zlib.error as error:
        raise UserError(f"the gzip data is damaged: {error}", where=where, hint=_AGAIN) from None
    if not packed.eof:
        raise UserError("the gzip data is cut off", where=where, hint="copy the file again, or " + _AGAIN)
    return text


def _check_header(text: bytes, where: str) -> None:
    if not text.strip():
        raise UserError("the snapshot file is empty", where=where, hint=_AGAIN)
    try:
        header = msgspec.json.decode(text, type=_Header)
    except msgspec.ValidationError as error:
        raise UserError(
            f"this JSON is not a {_KIND}: {_lowered(str(error))}", where=where, hint=_AGAIN
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(error, where) from None
    if header.kind != _KIND or not (header.api_version or "").startswith("nettrace/"):
        found = f"kind {header.kind} of {header.api_version}" if header.kind else "JSON without a kind"
        raise UserError(
            f"this is {found}, not a {_KIND} of {API_VERSION}",
            where=where,
            hint="give a file that nettrace snapshot wrote",
        )
    version = header.version or 0
    if header.api_version != API_VERSION or version > SNAPSHOT_VERSION:
        raise UserError(
            f"the snapshot is of version {header.api_version} {version}, "
            f"this nettrace reads {API_VERSION} {SNAPSHOT_VERSION}",
            where=where,
            hint="read it with the nettrace that wrote it, or a newer one",
        )
    if version < 1:
        raise UserError("the snapshot has no version", where=f"{where}: $.version", hint=_AGAIN)
    if version < SNAPSHOT_VERSION:
        raise UserError(
            f"the snapshot is of version {version}, which held no rules of nftables; "
            f"this nettrace reads {SNAPSHOT_VERSION}",
            where=where,
            hint=_AGAIN,
        )


def _not_json(error: Exception, where: str) -> UserError:
    if "truncated" in str(error):
        return UserError(
            "the snapshot file is cut off: its JSON does not end",
            where=where,
            hint="copy the file again, or " + _AGAIN,
        )
    return UserError(f"not a snapshot: {error}", where=where, hint=_AGAIN)


def _check_names(snapshot: Snapshot, where: str, *, counters: bool) -> None:
    """Refuse a snapshot whose parts contradict each other: a walk of it would be about nothing."""

    def check(right: bool, what: str, path: str) -> None:
        if not right:
            raise UserError(f"the snapshot contradicts itself: {what}", where=f"{where}: {path}", hint=_AGAIN)

    for name, node in snapshot.nodes.items():
        path = f'$.nodes["{name}"]'
        check(node.name == name, f"node {name} is called {node.name}", f"{path}.name")
        there = node.netns in snapshot.namespaces
        check(there, f"node {name} lives in {node.netns}, which is not here", f"{path}.netns")
    for name, netns in snapshot.namespaces.items():
        path = f'$.namespaces["{name}"]'
        check(netns.name == name, f"namespace {name} is called {netns.name}", f"{path}.name")
        short = _uncounted(netns) if counters else ""
        check(not short, "a chain has counters, but not one a rule", f"{path}.{short}")


def _uncounted(netns: Netns) -> str:
    """Return the path of the first chain that has not as many counters as rules, or ""."""
    rulesets: dict[str, Section[XtRuleset]] = {
        "xt_nft": netns.xt_nft,
        "xt_legacy": netns.xt_legacy,
        "xt6_nft": netns.xt6_nft,
        "xt6_legacy": netns.xt6_legacy,
    }
    for field, ruleset in rulesets.items():
        for table, chains in (ruleset.value.tables if isinstance(ruleset, Known) else {}).items():
            for chain, section in (chains.value.chains if isinstance(chains, Known) else {}).items():
                known = section.value if isinstance(section, Known) else XtChain()
                if known.counters is not None and len(known.counters) != len(known.rules):
                    return f'{field}.value.tables["{table}"].value.chains["{chain}"].value.counters'
    return ""


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
