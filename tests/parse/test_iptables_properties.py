"""What holds for every rule: printing and reading undo each other, and nothing makes them fall over."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.model.section import Known
from nettrace.model.xt import Counters, XtChain, XtRule, XtRuleset, XtTable
from nettrace.model.xt_match import UnknownMatch
from nettrace.parse.iptables import (
    parse_chain,
    parse_rule,
    parse_save,
    rule_args,
    rule_from_args,
    rule_text,
    save_text,
)
from tests.parse.rules import rules

#: Pieces that rules are made of, to put together in ways that make no sense.
_PIECES = st.sampled_from(
    (
        *(
            "-m",
            "-j",
            "-g",
            "!",
            "-s",
            "-d",
            "-p",
            "-i",
            "-f",
            "-c",
            "-A",
            "X",
            "tcp",
            "udp",
            "set",
            "recent",
        ),
        *(
            "--dport",
            "--ctstate",
            "--comment",
            "--match-set",
            "--set",
            "--name",
            "NEW",
            "80",
            "1.2.3.4",
            "a/b",
        ),
        *(
            '"',
            '"a b"',
            "\\",
            '"\\"',
            "\n",
            "",
            "MARK",
            "--set-xmark",
            "0x1/",
            "CT",
            "LOG",
            "ACCEPT",
            "-",
            "--",
            "é",
        ),
    )
)
_LINES = st.sampled_from(
    (
        "*nat",
        "*filter",
        "COMMIT",
        ":X -",
        ":INPUT ACCEPT [0:0]",
        "[1:2] -A X -j X",
        '-A X "',
        "-P X",
        "-N X",
        "#",
        "",
    )
)


@given(rules)
@settings(max_examples=300, deadline=None)
def test_reading_undoes_printing(rule: XtRule) -> None:
    """Any rule is read back from its text as it was, and the text from that."""
    text = rule_text(rule)
    read = parse_rule(text)
    assert read == rule
    assert rule_text(read) == text


@given(rules.filter(lambda rule: not any(isinstance(match, UnknownMatch) for match in rule.matches)))
@settings(max_examples=100, deadline=None)
def test_arguments_are_the_rule(rule: XtRule) -> None:
    """The words for execve(2) mean the same rule as its text."""
    assert rule_from_args(rule_args(rule)) == rule


@given(st.lists(rules, max_size=5), st.booleans())
@settings(max_examples=100, deadline=None)
def test_reading_undoes_saving(some: list[XtRule], counted: bool) -> None:
    """A whole rule set comes back from its dump; jumps to chains it does not have become unknown targets."""
    names = {rule.target.chain for rule in some if hasattr(rule.target, "chain")}
    counters = tuple(Counters(number, number) for number in range(len(some))) if counted and some else None
    chains = {
        "INPUT": XtChain(
            policy="ACCEPT", rules=tuple(some), counters=counters, policy_counters=Counters(1, 2)
        ),
        **{name: XtChain(counters=() if counters else None) for name in sorted(names)},
    }
    ruleset = XtRuleset({"filter": Known(XtTable({name: Known(chain) for name, chain in chains.items()}))})
    assert parse_save(save_text(ruleset, counters=counted)) == ruleset


@given(st.lists(_PIECES, max_size=12).map(" ".join))
@settings(max_examples=500, deadline=None)
def test_nonsense_is_an_error_or_comes_back(text: str) -> None:
    """Whatever the text, it is refused with a UserError, or its rule's text is stable."""
    with suppress(UserError):
        rule = parse_rule(text)
        assert parse_rule(rule_text(rule)) == rule


@given(st.lists(_LINES, max_size=12).map("\n".join) | st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_nonsense_dumps(text: str) -> None:
    """Whatever the dump or the listing, it is read or refused with a UserError."""
    with suppress(UserError):
        parse_save(text)
    with suppress(UserError):
        parse_chain(text, "X")
