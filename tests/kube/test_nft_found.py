"""Text of nft as tables, and text that is none."""

import pytest

from nettrace.kube.nft_found import canonical_element, canonical_rule, listed_tables
from nettrace.model.errors import UserError

TEXT = """
# a comment
table ip kube-proxy { # handle 1
	comment "rules { for"
	counter c {
		packets 0 bytes 0
	}

	set s {
		typeof ip saddr
		flags timeout,dynamic
		elements = { 10.0.0.1 expires 3s, 10.0.0.2 comment "a,b" }
	}

	chain c { # handle 2
		type filter hook input priority filter + 5; policy drop;
		ip daddr { 10.0.0.1, 10.0.0.2 } drop # handle 3
	}

	chain empty {
	}
}
"""


def test_a_listing() -> None:
    """Handles, other objects and times are left out; braces and commas in quotes are text."""
    (table,) = listed_tables(TEXT)
    assert (table.family, table.name, table.comment) == ("ip", "kube-proxy", "rules { for")
    (one,) = table.sets
    assert one.type == "ip saddr"
    assert one.flags == ("dynamic", "timeout")
    assert one.elements == ("10.0.0.1", '10.0.0.2 comment "a,b"')
    chain, empty = table.chains
    assert chain.base is not None
    assert (chain.base.priority, chain.base.policy) == (5, "drop")
    assert chain.rules == ("ip daddr { 10.0.0.1, 10.0.0.2 } drop",)
    assert empty.rules == ()
    assert listed_tables("") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*nat\n", "not text of nft"),
        ("table ip t {\nchain c {\n", "in the middle of a block"),
        ("table ip t {\nchain c {\ntype nat hook input priority odd; policy accept;\n}\n}\n", "no priority"),
    ],
)
def test_what_is_no_listing(text: str, words: str) -> None:
    """It is told, not guessed at."""
    with pytest.raises(UserError, match=words):
        listed_tables(text)


def test_what_versions_of_nft_print_differently() -> None:
    """A map of address and port is the same rule with and without the words for it."""
    assert canonical_rule("dnat ip addr . port to  x # handle 9") == "dnat ip to x"
    assert canonical_element("1.2.3.4 counter packets 3 bytes 9 expires 4m") == "1.2.3.4"
