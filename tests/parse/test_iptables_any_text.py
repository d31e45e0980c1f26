"""Any text at all: a rule, or an error that says where; never anything else."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.model.xt_match import Extension, UnknownMatch
from nettrace.model.xt_target import ExtensionTarget, UnknownTarget
from nettrace.parse.iptables import (
    extension_options,
    parse_chain,
    parse_rule,
    parse_save,
    rule_text,
    save_text,
)
from nettrace.parse.xt.extensions import EXTENSION_MATCHES, EXTENSION_TARGETS
from nettrace.walk.context import Run, Undecided
from nettrace.walk.limits import Limits
from nettrace.walk.matches import match_matches
from nettrace.walk.namespace import namespace
from nettrace.walk.point import HookPoint, Unsure
from nettrace.walk.skb import Skb
from nettrace.walk.targets import Place, apply_target
from tests.walk.test_matches import packet
from tests.walk.worlds import flow, router

_OPTIONS = sorted(
    {option for one in (*EXTENSION_MATCHES.values(), *EXTENSION_TARGETS.values()) for option in one.options}
)
_WORDS = st.one_of(
    st.sampled_from(
        ["-m", "-j", "-g", "-p", "-s", "!", "-A", "*filter", "COMMIT", ":INPUT ACCEPT [0:0]", '"', "\\"]
    ),
    st.sampled_from(_OPTIONS),
    st.sampled_from(sorted([*EXTENSION_MATCHES, *EXTENSION_TARGETS, "tcp", "set", "DNAT", "conntrack"])),
    st.text(max_size=12),
    st.integers(-5, 2**33).map(str),
)
_LINES = st.lists(_WORDS, max_size=12).map(" ".join)


def _tried(read: Callable[..., Any], *args: str) -> Any:
    """What a reader makes of text: its result, or its error."""
    try:
        return read(*args)
    except UserError as error:
        return error


@given(_LINES)
def test_any_rule(text: str) -> None:
    """Text is a rule that comes back the same once printed, or an error that quotes it."""
    found = _tried(parse_rule, text)
    if isinstance(found, UserError):
        assert found.where == text
        assert found.hint
    else:
        assert parse_rule(rule_text(found)) == found


@given(st.lists(_LINES, max_size=8).map("\n".join))
def test_any_dump(text: str) -> None:
    """A broken dump is an error with its line and what to do; a whole one is printed as it was read."""
    found = _tried(parse_save, text)
    if isinstance(found, UserError):
        assert "line" in str(found.where)
        assert found.hint
    else:
        assert parse_save(save_text(found)) == found
    listed = _tried(parse_chain, text, "INPUT")
    assert not isinstance(listed, UserError) or "line" in str(listed.where)


@st.composite
def _extension_texts(draw: st.DrawFn) -> tuple[bool, str, str]:
    """Options of an extension, each with values that may be anything."""
    match = draw(st.booleans())
    grammars: dict[str, Any] = EXTENSION_MATCHES if match else EXTENSION_TARGETS
    name = draw(st.sampled_from(sorted(grammars)))
    values = st.one_of(
        st.text(alphabet="0123456789abcdefx:.-,/|&>=@ ", min_size=1, max_size=12),
        st.sampled_from(["1", "0x10/0xff", "1:5", "10.1.0.2", "10.1.0.0/24", "fd00::1", "src", "mark"]),
    )
    parts = []
    for option, count in sorted(grammars[name].options.items()):
        if draw(st.booleans()):
            given_values = [f'"{draw(values)}"' for _ in range(count)]
            parts.append(" ".join([*(["!"] if draw(st.booleans()) else []), option, *given_values]))
    return match, name, " ".join(parts)


@given(_extension_texts())
def test_any_values_of_an_extension(drawn: tuple[bool, str, str]) -> None:
    """Whatever an extension is given, the walk answers yes, no, or that it cannot tell."""
    is_match, name, text = drawn
    run = Run(snapshot=router().snapshot(), flow=flow("r", "10.2.0.2", 80), limits=Limits())
    point = HookPoint(namespace(run, "r"), "forward", "c", "s")
    skb = Skb(packet(), "r", device="c", mss=1460)
    if is_match:
        rule = parse_rule(f"-m {name} {text}".rstrip())
        (match,) = rule.matches
        assert isinstance(match, Extension | UnknownMatch)
        if isinstance(match, Extension):
            extension_options(match)
        assert isinstance(match_matches(run, skb, point, match), bool | Unsure)
        return
    rule = parse_rule(f"-j {name} {text}".rstrip())
    assert isinstance(rule.target, ExtensionTarget | UnknownTarget)
    with suppress(Undecided):
        apply_target(run, skb, point, Place("nft", "mangle", "FORWARD", 1), rule)
