"""
JSON to frozen types, strictly: a misspelt field is an error, and an error has its exact place.

Lives here: a mirror of a Struct that forbids unknown fields, so that the types of the model
need not, and a path to the fault that names dictionary keys.
Not here: what the JSON is about.
"""

import re
from functools import cache
from typing import Any, TypeVar, Union, cast

import msgspec
from msgspec import inspect

__all__ = ["StrictError", "decode_strictly"]

T = TypeVar("T")

_AT = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.([A-Za-z_0-9]+)|\[([0-9]+)\]|(\[\.\.\.\])")
_PLAIN: dict[type[inspect.Type], Any] = {
    inspect.AnyType: Any,
    inspect.BoolType: bool,
    inspect.FloatType: float,
    inspect.IntType: int,
    inspect.NoneType: None,
    inspect.RawType: msgspec.Raw,
    inspect.StrType: str,
}


class StrictError(ValueError):
    """*path* (``$.namespaces["node-a"].links``) does not hold what it should; *what* says why."""

    def __init__(self, what: str, path: str) -> None:
        super().__init__(f"{what} at {path}")
        self.what = what
        self.path = path


def decode_strictly(data: bytes, kind: type[T]) -> T:
    """
    Return the *kind* (a Struct) that the JSON in *data* holds.

    StrictError for a field that is unknown, missing or of another type; msgspec.DecodeError,
    UnicodeDecodeError or RecursionError for data that is not JSON.
    """
    try:
        decoded = msgspec.json.decode(data, type=kind)
        msgspec.json.decode(data, type=_mirror_of(cast("Any", kind)))
    except msgspec.ValidationError as error:
        what, path = _taken_apart(error)
        raise StrictError(
            what, "$" + _named(path, msgspec.json.decode(data), inspect.type_info(kind))
        ) from None
    return decoded


@cache
def _mirror_of(kind: Any) -> Any:
    return _mirror(inspect.type_info(kind))


def _mirror(info: inspect.Type) -> Any:
    """Return the type that *info* describes with Structs that forbid unknown fields for all Structs in it."""
    match info:
        case inspect.StructType():
            return _mirror_struct(info)
        case inspect.UnionType():
            return Union[tuple(_mirror(one) for one in info.types)]  # noqa: UP007 - built at run time
        case inspect.VarTupleType() | inspect.ListType():
            return list[_mirror(info.item_type)]  # type: ignore[misc]
        case inspect.FrozenSetType() | inspect.SetType():
            return set[_mirror(info.item_type)]  # type: ignore[misc]
        case inspect.TupleType():
            return tuple[tuple(_mirror(one) for one in info.item_types)]  # type: ignore[misc]
        case inspect.DictType():
            return dict[_mirror(info.key_type), _mirror(info.value_type)]  # type: ignore[misc]
        case inspect.EnumType():
            return info.cls
        case _:
            return _PLAIN[type(info)]


def _mirror_struct(info: inspect.StructType) -> type[msgspec.Struct]:
    fields = [
        (field.encode_name, _mirror(field.type))
        if field.required
        else (field.encode_name, _mirror(field.type), None)
        for field in info.fields
    ]
    return msgspec.defstruct(
        "Strict",
        fields,
        tag=info.tag,
        tag_field=info.tag_field,
        kw_only=True,
        forbid_unknown_fields=True,
    )


def _taken_apart(error: msgspec.ValidationError) -> tuple[str, str]:
    found = _AT.fullmatch(str(error))
    return (found[1], found[2] or "") if found else (str(error), "")


def _named(path: str, raw: Any, info: inspect.Type) -> str:
    """Return *path* with the dictionary's key in place of each ``[...]``: the first key that is at fault."""
    done = ""
    for name, index, anywhere in _STEP.findall(path):
        if anywhere:
            inner = info.value_type if isinstance(info, inspect.DictType) else info
            kind = _mirror(inner)
            key = next((key for key, value in raw.items() if not _fits(value, kind)), "...")
            done += f"[{msgspec.json.encode(key).decode()}]"
            raw, info = raw.get(key), inner
        elif index:
            done += f"[{index}]"
            raw, info = raw[int(index)], _item(info, int(index))
        else:
            done += f".{name}"
            raw, info = raw.get(name), _field(info, name)
        info = _chosen(info, raw)
    return done


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _item(info: inspect.Type, index: int) -> inspect.Type:
    if isinstance(info, inspect.TupleType):
        return info.item_types[index]
    return getattr(info, "item_type", inspect.AnyType())


def _field(info: inspect.Type, name: str) -> inspect.Type:
    fields = info.fields if isinstance(info, inspect.StructType) else ()
    return next((field.type for field in fields if field.encode_name == name), inspect.AnyType())


def _chosen(info: inspect.Type, raw: Any) -> inspect.Type:
    """Return the member of a union that *raw* is one of: by its tag, else the one that is no Struct."""
    if not isinstance(info, inspect.UnionType):
        return info
    for one in info.types:
        if isinstance(one, inspect.StructType):
            if isinstance(raw, dict) and (one.tag is None or raw.get(one.tag_field or "") == one.tag):
                return one
        elif isinstance(one, inspect.DictType | inspect.VarTupleType | inspect.TupleType) and isinstance(
            raw, dict | list
        ):
            return one
    return inspect.AnyType()
