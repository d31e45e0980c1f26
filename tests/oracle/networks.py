"""
All networks of the oracle, and how they are built.

Lives here: the list, and the word for each of how often it is drawn.
Not here: what is done in them (benches, benches6), what is in them (tests.kernel.walkbed, walkbed6).
"""

from tests.kernel.walkbed import TOPOLOGIES, Net
from tests.kernel.walkbed6 import TOPOLOGIES6
from tests.oracle.benches import BENCHES4
from tests.oracle.benches6 import BENCHES6

__all__ = ["BENCHES", "built"]

#: By name.  Three of ten networks that are drawn are of IPv6.
BENCHES = {bench.topology: bench for bench in (*BENCHES4, *BENCHES6)}


def built(topology: str, net: Net) -> None:
    """Build a network."""
    bench = BENCHES[topology]
    (TOPOLOGIES if bench.family == 4 else TOPOLOGIES6)[bench.wiring](net)
