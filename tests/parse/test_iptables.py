"""iptables text: what the real binaries print comes back byte for byte."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nettrace.model.errors import UserError
from nettrace.model.packet import PortRange
from nettrace.model.section import Known
from nettrace.model.xt import XtRule
from nettrace.model.xt_match import (
    Comment,
    Conntrack,
    Extension,
    Icmp,
    Mark,
    Match,
    Negatable,
    Nfacct,
    Ports,
    Recent,
    State,
    Statistic,
    Tcp,
    UnknownMatch,
)
from nettrace.model.xt_target import (
    Accept,
    Ct,
    Dnat,
    ExtensionTarget,
    Jump,
    Log,
    MarkTarget,
    NatRange,
    Nflog,
    Notrack,
    PassThrough,
    Reject,
    Snat,
    Target,
    Tcpmss,
    UnknownTarget,
)
from nettrace.parse.iptables import parse_rule, parse_save, rule_args, rule_from_args, rule_text, save_text

FIXTURES = Path(__file__).parents[2] / "fixtures"
RECORDED: list[dict[str, Any]] = json.loads((FIXTURES / "iptables-1.8.9/rules.json").read_text())
DUMPS = sorted(FIXTURES.glob("kube-proxy/*/ip*tables-save-c.txt"))


def _is_unknown(rule: XtRule) -> bool:
    return isinstance(rule.target, UnknownTarget) or any(
        isinstance(match, UnknownMatch) for match in rule.matches
    )


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded["printed"])
def test_what_iptables_prints_comes_back(recorded: dict[str, Any]) -> None:
    """A rule that iptables 1.8.9 printed is printed back the same, and only unknown parts stay text."""
    rule = parse_rule(recorded["printed"])
    assert rule_text(rule) == recorded["printed"]
    assert _is_unknown(rule) == recorded.get("unknown", False)
    assert parse_rule(f"-A CHAIN {recorded['printed']}") == rule


@pytest.mark.parametrize(
    "recorded", [one for one in RECORDED if not one.get("respelt")], ids=lambda recorded: recorded["printed"]
)
def test_what_people_type_is_what_iptables_makes_of_it(recorded: dict[str, Any]) -> None:
    """Typed words become the rule that iptables made of them, to the letter."""
    rule = rule_from_args(recorded["typed"])
    assert rule_text(rule) == recorded["printed"]
    assert rule_from_args(rule_args(rule)) == rule


def test_no_extension_is_forgotten() -> None:
    """Every extension that iptables 1.8.9 installs stands in a recorded rule, for each of its families."""
    holders = {4: ("libxt_", "libipt_"), 6: ("libxt_", "libip6t_")}
    installed = (FIXTURES / "iptables-1.8.9/extensions.txt").read_text().split()
    # osf is IPv4's alone, standard is verdicts and jumps, NAT is SNAT, DNAT and their kin
    left_out = {(6, "osf"), (4, "standard"), (6, "standard"), (4, "NAT"), (6, "NAT")}
    for family, prefixes in holders.items():
        rules = [parse_rule(one["printed"]) for one in RECORDED if one["family"] == family]
        named = {word for rule in rules for word in _extensions(rule)}
        for library in installed:
            prefix = next((one for one in prefixes if library.startswith(one)), None)
            name = library.removeprefix(prefix or "").removesuffix(".so")
            if prefix is not None and (family, name) not in left_out:
                assert name in named, f"no rule of family {family} has {name}"


def test_no_option_is_forgotten() -> None:
    """Every option that the extensions' own help names stands in a recorded rule of theirs."""
    texts = [f"{text} " for one in RECORDED for text in (" ".join(one["typed"]), one["printed"])]
    for line in (FIXTURES / "iptables-1.8.9/options.txt").read_text().splitlines():
        name, option = line.split()
        of_it = (f"-m {name} ", f"-j {name} ", f"-p {_PROTOCOLS.get(name, name)} ")
        assert any(f" {option} " in text and any(how in text for how in of_it) for text in texts), line


#: What a match is called that -p brings along, where it is not called as the protocol is.
_PROTOCOLS = {"icmp6": "icmpv6", "mh": "ipv6-mh"}


def _extensions(rule: XtRule) -> set[str]:
    """Names behind -m and -j."""
    args = rule_args(rule)
    return {after for flag, after in pairwise(args) if flag in ("-m", "-j")}


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_dumps_come_back(dump: Path) -> None:
    """A dump of what kube-proxy wrote is printed back line by line, counters included."""
    text = dump.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert save_text(parse_save(text, dump.name), counters=True).splitlines() == lines


def test_dumps_without_unknown_parts() -> None:
    """Nothing that kube-proxy writes in iptables mode is unknown."""
    for dump in DUMPS:
        if "ipvs" in dump.parent.name:
            continue
        for table in parse_save(dump.read_text()).tables.values():
            assert isinstance(table, Known)
            for chain in table.value.chains.values():
                assert isinstance(chain, Known)
                assert not any(map(_is_unknown, chain.value.rules))


def test_rule_built_by_code() -> None:
    """A rule that is put together prints as the one kube-proxy writes, the /32 included."""
    rule = XtRule(
        dst=Negatable("10.96.0.1"),
        proto=Negatable("tcp"),
        matches=(Comment("default/kubernetes:https cluster IP"), Tcp(dport=Ports(PortRange(443, 443)))),
        target=Jump("KUBE-SVC-NPX46M4PTMTKRN6Y"),
    )
    text = (
        '-d 10.96.0.1/32 -p tcp -m comment --comment "default/kubernetes:https cluster IP" '
        "-m tcp --dport 443 -j KUBE-SVC-NPX46M4PTMTKRN6Y"
    )
    assert rule_text(rule) == text
    assert rule_args(rule)[7] == "default/kubernetes:https cluster IP"
    assert rule_text(XtRule(src=Negatable("fd00::1"), dst=Negatable("0.0.0.0/0"))) == "-s fd00::1/128"
    assert rule_text(XtRule(src=Negatable("0.0.0.0/0", invert=True))) == "! -s 0.0.0.0/0"
    assert rule_text(XtRule()) == ""


def test_arguments_need_closed_quotes() -> None:
    """Text with an open quote, which no parser lets through, has no arguments."""
    with pytest.raises(ValueError, match="not closed"):
        rule_args(XtRule(matches=(UnknownMatch("odd", '--text "open'),)))


def test_states_print_in_the_kernels_order() -> None:
    """Code may name states in any order; iptables has one."""
    assert rule_text(XtRule(matches=(Conntrack(states=("ESTABLISHED", "RELATED")),))) == (
        "-m conntrack --ctstate RELATED,ESTABLISHED"
    )
    assert rule_text(XtRule(matches=(State(("ESTABLISHED", "NEW")),))) == "-m state --state NEW,ESTABLISHED"


def test_probability_is_the_kernels() -> None:
    """One third in iptables' digits is the 31-bit integer that the kernel draws against."""
    rule = parse_rule("-m statistic --mode random --probability 0.33333333349 -j ACCEPT")
    assert rule.matches == (Statistic(mode="random", probability=715827883),)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("-m nfacct --nfacct-name  ct_dropped", Nfacct("ct_dropped")),
        ("-m nfacct --nfacct-name ct_dropped", Nfacct("ct_dropped")),  # as later versions print it
        ("-m recent --set", Recent(action="set")),
        ("-m mark --mark 020", Mark(16)),
        ("-m tcp --dport 1024:", Tcp(dport=Ports(PortRange(1024, 65535)))),
        ("-m icmp", Icmp()),
        ("-m eui64", Extension("eui64", "")),
        (
            "-m rateest --rateest re --rateest-lt --rateest-pps 5",
            Extension("rateest", "--rateest re --rateest-lt --rateest-pps 5"),
        ),
        ("-m comment --comment=x", UnknownMatch("comment", "--comment=x")),
    ],
)
def test_matches(text: str, match: Match) -> None:
    """Spellings of a match that mean the same are the same."""
    assert parse_rule(text).matches == (match,)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("-j ACCEPT", Accept()),
        ("-j ACCEPT --odd", UnknownTarget("ACCEPT", "--odd")),
        ("-j KUBE-SERVICES", Jump("KUBE-SERVICES")),
        ("-g KUBE-SERVICES", Jump("KUBE-SERVICES", goto=True)),
        ("-j TRACE", ExtensionTarget("TRACE", "")),
        ("-j TRACE --odd", UnknownTarget("TRACE", "--odd")),
        ("-j QUEUE", UnknownTarget("QUEUE", "")),
        ("-j CHAIN --with options", UnknownTarget("CHAIN", "--with options")),
        ("-j NOTRACK", Notrack(old=True)),
        ("-j CT --notrack", Notrack()),
        ("-j CT --zone 5", Ct("--zone 5")),
        ("-j CT --notrack --zone 5", UnknownTarget("CT", "--notrack --zone 5")),
        ("-j LOG --log-prefix x", Log("--log-prefix x")),
        ("-j NFLOG", Nflog()),
        ("-j REJECT", Reject()),
        ("-j TCPMSS --set-mss 1400", Tcpmss(1400)),
        ("-j TCPMSS", UnknownTarget("TCPMSS", "")),
        (
            "-j TCPMSS --clamp-mss-to-pmtu --set-mss 5",
            UnknownTarget("TCPMSS", "--clamp-mss-to-pmtu --set-mss 5"),
        ),
        ("-j MARK --set-mark 0x1/0x2", MarkTarget(1, 3)),
        ("-j MARK --set-xmark 1 --or-mark 1", UnknownTarget("MARK", "--set-xmark 1 --or-mark 1")),
        ("-j CONNMARK --save-mark --restore-mark", UnknownTarget("CONNMARK", "--save-mark --restore-mark")),
        ("-j CONNMARK --set-xmark 1 --mask 1", UnknownTarget("CONNMARK", "--set-xmark 1 --mask 1")),
        (
            "-j CONNMARK --save-mark --mask 1 --ctmask 1",
            UnknownTarget("CONNMARK", "--save-mark --mask 1 --ctmask 1"),
        ),
        ("-j SNAT --to-source 1.2.3.4-1.2.3.4", Snat(to=NatRange(lo="1.2.3.4"))),
        ("-j SNAT", UnknownTarget("SNAT", "")),
        (
            "-j DNAT --to-destination 1.2.3.4-fd00::1",
            UnknownTarget("DNAT", "--to-destination 1.2.3.4-fd00::1"),
        ),
        ("-j DNAT --to-destination [fd00::1-fd00::2]", Dnat(to=NatRange(lo="fd00::1", hi="fd00::2"))),
        ("-j DNAT --to-destination ::ffff:1.2.3.4", Dnat(to=NatRange(lo="::ffff:1.2.3.4"))),
        ("-m tcp", PassThrough()),
    ],
)
def test_targets(text: str, target: Target) -> None:
    """Each target is read to its type, or kept as text where the type is too small for it."""
    assert parse_rule(text).target == target


@pytest.mark.parametrize(
    "text",
    [
        "-m tcp --dport http",
        "-m tcp --dport 90:80",
        "-m tcp --dport 70000",
        "-m tcp --dport 80 --dport 81",
        "-m tcp --dport",
        "-m tcp --tcp-flags SYN,ODD SYN",
        "-m tcp --syn --tcp-flags SYN SYN",
        "-m tcp --tcp-option 256",
        "-m icmp --icmp-type odd",
        "-m icmp --icmp-type 3/300",
        "-m multiport --sports 1 --dports 2",
        "-m multiport",
        "-m mark",
        "-m mark --mark 0x100000000",
        "-m mark --mark 0x",
        "-m conntrack --ctstate ODD",
        "-m conntrack --ctdir SIDEWAYS",
        "-m conntrack ! --ctdir ORIGINAL",
        "-m state",
        "-m addrtype ! --limit-iface-in",
        "-m addrtype --src-type ODD",
        "-m statistic --mode nth --probability 0.5",
        "-m statistic --mode random --probability 2",
        "-m statistic --mode random --probability nan",
        "-m statistic --mode random --probability inf",
        "-m limit --limit 0/sec",
        "-m limit --limit 20000/sec",
        "-m limit --limit often",
        "-m recent --set --remove",
        "-m recent --set --rsource --rdest",
        "-m recent --set --name two words --rsource",
        "-m set",
        "-m comment",
        "-m tcp ! ",
        "-m mark --mark 1 -s 1.2.3.4 !",
        "-m mark ! ! --mark 1 --odd",
        "-m policy --dir in --odd 5",
        "-m policy --dir in !",
        "-m eui64 --odd",
        "-m rateest --rateest-bps --rateest-bps",
        "-m ttl --ttl-eq",
        "-m odd --option value",
        "-m odd",
    ],
)
def test_what_is_not_understood_stays_text(text: str) -> None:
    """A match of which anything is not understood is unknown, and comes back as it was."""
    rule = parse_rule(f"{text} -j ACCEPT")
    assert isinstance(rule.matches[0], UnknownMatch)
    assert rule_text(rule) == f"{text} -j ACCEPT"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("-p tcp -j ACCEPT --dport 80", "-p tcp -m tcp --dport 80 -j ACCEPT"),
        (
            "-j MARK --set-mark 1 -m comment --comment x",
            "-m comment --comment x -j MARK --set-xmark 0x1/0xffffffff",
        ),
        (
            "-p tcp -m conntrack --ctstate NEW ! --dport 5",
            "-p tcp -m conntrack --ctstate NEW -m tcp ! --dport 5",
        ),
        ("-m odd --x -p tcp --dport 5", "-m odd --x -p tcp --dport 5"),
        ("-c 5 6 -p tcp --dport 5 -j ACCEPT", "-p tcp -m tcp --dport 5 -j ACCEPT"),
        ("-m mark --mark 1 ! -s 1.2.3.4", "! -s 1.2.3.4/32 -m mark --mark 0x1"),
        ("-m mark --mark 1 ! -f", "! -f -m mark --mark 0x1"),
        ("-p tcp --dport 5 -m odd --x ! 1 -j LOG --y", "-p tcp -m tcp --dport 5 -m odd --x ! 1 -j LOG --y"),
        ("-p icmp -m icmp --icmp-type ping", "-p icmp -m icmp --icmp-type 8"),
    ],
)
def test_order_of_a_typed_rule(text: str, canonical: str) -> None:
    """Options may stand where people put them, as long as it is plain what they belong to."""
    assert rule_text(parse_rule(text)) == canonical


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-s nowhere", "nowhere"),
        ("-s 300.1.1.1/8", "300.1.1.1/8"),
        ("-s 1.2.3.4/ffff::", "families"),
        ("-s 1.2.3.4/255.x", "255.x"),
        ("-s", "-s lacks"),
        ("-s ! 1.2.3.4", "-s lacks"),
        ("! ! -s 1.2.3.4", "two negations"),
        ("!", "alone"),
        ("-s 1.2.3.4 -s 1.2.3.5", "twice"),
        ("garbage", "garbage"),
        ('-m comment --comment "open', "quote"),
        ("-g CHAIN --option", "takes no options"),
        ("-j ACCEPT -j DROP", "follows the target"),
        ("--dport 80 -p tcp -j ACCEPT", "--dport is not known"),
        ("! -p tcp --dport 5", "--dport is not known"),
        ("-p tcp --to 1.2.3.4:5 -j DNAT", "--to is not known"),
    ],
)
def test_text_that_is_no_rule(text: str, what: str) -> None:
    """What cannot be a rule is an error that quotes it."""
    with pytest.raises(UserError, match="not an iptables rule") as caught:
        parse_rule(text)
    assert what in caught.value.what
    assert caught.value.where == text
