"""
Manifests on disk: read, looked into, written.

Lives here: a directory of YAML or JSON as a list of objects, and fields of objects with their
types checked, since what a user wrote may hold anything anywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nettrace.model.errors import UserError
from nettrace.parse.manifests import parse_documents

__all__ = ["Document", "at", "mapping_list", "name_of", "read_directory", "text_map", "title", "written"]

Document = Mapping[str, Any]
T = TypeVar("T")

_SUFFIXES = (".yaml", ".yml", ".json")
_WORDS = {str: "text", int: "a number", dict: "a mapping", list: "a list", bool: "true or false"}


def read_directory(path: Path) -> Sequence[Document]:
    """
    Read all manifests in a directory, or one file, in the order of their names.

    UserError if there are none, or if one cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(entry for entry in path.rglob("*") if entry.suffix in _SUFFIXES)
        else:
            files = [path]
        texts = [(file, file.read_text(encoding="utf-8")) for file in files]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"manifests cannot be read: {reason.lower()}", where=str(path)) from error
    found = [document for file, text in texts for document in parse_documents(text, str(file))]
    if not found:
        raise UserError(
            "there are no manifests here", where=str(path), hint=f"files end in {', '.join(_SUFFIXES)}"
        )
    return found


def at(value: Document, path: str, kind: type[T], default: T, *, of: Document | None = None) -> T:
    """
    Return the field at a dotted *path*; *default* where it or one above it is absent or null.

    *of* is the object that *value* is a part of, for messages.  UserError if the field is of
    another type than *kind*.
    """
    owner = value if of is None else of
    found: Any = value
    for key in path.split("."):
        if found is None:
            return default
        if not isinstance(found, Mapping):
            raise _wrong(owner, path, dict)
        found = found.get(key)
    if found is None:
        return default
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise _wrong(owner, path, kind)
    return found


def mapping_list(value: Document, path: str, *, of: Document | None = None) -> list[dict[str, Any]]:
    """Return the list of mappings at *path*, [] where it is absent; UserError for anything else."""
    found: list[Any] = at(value, path, list, [], of=of)
    if not all(isinstance(entry, dict) for entry in found):
        raise _wrong(value if of is None else of, f"{path}[]", dict)
    return found


def text_map(document: Document, path: str) -> dict[str, str]:
    """Return the labels or the selector at *path*; UserError if a value is not text."""
    found: dict[Any, Any] = at(document, path, dict, {})
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in found.items()):
        raise UserError(
            f"{title(document)}: {path} may hold text only", hint='quote numbers and booleans: "1", "true"'
        )
    return found


def name_of(document: Document) -> tuple[str, str]:
    """Namespace and name of an object; UserError without a name."""
    name = at(document, "metadata.name", str, "")
    if not name:
        raise UserError(f"an object of kind {document.get('kind')} has no metadata.name")
    return at(document, "metadata.namespace", str, "default") or "default", name


def title(document: Document) -> str:
    """How messages call an object."""
    metadata = document.get("metadata")
    names = metadata if isinstance(metadata, Mapping) else {}
    return f"{document.get('kind')} {names.get('namespace', 'default')}/{names.get('name', '?')}"


def written(documents: Sequence[Document]) -> str:
    """Return objects as one multi-document YAML text."""
    import yaml  # noqa: PLC0415  (70 ms that only a cluster needs)

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(
        yaml.dump_all(
            [_plain(document) for document in documents], Dumper=dumper, sort_keys=False, explicit_start=True
        )
    )


def _plain(value: Any) -> Any:
    """A copy without shared parts, which YAML would write as anchors."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _wrong(document: Document, path: str, kind: type) -> UserError:
    return UserError(f"{title(document)}: {path} must be {_WORDS.get(kind, kind.__name__)}")
