"""Taking changes of rules back, in a chain that is only in memory."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.apply import effect
from nettrace.model.change import Exact, RuleDelete, RuleInsert, RuleReplace
from nettrace.model.plan import ChainImage, PlannedChange
from nettrace.model.xt import XtChain, XtRule
from nettrace.parse.iptables import parse_rule, rule_text

RULES = tuple(parse_rule(text) for text in ("-j ACCEPT", "-j DROP", "-s 10.0.0.1/32 -j RETURN", "-i eth0"))
PLACE: dict[str, Any] = {"netns": "n", "backend": "nft", "table": "filter", "chain": "FORWARD"}


class Chain:
    """A chain as the kernel would keep it."""

    def __init__(self, rules: tuple[XtRule, ...]) -> None:
        self.rules = list(rules)

    def now(self, *_: object) -> XtChain:
        """What reading it gives."""
        return XtChain(policy="ACCEPT", rules=tuple(self.rules))

    def apply(self, _path: str, change: Any, **_: object) -> None:
        """Make a change; AssertionError where iptables would refuse it."""
        at = change.position - 1
        if isinstance(change, RuleInsert):
            assert at <= len(self.rules)
            self.rules.insert(at, change.rule)
        elif isinstance(change, RuleDelete):
            assert self.rules.pop(at) == change.rule
        else:
            assert self.rules[at] == change.old
            self.rules[at] = change.rule


@st.composite
def changes(draw: Any, rules: list[XtRule]) -> Any:
    """A change that fits the chain as it is."""
    kinds = [RuleInsert, RuleDelete, RuleReplace] if rules else [RuleInsert]
    kind = draw(st.sampled_from(kinds))
    at = draw(st.integers(0, len(rules) - (kind is not RuleInsert)))
    if kind is RuleDelete:
        return RuleDelete(**PLACE, position=at + 1, rule=rules[at])
    new = draw(st.sampled_from(RULES))
    if kind is RuleReplace:
        return RuleReplace(**PLACE, position=at + 1, old=rules[at], rule=new)
    return RuleInsert(**PLACE, position=at + 1, rule=new)


def planned(change: Any) -> PlannedChange:
    """A change as a plan has it."""
    return PlannedChange(node="n", netns="n", change=change, command="", undo=Exact(()))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_whatever_took_effect_is_taken_back(data: Any) -> None:
    """Wherever a sequence of changes of one chain broke off, going back, twice, gives the chain that was."""
    original = tuple(data.draw(st.lists(st.sampled_from(RULES), max_size=6)))
    chain = Chain(original)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effect, "chain_now", chain.now)
        patch.setattr(effect, "apply_change", chain.apply)
        number = data.draw(st.integers(1, 4))
        made: list[Any] = []
        images: list[ChainImage] = []
        for index in range(number):
            made.append(data.draw(changes(chain.rules)))
            images.append(effect.image_of("", made[-1], index))
            if index < number - 1 or data.draw(st.booleans()):  # the last one may not have come about
                chain.apply("", made[-1])
        for _ in range(2):
            for index in reversed(range(number)):
                assert effect.take_back("", planned(made[index]), images[: index + 1]) == ""
            assert tuple(chain.rules) == original


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_rules_of_others_stay(data: Any) -> None:
    """If somebody added rules of their own meanwhile, exactly those are left beside the old ones."""
    original = data.draw(st.lists(st.sampled_from(RULES), max_size=5, unique=True))
    chain = Chain(tuple(original))
    others = [parse_rule(f"-s 192.0.2.{n}/32 -j ACCEPT") for n in range(data.draw(st.integers(1, 2)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effect, "chain_now", chain.now)
        patch.setattr(effect, "apply_change", chain.apply)
        change = data.draw(changes(chain.rules))
        image = effect.image_of("", change, 0)
        took = data.draw(st.booleans())
        certain = took and data.draw(st.booleans())
        if took:
            chain.apply("", change)
        for other in others:
            chain.rules.insert(data.draw(st.integers(0, len(chain.rules))), other)
        note = effect.take_back("", planned(change), [image], certain=certain)
        assert [rule for rule in chain.rules if rule not in others] == original
        assert sorted(map(rule_text, others)) == sorted(rule_text(r) for r in chain.rules if r in others)
        assert "somebody else" in note or not took or change.rule == getattr(change, "old", None)


def test_a_rule_that_the_kernel_spells_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule known to have been inserted is taken from its position although it reads back differently."""
    chain = Chain((RULES[1],))
    monkeypatch.setattr(effect, "chain_now", chain.now)
    monkeypatch.setattr(effect, "apply_change", chain.apply)
    change = RuleInsert(**PLACE, position=1, rule=RULES[0])
    image = effect.image_of("", change, 0)
    chain.rules.insert(0, RULES[2])
    assert effect.take_back("", planned(change), [image], certain=True) == ""
    assert chain.rules == [RULES[1]]


def test_a_change_that_was_never_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an image a change of a rule was not begun, and the chain is not even read."""
    monkeypatch.setattr(effect, "chain_now", None)
    change = RuleInsert(**PLACE, position=1, rule=RULES[0])
    assert effect.take_back("", planned(change)) == ""


def test_a_chain_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain that somebody deleted is said to be gone."""
    monkeypatch.setattr(effect, "chain_now", lambda *_: None)
    change = RuleInsert(**PLACE, position=1, rule=RULES[0])
    note = effect.take_back("", planned(change), [ChainImage(index=0, rules=())])
    assert note == "chain FORWARD of table filter is gone"
