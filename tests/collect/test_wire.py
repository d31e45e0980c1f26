"""Netlink messages: attributes to bytes and back, and what is cut short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.collect.wire import attribute, attributes, be32, be64, nfgenmsg, text


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    """What was encoded is decoded, whatever the padding."""
    data = b"".join(attribute(kind, payload) for kind, payload in values.items())
    assert attributes(data) == values
    assert attributes(b"head" + data, 4) == values
    assert len(data) % 4 == 0


def test_flags_in_the_type_are_set_aside() -> None:
    """NLA_F_NESTED and NLA_F_NET_BYTEORDER are not part of the type."""
    assert attributes(attribute(0x8000 | 3, b"x") + attribute(0x4000 | 4, b"y")) == {3: b"x", 4: b"y"}


@given(st.binary(max_size=64))
def test_any_bytes_are_attributes_or_an_error(data: bytes) -> None:
    """Foreign bytes give attributes or ValueError, never another error or an endless loop."""
    try:
        found = attributes(data)
    except ValueError:
        return
    assert sum(len(payload) for payload in found.values()) <= len(data)


def test_a_message_that_is_cut_short() -> None:
    """An attribute longer than the message is an error."""
    with pytest.raises(ValueError, match="cut short"):
        attributes(attribute(1, b"12345678")[:-4])


def test_numbers_and_text() -> None:
    """Numbers of nfnetlink are in network order, strings end at NUL."""
    assert be32(b"\0\0\1\2") == 0x102
    assert be64(b"\0\0\0\0\0\0\1\2") == 0x102
    assert text(b"KUBE-SERVICES\0\0\0") == "KUBE-SERVICES"
    assert nfgenmsg(2) == b"\2\0\0\0"
