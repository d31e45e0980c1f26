"""Cases on which the walk and the kernel once differed about what follows the handshake."""

import os

import pytest

from tests.oracle.case import Probe, State
from tests.oracle.opened import Benches

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

_NO_ACK = "*filter\n-A INPUT -p tcp --tcp-flags ALL ACK -j DROP\nCOMMIT\n"
_NO_ACK_NO_DATA = _NO_ACK.replace("COMMIT", "-A INPUT -p tcp --tcp-flags PSH PSH {}\nCOMMIT")
_PROBE = Probe(source="client", dst="10.2.0.2", proto="tcp", dport=80, sport=4300, talk=True)


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [
        (_NO_ACK, "connected"),
        (_NO_ACK_NO_DATA.format("-j DROP"), "stalls"),
        (_NO_ACK_NO_DATA.format("-j REJECT"), "stalls"),
        (_NO_ACK_NO_DATA.format("-j REJECT --reject-with tcp-reset"), "reset"),
    ],
    ids=["data-pass", "data-dropped", "data-answered", "data-reset"],
)
def test_a_handshake_whose_ack_is_lost(benches: Benches, rules: str, outcome: str) -> None:
    """The client's data acknowledge too; what answers them is heard, where it ends a connection."""
    state = State(topology="router", rules=(("server", "iptables-restore", rules),))
    assert benches.agreed(state, _PROBE).walk.outcome == outcome
