"""
Random states under ``trace --probe``: what a user's probe sees agrees, step by step, with the walk.

Lives here: probes as nettrace itself sends, recognises and aligns them, without the oracle's witnesses.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nettrace.align.outcome import compare
from nettrace.model.walk import Outcome
from nettrace.observe.rule_trace import watched_connect
from nettrace.observe.shape import Shape
from tests.kernel.native import replies, steps
from tests.oracle.case import Case, Probe
from tests.oracle.generate import Generator
from tests.oracle.run import Bench, Broken, bench
from tests.oracle.shrink import as_test

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

#: Of each seed and network: states, and probes in each.
STATES, PROBES = 4, 5
SEEDS = (1,) if not os.environ.get("NETTRACE_TEST_SWEEP") else tuple(range(1, 21))


@contextmanager
def serving(one: Bench) -> Iterator[None]:
    """Answer while somebody else calls."""
    over = threading.Event()

    def serve() -> None:
        while not over.wait(0.001):
            one.net.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        one.net.hang_up()


def probed(one: Bench, probe: Probe) -> tuple[str, bool]:
    """Walk, try under watch, compare: what differs, and whether the walk could tell at all."""
    one.net.forget_connections()
    one.snapshot = one.reader.skeleton()
    answer = one.predict(probe)
    if answer.outcome is Outcome.UNKNOWN:
        return "", False
    one.net.forget_connections()
    one.net.forget_exceptions()
    silent = any(path.outcome is Outcome.TIMEOUT for path in answer.paths)
    slow = any(path.delay for path in answer.paths)
    with serving(one):
        observed = watched_connect(
            {label: space.path for label, space in one.net.spaces.items()},
            one.net[probe.source].path,
            probe.src or None,
            probe.dst,
            probe.dport,
            probe.proto,
            timeout=0.6 if silent and not slow else 4.0,
            sport=probe.sport,
            shape=Shape(
                mark=probe.mark,
                ttl=probe.ttl,
                tos=probe.tos,
                size=probe.total if probe.proto != "tcp" else None,
                df=probe.df,
            ),
            replies=replies(answer) if probe.proto == "udp" else (),
        )
    found = compare(answer, observed, names=tuple(one.net.spaces))
    parted = [str(each.parted) for each in found.comparisons if each.parted is not None]
    differences = [*found.differences, *parted]
    if differences:
        differences += [
            f"{leg.kind} met {hit.netns} {hit.hook} {hit.backend} {hit.family} {hit.table} {hit.chain} "
            f"{hit.rule} {hit.verdict}"
            for attempt in observed.attempts
            for leg in attempt.legs
            for hit in leg.hits
        ]
    return "\n".join([*differences, steps(answer)] if differences else ()), True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("topology", ["router", "pods", "vxlan", "router-6"])
def test_a_probe_agrees_with_the_walk(topology: str, seed: int) -> None:
    """What ``trace --probe`` prints beside the walk has no step at which they part."""
    draw, told, made = Generator(seed), 0, 0
    with bench(topology, watched=False) as one:
        one.net.answer = lambda data: bytes(min(len(data), 32))
        while made < STATES:
            state = one.loadable(draw.state(topology))
            try:
                one.enter(state)
            except Broken:
                continue
            made += 1
            try:
                for probe in _calls(draw, topology):
                    found, certain = probed(one, probe)
                    if found:  # another packet's late answer may be taken for this one's: look twice
                        found, certain = probed(one, probe)
                    assert not found, f"{found}\n{as_test(Case(state=state, probe=probe))}"
                    told += certain
            finally:
                one.leave()
    assert told > STATES * PROBES * 0.7


def _calls(draw: Generator, topology: str) -> Iterator[Probe]:
    """Probes that a socket makes, without old connections."""
    left = PROBES
    while left:
        probe = draw.probe(topology)
        if probe.device is None and not probe.stale and not probe.talk:
            left -= 1
            yield probe
