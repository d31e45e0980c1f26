"""Network policies in a lab of Calico: Felix' chains and sets do what the verdict and the walk say."""

from collections.abc import Iterator
from os import environ
from random import Random

import pytest

from nettrace.collect.netns import in_netns
from nettrace.lab.tools import netns_path, run
from nettrace.model.lab import LabRecord
from tests.kernel.labs import a_lab
from tests.kernel.policing import agree, only, write_cluster
from tests.kube.policy_reading import Object
from tests.kube.policy_worlds import PICKED, drawn

SWEEP = bool(environ.get("NETTRACE_TEST_SWEEP"))
#: Of those picked by hand, and drawn by lot: with peers, blocks with exceptions, ports by name and range.
SAMPLE = ["block", "named port"]
MORE = ["and", "default deny both", "or", "range", "no types, egress rules"]
DRAWN = range(2000, 2010)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabRecord]:
    """A lab with the truth table's cluster, without any policy."""
    folder = tmp_path_factory.mktemp("manifests")
    write_cluster(folder)
    with a_lab("calico-vxlan", manifests=folder) as record:
        yield record


def _cases() -> Iterator[tuple[str, list[Object]]]:
    yield from ((name, PICKED[name]) for name in (*SAMPLE, *(MORE if SWEEP else ())))
    for number in DRAWN if SWEEP else ():
        yield str(number), [one for one in drawn(Random(number)) if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("name", "policies"), _cases())
def test_policies_in_force(lab: LabRecord, name: str, policies: list[Object]) -> None:
    """What the verdict allows connects, what it denies is dropped, and the walk foresees either."""
    wrong = agree(lab, only(lab, policies), Random(name), 10 if SWEEP else 4)
    assert not wrong, (policies, wrong)


def test_felix_leaves_no_trace(lab: LabRecord) -> None:
    """When the last policy goes, so do its chains and sets, and what others wrote stays."""
    only(lab, [])
    node = netns_path(next(n.netns for n in lab.namespaces if n.role == "node"))
    in_netns(node, run, ["iptables-nft", "-A", "INPUT", "-s", "203.0.113.9", "-j", "DROP"])

    def there() -> str:
        return in_netns(node, run, ["iptables-nft", "-S"]) + in_netns(node, run, ["ipset", "list", "-n"])

    before = there()
    assert "cali-pi-" not in before
    only(lab, PICKED["two add up"])
    assert "cali-pi-" in there()
    only(lab, PICKED["named port"])
    assert "cali40n:" in there()
    only(lab, [])
    assert there() == before
