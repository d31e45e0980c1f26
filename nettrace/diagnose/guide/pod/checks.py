"""
The checks of the guided pod flow, in their order: the way on which an address comes to a pod.

Where the pod is not on the pods' network, or has ended, nothing more is asked of it.
"""

from collections.abc import Callable
from typing import NamedTuple

from nettrace.diagnose.guide.pod.address import leased, present, reported
from nettrace.diagnose.guide.pod.case import PodCase
from nettrace.diagnose.guide.pod.node import bridge, configured, scheduled, shared
from nettrace.diagnose.guide.pod.ports import host_ports
from nettrace.diagnose.guide.request import Asking
from nettrace.model.guide import Check

__all__ = ["POD_CHECKS", "PodCheck", "pod_checks_for"]


class PodCheck(NamedTuple):
    """One check: its word, and what it does."""

    id: str
    run: Callable[[PodCase], Asking[Check]]


POD_CHECKS = (
    PodCheck("pod", scheduled),
    PodCheck("podcidr", shared),
    PodCheck("conf", configured),
    PodCheck("bridge", bridge),
    PodCheck("lease", leased),
    PodCheck("sandbox", present),
    PodCheck("status", reported),
    PodCheck("hostports", host_ports),
)


def pod_checks_for(case: PodCase) -> tuple[PodCheck, ...]:
    """Return the checks that make sense for this pod."""
    return POD_CHECKS[:1] if case.over else POD_CHECKS
