"""
Rules through the kernel: loaded, read back by iptables-save, parsed, printed, loaded again.

The rules are those of fixtures/iptables-1.8.9: one for each option that nettrace types.
"""

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nettrace.model.section import Known
from nettrace.model.xt import TABLES, XtChain, XtRuleset
from nettrace.parse.iptables import parse_chain, parse_rule, parse_save, rule_args, rule_text, save_text
from tests.kernel.bed import Bed, Space

FIXTURES = Path(__file__).parents[2] / "fixtures"
RECORDED: list[dict[str, Any]] = json.loads((FIXTURES / "iptables-1.8.9/rules.json").read_text())
SETS = (
    "ipset create S1 hash:ip; ipset create S2 hash:ip,port; ipset create S3 hash:net; "
    "ipset create S6 hash:ip,port family inet6"
)

COMMANDS = {4: "iptables", 6: "ip6tables"}

both_backends = pytest.mark.parametrize("backend", ["nft", "legacy"])
both_families = pytest.mark.parametrize("family", [4, 6])


def _command(family: int, backend: str) -> str:
    command = f"{COMMANDS[family]}-{backend}"
    if shutil.which(command) is None:
        pytest.skip(f"needs {command}")
    version = subprocess.run([command, "-V"], check=True, capture_output=True, text=True).stdout
    if "v1.8.9 " not in version:
        pytest.skip(f"the rules are recorded from iptables 1.8.9, this is {version.strip()}")
    return command


def _recorded(family: int, backend: str) -> list[dict[str, Any]]:
    """The rules of a family, without those that only the other back end keeps whole."""
    return [one for one in RECORDED if one["family"] == family and one.get("backend", backend) == backend]


def _load(space: Space, command: str, rules: list[tuple[str, list[str]]]) -> dict[int, str]:
    """
    Put each rule into a chain of its own, called by its number, and return what the kernel has.

    A rule that this kernel refuses is left out.
    """
    script = [SETS, *(f"{command} -t {table} -N T0" for table in TABLES)]
    for number, (table, words) in enumerate(rules, 1):
        script.append(f"{command} -t {table} -N T{number}")
        script.append(f"{command} -t {table} -A T{number} {shlex.join(words)}")
    space.run("bash", stdin="\n".join(script), check=False)
    chains = _chains(parse_save(space.run(f"{command}-save")))
    return {
        number: rule_text(chains[table, f"T{number}"].rules[0])
        for number, (table, _) in enumerate(rules, 1)
        if chains[table, f"T{number}"].rules
    }


def _chains(ruleset: XtRuleset) -> dict[tuple[str, str], XtChain]:
    found = {}
    for table, section in ruleset.tables.items():
        assert isinstance(section, Known)
        for name, chain in section.value.chains.items():
            assert isinstance(chain, Known)
            found[table, name] = chain.value
    return found


def _without_comments(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if not line.startswith("#"))


def _is_ambiguous(recorded: dict[str, Any]) -> bool:
    """Is the text not enough to say what the arguments were?  iptables quotes no name of a recent list."""
    return "--name a b" in recorded["printed"]


@both_families
@both_backends
def test_every_option_goes_through_the_kernel(netns: Bed, family: int, backend: str) -> None:
    """What people type, the kernel holds and iptables prints is what the model says, to the letter."""
    command = _command(family, backend)
    rules = _recorded(family, backend)
    space = netns.new()
    loaded = _load(space, command, [(one["table"], one["typed"]) for one in rules])
    assert len(loaded) > 0.9 * len(rules), "this kernel refuses most of it"
    assert loaded == {number: one["printed"] for number, one in enumerate(rules, 1) if number in loaded}
    text = space.run(f"{command}-save", "-c")
    assert save_text(parse_save(text), counters=True) == _without_comments(text)


@both_families
@both_backends
def test_arguments_load_the_same_rule(netns: Bed, family: int, backend: str) -> None:
    """A rule's arguments, given to iptables, make the same rule again."""
    command = _command(family, backend)
    rules = [one for one in _recorded(family, backend) if not _is_ambiguous(one)]
    loaded = _load(
        netns.new(), command, [(one["table"], rule_args(parse_rule(one["printed"]))) for one in rules]
    )
    assert len(loaded) > 0.9 * len(rules), "this kernel refuses most of it"
    assert loaded == {number: one["printed"] for number, one in enumerate(rules, 1) if number in loaded}


@both_backends
def test_listings_say_what_dumps_say(netns: Bed, backend: str) -> None:
    """One chain's listing, with and without counters, is the chain of the whole dump."""
    command = _command(4, backend)
    space = netns.new()
    _load(space, command, [(one["table"], one["typed"]) for one in _recorded(4, backend)])
    chains = _chains(parse_save(space.run(f"{command}-save", "-c")))
    for table in ("raw", "mangle", "nat", "filter"):
        counted = space.run(command, "-t", table, "-v", "-S")
        plain = space.run(command, "-t", table, "-S")
        for (where, name), chain in chains.items():
            if where != table:
                continue
            listed = parse_chain(counted, name)
            assert listed is not None
            assert (listed.policy, listed.rules, listed.policy_counters) == (
                chain.policy,
                chain.rules,
                chain.policy_counters,
            )
            assert not listed.rules or listed.counters == chain.counters
            bare = parse_chain(plain, name)
            assert bare is not None
            assert (bare.policy, bare.rules, bare.counters) == (chain.policy, chain.rules, None)
        assert parse_chain(space.run(command, "-t", table, "-S", "NOWHERE", check=False), "NOWHERE") is None


@both_backends
@pytest.mark.parametrize("dump", ["iptables-1.36/iptables-save-c.txt", "iptables-1.20/iptables-save-c.txt"])
def test_kube_proxys_rules_go_through_the_kernel(netns: Bed, backend: str, dump: str) -> None:
    """A whole dump of kube-proxy's, printed by nettrace and restored, is the same rule set again."""
    command = _command(4, backend)
    # the objects that nfacct matches name are made by kube-proxy, not by iptables
    text = "".join(
        f"{line.split(' -m nfacct ')[0]} {line[line.rindex('-j ') :]}\n"
        if " -m nfacct " in line
        else f"{line}\n"
        for line in (FIXTURES / "kube-proxy" / dump).read_text().splitlines()
    )
    wanted = parse_save(text)
    space = netns.new()
    space.run(f"{command}-restore", "-c", stdin=save_text(wanted, counters=True))
    assert parse_save(space.run(f"{command}-save", "-c")) == wanted
