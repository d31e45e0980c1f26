"""The truth table: policies by hand and by lot, against a second reading of the specification."""

from itertools import product
from random import Random

import pytest

from nettrace.kube.policy import decide
from nettrace.model.policy_verdict import Decision, PolicyFlow
from nettrace.parse.manifests import kube_from_documents
from tests.kube.policy_reading import Flow, Object, World
from tests.kube.policy_worlds import NODES, OUTSIDE, PICKED, PORTS, PROTOCOLS, cluster, drawn

#: Sets of policies drawn by lot, and flows asked of each.
SETS = 260
FLOWS = 150

BASE = cluster()
ADDRESSES = [
    *dict.fromkeys(o["status"]["podIP"] for o in BASE if o["kind"] == "Pod"),
    NODES["node-a"],
    *OUTSIDE,
]
EVERY: list[Flow] = list(product(ADDRESSES, ADDRESSES, PROTOCOLS, PORTS))


def _differences(policies: list[Object], flows: list[Flow]) -> tuple[list[str], int]:
    objects = [*BASE, *policies]
    kube = kube_from_documents(objects, "the test")
    through = World(objects).let_through(set(flows))
    wrong = []
    for src, dst, protocol, port in flows:
        said = decide(kube, PolicyFlow(src=src, dst=dst, proto=protocol.lower(), port=port))
        wanted = Decision.ALLOWED if (src, dst, protocol, port) in through else Decision.DENIED
        if said.decision is not wanted:
            wrong.append(f"{src} -> {dst} {protocol}/{port}: {said.words()}, and it is {wanted.value}")
    return wrong, len(flows) - len(through)


@pytest.mark.parametrize("name", PICKED)
def test_picked(name: str) -> None:
    """What people get wrong about policies comes out as the specification has it, for flows of every kind."""
    wrong, _ = _differences(PICKED[name], EVERY[::7])
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("part", range(4))
def test_drawn(part: int) -> None:
    """Random sets of policies allow and deny exactly what the second reading says; both happen often."""
    denied = asked = 0
    for number in range(part, SETS, 4):
        lots = Random(number)
        policies = drawn(lots)
        flows = lots.sample(EVERY, FLOWS)
        wrong, refused = _differences(policies, flows)
        assert not wrong, (number, policies, wrong[:3])
        denied, asked = denied + refused, asked + len(flows)
    assert 0.1 < denied / asked < 0.9
