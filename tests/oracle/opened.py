"""Networks of the oracle that several tests share."""

from contextlib import ExitStack

from tests.oracle.case import Probe, State
from tests.oracle.run import Bench, Pair, bench

__all__ = ["Benches"]


class Benches:
    """Networks that are built once."""

    def __init__(self) -> None:
        self._open: dict[str, Bench] = {}
        self.stack = ExitStack()

    def agreed(self, state: State, *probes: Probe) -> Pair:
        """Return what came of the last probe; AssertionError where walk and kernel differ."""
        one = self._open.get(state.topology)
        if one is None:
            one = self._open[state.topology] = self.stack.enter_context(bench(state.topology))
        one.enter(state)
        try:
            found = [one.pair(probe) for probe in probes]
        finally:
            one.leave()
        for pair in found:
            assert pair.judgement.agrees, pair.judgement.differences
        return found[-1]
