"""
A probe that is killed by SIGKILL at any point leaves nothing on the node.

`make kill-campaign` kills 220 of them; the short version is part of the tests.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.bed import Bed
from tests.kernel.killing import PHASES, Campaign
from tests.kernel.walkbed import TOPOLOGIES, Net

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: How many probes are killed.
KILLS = int(os.environ.get("NETTRACE_KILLS", "20"))


@pytest.fixture
def campaign(netns: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    """Probes through a router with rules of iptables-nft and of iptables-legacy."""
    net = Net(netns)
    TOPOLOGIES["router"](net)
    net.sh("r", "iptables-legacy -A FORWARD -p tcp -j ACCEPT")
    net.sh("r", "iptables-nft -t mangle -A FORWARD -p tcp -j MARK --set-mark 1")
    monkeypatch.setenv("NETTRACE_STATE", str(tmp_path / "state"))
    found = Campaign(net.spaces, "client", "10.2.0.2", tmp_path, seed=KILLS)
    try:
        yield found
    finally:
        found.close()
        net.close()


def test_nothing_is_left_of_a_probe_that_is_killed(campaign: Campaign) -> None:
    """Tables, sockets, sysctls, processes, files: none, whichever phase it was killed in."""
    for number in range(KILLS):
        # Every phase in turn, and every fourth time any instant.
        campaign.kill(None if number % 4 == 3 else PHASES[(number - number // 4) % len(PHASES)])
        campaign.clean()
    missed = [phase for phase in PHASES if not campaign.hit[phase]]
    print(f"\n{KILLS} probes killed, nothing left; phases hit: {dict(campaign.hit)}")
    # What takes no time at all may be over by the time that it is aimed at.
    assert not missed or KILLS < 200, f"never killed while {missed}"
