"""Where one more flow would be let through, in the chains of each controller."""

import pytest

from nettrace.kube.policy_chains import PASSED, pod_chain
from nettrace.kube.policy_opening import Opening, controller_of, opening
from nettrace.model.xt import XtChain
from nettrace.model.xt_target import Accept, Jump, MarkTarget, Return
from nettrace.parse.iptables import parse_rule

POD = pod_chain("default", "web", "v1")
FELIX = (
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "-j MARK --set-xmark 0x0/0x10000",
    '-m comment --comment "cali:a" -m comment --comment "Drop IPinIP encapped packets" -p 4 -j DROP',
    "-m mark --mark 0x0/0x20000 -j cali-pi-one",
    '-m comment --comment "cali:b" -m mark --mark 0x10000/0x10000 -j RETURN',
    '-m comment --comment "Drop if no policies passed packet" -m mark --mark 0x0/0x20000 -j DROP',
    '-m comment --comment "cali:d" -m comment --comment "Drop if no profiles matched" -j DROP',
)
SENT = (
    "-m state --state RELATED,ESTABLISHED -j ACCEPT",
    "-m state --state NEW -j WEAVE-NPC-EGRESS-DEFAULT",
    "-m state --state NEW -m mark ! --mark 0x40000/0x40000 -j NFLOG --nflog-group 86",
    "-m mark ! --mark 0x40000/0x40000 -j DROP",
)
CHAINS = {
    POD: ('-m comment --comment "rule to REJECT traffic destined for POD name:web" -j REJECT',),
    "cali-tw-cali1": FELIX,
    "cali-tw-old": FELIX[:4],
    "WEAVE-NPC-EGRESS": SENT,
    "WEAVE-NPC-EGRESS-ACCEPT": ("-j MARK --set-xmark 0x40000/0x40000",),
    "WEAVE-NPC": ("-m state --state NEW -j WEAVE-NPC-INGRESS",),
    "WEAVE-NPC-INGRESS": ("-s 10.0.0.1/32 -j ACCEPT",),
    "FORWARD": ("-o weave -j WEAVE-NPC", "-o weave -j DROP"),
}


def chain_of(name: str) -> XtChain | None:
    """One of the chains."""
    return XtChain(rules=tuple(map(parse_rule, CHAINS[name]))) if name in CHAINS else None


ACCEPTED = (MarkTarget(0x10000, 0x10000), Return())


@pytest.mark.parametrize(
    ("name", "refused", "found"),
    [
        (POD, 1, Opening(chain=POD, position=1, targets=(PASSED,))),
        ("cali-tw-cali1", 6, Opening(chain="cali-tw-cali1", position=6, targets=ACCEPTED)),
        ("cali-tw-cali1", 7, Opening(chain="cali-tw-cali1", position=7, targets=ACCEPTED)),
        ("cali-tw-cali1", 3, None),  # what no policy is about
        ("cali-tw-cali1", None, None),
        ("cali-tw-cali1", 9, None),
        ("cali-tw-old", 3, None),  # no rule tells the bit
        ("cali-tw-gone", 1, None),
        (
            "WEAVE-NPC-EGRESS",
            4,
            Opening(chain="WEAVE-NPC-EGRESS", position=3, targets=(Jump("WEAVE-NPC-EGRESS-ACCEPT"),)),
        ),
        ("FORWARD", 2, Opening(chain="WEAVE-NPC-INGRESS", position=2, targets=(Accept(),))),
    ],
)
def test_openings(name: str, refused: int | None, found: Opening | None) -> None:
    """Before the refusal, by what that controller does with what a policy allows."""
    assert opening(name, refused, chain_of) == found


def test_a_plain_refusal_is_no_policy() -> None:
    """Without weave-npc's chains a rule of FORWARD is somebody else's."""
    assert opening("FORWARD", 1, lambda name: chain_of(name) if name == "FORWARD" else None) is None


def test_each_controller_has_its_name() -> None:
    """By the chain that refuses."""
    assert "kube-router" in controller_of(POD)
    assert "Felix" in controller_of("cali-fw-cali1")
    assert controller_of("FORWARD") == controller_of("WEAVE-NPC-EGRESS") == "weave-npc"
