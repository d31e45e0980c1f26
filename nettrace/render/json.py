"""
Documents as JSON, and back.

Lives here: the one encoding and the strict decoding of the contract.
"""

import json
import re
from typing import Any

import msgspec

from nettrace.model.errors import UserError
from nettrace.render.contract import Document
from nettrace.render.version import API_VERSION

__all__ = ["builtins", "decode", "one_line", "render"]

#: What JSON lets stand in a string, and a terminal or a reader may take for something else:
#: DEL, the C1 controls, soft hyphen, zero-width and bidi marks, line separators, the BOM.
_HIDDEN = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def builtins(document: Document) -> dict[str, Any]:
    """Return *document* as dictionaries and lists, ``apiVersion`` and ``kind`` first, sets in order."""
    found = msgspec.to_builtins(document, order="deterministic")
    return {"apiVersion": found.pop("apiVersion"), "kind": found.pop("kind"), **found}


def render(document: Document) -> str:
    """Return *document* as JSON text of two-blank indent, the same for the same document."""
    text = json.dumps(builtins(document), indent=2, ensure_ascii=False)
    return _HIDDEN.sub(_escaped, text) + "\n"


def one_line(document: Document) -> str:
    """Return *document* as JSON text of one line."""
    text = json.dumps(builtins(document), ensure_ascii=False)
    return _HIDDEN.sub(_escaped, text) + "\n"


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]


def decode(data: bytes | str, where: str) -> Document:
    """
    Return the document in *data*; *where* names its file in errors.

    Raises UserError for what is not JSON, not of this version, or not of a kind that can be
    rendered.
    """
    try:
        head = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UserError(
            f"not JSON: {error}", where=where, hint="give a result saved with -o json=FILE"
        ) from error
    if not isinstance(head, dict) or "apiVersion" not in head:
        raise UserError("not a result of nettrace", where=where, hint="give a result saved with -o json=FILE")
    if head["apiVersion"] != API_VERSION:
        raise UserError(
            f"written for {head['apiVersion']}, and this nettrace reads {API_VERSION}",
            where=where,
            hint="use the nettrace that wrote it",
        )
    if head.get("kind") == "Snapshot":
        raise UserError(
            "a snapshot is state, not a result", where=where, hint="every command takes it with --from FILE"
        )
    try:
        document: Document = msgspec.convert(head, Document)
    except msgspec.ValidationError as error:
        raise UserError(f"not a document of {API_VERSION}: {error}", where=where) from error
    return document
