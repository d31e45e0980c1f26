"""
Answering what the checks of a guided flow ask for.

Lives here: state, walks and their diagnosis, DNS queries, connections, and what plugins say.
Not here: the checks (nettrace.diagnose.guide), their order (debug, debug_pod).
"""

from typing import Any

from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.remember import Question
from nettrace.app.trace import BRIEF, PATIENT, diagnosis_of, walk_of
from nettrace.diagnose import Diagnosis
from nettrace.diagnose.guide import Ask, Asking, Connect, Delegate, Diagnose, Query
from nettrace.model.cni import CniPlugin
from nettrace.model.guide import Check
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.observation import Observed
from nettrace.model.walk import Walk
from nettrace.observe.connect import connect
from nettrace.observe.dns import query

__all__ = ["Driver"]


class Driver:
    """Answers what checks ask for, each flow walked once."""

    def __init__(self, context: Context, *, with_probe: bool) -> None:
        self.context = context
        self.probes = with_probe and context.live
        self._walked: dict[tuple[str, str, int | None], tuple[Walk, Diagnosis]] = {}

    def run(self, making: Asking[Check]) -> Check:
        """Drive one check to its end; what a user can put right ends it as UNKNOWN with those words."""
        answer: Any = None
        while True:
            try:
                request = making.send(answer)
            except StopIteration as end:
                found: Check = end.value
                return found
            answer = self._answer(request)

    def _answer(self, request: Any) -> Any:
        match request:
            case Ask(question=question):
                return ask(self.context, question)
            case Diagnose(source=source, target=target, sport=sport):
                return self._diagnosed(source, target, sport)
            case Query(lookup=lookup):
                return self._queried(lookup)
            case Connect(walk=walk, count=count):
                return self._connected(walk, count)
            case Delegate(node=node, plugin=plugin):
                return self._delegated(node, plugin)
        raise TypeError(f"nobody answers {request!r}")

    def _diagnosed(self, source: str, target: str, sport: int | None) -> tuple[Walk, Diagnosis]:
        if (source, target, sport) not in self._walked:
            walked = walk_of(self.context, Question(source=source, target=target, sport=sport))
            # Somebody says that it does not work: that it should is the goal, whatever policies say.
            self._walked[source, target, sport] = walked, diagnosis_of(self.context, walked, connected=True)
        return self._walked[source, target, sport]

    def _queried(self, lookup: Lookup) -> DnsAnswer | None:
        return query(self.context.path(lookup.netns), lookup) if self.probes else None

    def _connected(self, walk: Walk, count: int) -> Observed | None:
        packet = walk.flow.packet
        if not self.probes or walk.flow.origin.device is not None:
            return None
        if packet.proto not in ("tcp", "udp", "icmp", "icmpv6"):
            return None
        return connect(
            self.context.path(walk.flow.origin.netns),
            packet.src or None,
            packet.dst,
            packet.dport.single if packet.dport is not None else None,
            packet.proto,
            timeout=PATIENT if any(path.delay for path in walk.paths) else BRIEF,
            count=count,
        )

    def _delegated(self, node: str, plugin: CniPlugin) -> CniPlugin:
        self.context.read_unread(self.context.plugins.sections(self.context.snapshot))
        return self.context.plugins.delegate(self.context.snapshot, node, plugin)
