"""
Cases for the comparison of the walk with the kernel: a network, what is done to it, a probe.

Lives here: how a case is written, and trying one.  The cases stand in the tests.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nettrace.model.step import Verdict
from nettrace.model.walk import Outcome
from tests.kernel.walkbed import TOPOLOGIES, Net

__all__ = ["Case", "build", "c", "try_built", "try_case"]


class Case(NamedTuple):
    """A network, what is done to it, a probe, and the verdict that the walk has to give."""

    name: str
    topology: str
    commands: tuple[tuple[str, str], ...]
    probe: tuple[Any, ...]  # source, destination, port, protocol
    outcome: Outcome
    verdict: Verdict
    tries: int = 1
    options: dict[str, Any] = {}  # noqa: RUF012 (never written to)


def c(
    name: str, topology: str, *commands: str, probe: str, gives: str, count: int = 1, **options: Any
) -> Case:
    """
    Write a case: commands as ``label: line``, the probe as ``source destination[:port][/proto]``.

    An IPv6 destination with a port stands in brackets.
    """
    split = tuple(tuple(line.split(": ", 1)) for line in commands)
    source, target = probe.split()
    target, _, proto = target.partition("/")
    if target.startswith("["):
        dst, _, port = target.removeprefix("[").partition("]:")
    else:
        dst, _, port = (target, "", "") if target.count(":") > 1 else target.partition(":")
    outcome, verdict = gives.split()
    return Case(
        name,
        topology,
        split,  # type: ignore[arg-type]
        (source, dst, int(port) if port else None, proto or "tcp"),
        Outcome(outcome),
        Verdict[verdict],
        count,
        options,
    )


def build(net: Net, case: Case, topologies: Mapping[str, Callable[[Net], None]] = TOPOLOGIES) -> None:
    """Build the case's network and do to it what the case says."""
    topologies[case.topology](net)
    for label, line in case.commands:
        net.sh(label, line)


def try_built(net: Net, case: Case) -> None:
    """Walk and try a network that stands; AssertionError where walk, kernel and the case's claim differ."""
    source, dst, port, proto = case.probe
    flow = net.flow(source, dst, port, proto, **case.options)
    answer = net.agree(flow, count=case.tries)
    assert (answer.outcome, answer.verdict) == (case.outcome, case.verdict), [
        (path.outcome, path.reason) for path in answer.paths
    ]


def try_case(net: Net, case: Case, topologies: Mapping[str, Callable[[Net], None]] = TOPOLOGIES) -> None:
    """Build a case's network, walk it and try it."""
    build(net, case, topologies)
    try_built(net, case)
