"""Masks that are no prefix length: iptables takes any, and so does the model."""

import pytest

from nettrace.model.addr import in_prefix, prefix_contains
from nettrace.parse.iptables import parse_rule


@pytest.mark.parametrize(
    ("test", "inside", "outside"),
    [
        ("0.0.0.5/0.0.0.255", "10.1.2.5", "0.0.0.6"),
        ("1.9.3.9/255.0.255.0", "1.2.3.4", "1.2.4.4"),
        ("10.1.2.3/255.0.0.0", "10.9.9.9", "11.1.2.3"),
        ("fd00::5/ffff::ffff", "fd00:1::5", "fd00:1::6"),
    ],
)
def test_any_mask(test: str, inside: str, outside: str) -> None:
    """What -s tests with a mask is what the kernel compares: the bits that are set in it."""
    source = parse_rule(f"-s {test} -j ACCEPT").src
    assert source is not None
    assert in_prefix(inside, source.value)
    assert not in_prefix(outside, source.value)
    assert prefix_contains(source.value, inside)
