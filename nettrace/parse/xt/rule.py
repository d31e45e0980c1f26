"""
One rule: text to XtRule and back.

Lives here: the base options and putting the parts together.
Not here: matches, targets, the listing that a rule stands in.
"""

import re
from functools import lru_cache

from nettrace.model.errors import UserError
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import Match, Negatable, UnknownMatch
from nettrace.model.xt_target import PassThrough, Target, UnknownTarget
from nettrace.parse.xt.loose import regroup
from nettrace.parse.xt.matches import MATCHES, match_text, parse_match
from nettrace.parse.xt.targets import AS_TEXT, parse_target, target_text
from nettrace.parse.xt.values import negated, prefix
from nettrace.parse.xt.words import Part, join, split_spec, words

__all__ = ["parse_rule", "read_rule", "rule_args", "rule_from_args", "rule_text"]

_FIELDS = {"-s": "src", "-d": "dst", "-i": "in_device", "-o": "out_device", "-p": "proto"}
_LEADING = re.compile(r"\s*(?:-A|--append) \S+(?: |$)")


def parse_rule(text: str) -> XtRule:
    """
    Return the rule that *text* specifies, with or without ``-A CHAIN`` before it.

    The text may be what iptables-save prints or what a person types.  UserError if it is not
    a rule.
    """
    leading = _LEADING.match(text)
    spec = text[leading.end() :] if leading else text
    try:
        return read_rule(spec.strip(" "))
    except ValueError as error:
        raise UserError(
            f"not an iptables rule: {error}",
            where=text,
            hint="write it as iptables-save prints it, without -t and -I",
        ) from None


def rule_from_args(args: list[str]) -> XtRule:
    """Return the rule that the words after ``iptables -A CHAIN`` specify.  UserError as parse_rule."""
    return parse_rule(join(args))


def rule_text(rule: XtRule) -> str:
    """Return the specification as iptables-save 1.8.9 prints it, without ``-A CHAIN``."""
    text = (
        _prefix_text("-s", rule.src)
        + _prefix_text("-d", rule.dst)
        + _base_text("-i", rule.in_device)
        + _base_text("-o", rule.out_device)
        + _base_text("-p", rule.proto)
    )
    if rule.fragment is not None:
        text += f" {negated(not rule.fragment)}-f"
    text += "".join([f" -m {match_text(match)}" for match in rule.matches]) + target_text(rule.target)
    return text[1:]


def rule_args(rule: XtRule) -> list[str]:
    """Return the specification as words for execve(2), without ``-A CHAIN``."""
    return words(rule_text(rule))


def read_rule(spec: str) -> XtRule:
    """Return the rule of a bare specification; ValueError if it is none."""
    base, parts = split_spec(spec)
    try:
        rule = _build(base, parts)
    except ValueError:
        typed = regroup(spec)
        if typed is None:
            raise
        return _build(*typed)
    if _understood(rule):
        return rule
    # A known match with options it does not have: they may be a person's, out of place.
    typed = regroup(spec)
    if typed is not None:
        tried = _build(*typed)
        if _understood(tried):
            return tried
    return rule


def _build(base: str, parts: list[Part]) -> XtRule:
    matches: list[Match] = []
    target: Target | None = None
    for letter, text in parts:
        if letter == "m" and target is None:
            matches.append(parse_match(text))
        elif target is None:
            target = parse_target(text, letter == "g")
        else:
            raise ValueError("something follows the target")
    fields = _base(base)
    return XtRule(matches=tuple(matches), target=target or PassThrough(), **fields)  # type: ignore[arg-type]


@lru_cache(maxsize=65536)
def _base(text: str) -> dict[str, Negatable | bool | None]:
    """Return XtRule's fields for the base options; shared between callers, who do not change it."""
    fields: dict[str, Negatable | bool | None] = {}
    invert = False
    rest = iter(words(text))
    for word in rest:
        if word == "!":
            if invert:
                raise ValueError("two negations in a row")
            invert = True
            continue
        name = "fragment" if word == "-f" else _FIELDS.get(word)
        if name is None:
            raise ValueError(f"{word} is not known here")
        if name in fields:
            raise ValueError(f"{word} is given twice")
        fields[name] = not invert if name == "fragment" else _value(word, next(rest, ""), invert)
        invert = False
    if invert:
        raise ValueError("a negation stands alone")
    return fields


def _value(option: str, value: str, invert: bool) -> Negatable | None:
    """Return what a base option tests, None for a test that is always true, which iptables does not print."""
    if not value or value == "!":
        raise ValueError(f"{option} lacks its value")
    if any(letter.isspace() or letter == '"' for letter in value):
        # No protocol of /etc/protocols and no device (dev_valid_name(), net/core/dev.c) is called so.
        raise ValueError(f"{option} {value!r} has a blank or a quote in it")
    if option in ("-s", "-d"):
        value = prefix(value)
        anything = value in ("0.0.0.0/0", "::/0")
    elif option == "-p":
        value = "ipv6-icmp" if value.lower() == "icmpv6" else value.lower()
        anything = value in ("all", "0")
    else:
        anything = value == "+"
    return None if anything and not invert else Negatable(value, invert)


def _understood(rule: XtRule) -> bool:
    """Is nothing of the rule kept as text although nettrace knows the match or the target?"""
    if isinstance(rule.target, UnknownTarget) and rule.target.name not in AS_TEXT:
        return False
    return not any(isinstance(match, UnknownMatch) and match.name in MATCHES for match in rule.matches)


def _prefix_text(option: str, test: Negatable | None) -> str:
    if test is None or (not test.invert and test.value in ("0.0.0.0/0", "::/0")):
        return ""
    value = test.value if "/" in test.value else prefix(test.value)
    return f" {negated(test.invert)}{option} {value}"


def _base_text(option: str, test: Negatable | None) -> str:
    return "" if test is None else f" {negated(test.invert)}{option} {test.value}"
