"""Names of protocols and their numbers."""

import pytest

from nettrace.model.protocol import base_protocol, protocol_name, protocol_number


@pytest.mark.parametrize("number", range(256))
def test_every_number_has_a_name_that_leads_back(number: int) -> None:
    """What a packet is called stands for its number, and iptables' words for both mean the same."""
    name = protocol_name(number)
    assert protocol_number(name) == number
    assert base_protocol(str(number)) == base_protocol(name)


@pytest.mark.parametrize("word", ["", "arp", "tcp/ip"])
def test_what_is_no_protocol_has_no_number(word: str) -> None:
    """Neither a name nor a number."""
    with pytest.raises(ValueError, match="invalid literal"):
        protocol_number(word)
