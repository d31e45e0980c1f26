"""Strict decoding of any Struct, beyond what a snapshot has."""

from enum import StrEnum
from typing import Any

import pytest
from msgspec import Struct

from nettrace.parse.strict import StrictError, decode_strictly


class Colour(StrEnum):
    """Any enumeration."""

    RED = "red"


class Inner(Struct, frozen=True):
    """Any object."""

    weight: float = 0.0
    on: bool = False


class Outer(Struct, frozen=True):
    """Every kind of field."""

    pair: tuple[int, str] = (0, "")
    several: list[Inner] = []
    names: set[str] = set()
    anything: Any = None
    colour: Colour = Colour.RED
    deep: dict[str, tuple[Inner, ...]] | int = 0
    either: Inner | None = None


def test_all_kinds_of_fields() -> None:
    """Every kind of field is decoded."""
    text = (
        b'{"pair":[1,"a"],"several":[{"weight":1.5}],"names":["x"],"anything":{"y":1},"colour":"red",'
        b'"deep":{"k":[{"on":true}]},"either":{}}'
    )
    assert decode_strictly(text, Outer) == Outer(
        pair=(1, "a"),
        several=[Inner(1.5)],
        names={"x"},
        anything={"y": 1},
        colour=Colour.RED,
        deep={"k": (Inner(on=True),)},
        either=Inner(),
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b'{"pair":[1,2]}', "$.pair[1]"),
        (b'{"several":[{},{"odd":1}]}', "$.several[1]"),
        (b'{"names":[1]}', "$.names[0]"),
        (b'{"deep":{"k":[{"on":true}],"l":[{"on":1}]}}', '$.deep["l"][0].on'),
        (b'{"deep":"x"}', "$.deep"),
        (b'{"either":{"odd":1}}', "$.either"),
        (b'{"either":{"on":1}}', "$.either.on"),
        (b"[]", "$"),
    ],
)
def test_place_of_a_fault(text: bytes, path: str) -> None:
    """The place names every key and index on the way."""
    with pytest.raises(StrictError) as caught:
        decode_strictly(text, Outer)
    assert caught.value.path == path
