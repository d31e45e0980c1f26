"""The rules of the real kube-proxy, loaded: each Service from pod, node and outside, walked and tried."""

import os
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from nettrace.model.walk import Outcome
from tests.kernel.bed import Bed
from tests.kernel.kubebed import SOURCES, build, targets
from tests.kernel.walkbed import Net
from tests.kube.fixture_cluster import FIXTURES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: All Services from all three: ``NETTRACE_TEST_SWEEP=1 pytest tests/kernel/test_kube_services.py``.
SWEEP = bool(os.environ.get("NETTRACE_TEST_SWEEP"))
SAMPLE = 13

#: Mode -> the dump, what nft or iptables-restore do not take from it, what is put there, how it is loaded.
DUMPS = {
    # nft 1.0.6 leaves out `addr . port` where it prints such maps
    "nftables": (
        "nft-list-ruleset.txt",
        r"dnat (ip6?) to numgen",
        r"dnat \1 addr . port to numgen",
        "nft -f -",
    ),
    # counters' objects, which an empty namespace has not
    "iptables": ("iptables-save-c.txt", r" -m nfacct --nfacct-name +\S+", "", "iptables-nft-restore"),
}


def rules(mode: str) -> str:
    """A dump as it can be loaded."""
    name, old, new, _ = DUMPS[mode]
    return re.sub(old, new, (FIXTURES / f"{mode}-1.36" / name).read_text())


@pytest.fixture(scope="module", params=sorted(DUMPS))
def there(request: pytest.FixtureRequest) -> Iterator[tuple[Net, str]]:
    """The network of the dumps with the rules of one mode."""
    mode = request.param
    bed = Bed()
    net = Net(bed)
    try:
        build(net, rules(mode))
        if mode == "iptables":  # kube-proxy sets it for NodePorts on localhost
            net["node"].sysctl("net.ipv4.conf.all.route_localnet", 1)
        net["node"].run(*DUMPS[mode][3].split(), stdin=rules(mode))
        yield net, mode
    finally:
        net.close()
        bed.close()


def cases(mode: str) -> list[tuple[str, tuple[str, int, str]]]:
    """(source, target): all, or a sample that goes round the sources; localhost is the node's own."""
    found = [
        (source, target)
        for target in targets(loopback=True)
        for source in (("node",) if target[0] == "127.0.0.1" else SOURCES)
    ]
    return found if SWEEP else found[len(mode) % SAMPLE :: SAMPLE]


def test_each_service(there: tuple[Net, str]) -> None:
    """Prediction and kernel agree in outcome and endpoints in every case, remembered clients included."""
    net, mode = there
    wrong: list[str] = []
    outcomes: Counter[Outcome] = Counter()
    for source, (address, port, proto) in cases(mode):
        net["node"].run("conntrack", "-F", check=False)
        try:
            answer = net.agree(net.flow(source, address, port, proto))
        except AssertionError as error:
            wrong.append(f"{source} -> {address}:{port}/{proto}: {str(error)[:600]}")
        else:
            outcomes.update({path.outcome for path in answer.paths})
    assert not wrong, "\n".join(wrong)
    assert set(outcomes) >= {Outcome.CONNECTED, Outcome.REFUSED, Outcome.TIMEOUT}
    assert sum(outcomes.values()) >= len(cases(mode))  # several where branches end differently
