"""
What several causes ask about virtual servers.

Lives here: owed virtual servers whose differences are of one kind, grouped by server.
Not here: the causes.
"""

from collections.abc import Callable, Sequence

from nettrace.diagnose.cause import Candidate, Context
from nettrace.diagnose.difference import Difference
from nettrace.diagnose.look import where
from nettrace.diagnose.making import owed_candidate
from nettrace.model.change import Change
from nettrace.model.edit_ipvs import server_at
from nettrace.model.finding import Safety
from nettrace.model.ipvs import VirtualServer
from nettrace.model.owed import OwedVirtualServer
from nettrace.model.section import Known, SectionKey
from nettrace.parse.ipvs import end_text

__all__ = ["asked_servers", "name_of_server", "server_candidate", "server_there"]


def asked_servers(
    context: Context, kind: type[Change], fits: Callable[[Difference], bool] = lambda _: True
) -> list[tuple[OwedVirtualServer, list[Difference]]]:
    """Return the owed virtual servers that the flow asks for, with their differences of one kind."""
    found: dict[tuple[str, str, int, str], tuple[OwedVirtualServer, list[Difference]]] = {}
    asked = {
        (packet.dst, packet.dport.single)
        for step in context.steps
        for packet in (step.before, step.after)
        if packet is not None and packet.dport is not None
    }
    for difference in context.differences:
        owed = difference.owed
        if not isinstance(owed, OwedVirtualServer) or (owed.server.address, owed.server.port) not in asked:
            continue
        if any(isinstance(change, kind) for change in difference.restored.changes) and fits(difference):
            key = (owed.netns, owed.server.address, owed.server.port, owed.server.proto)
            found.setdefault(key, (owed, []))[1].append(difference)
    return list(found.values())


def server_there(context: Context, owed: OwedVirtualServer) -> VirtualServer | None:
    """Return the virtual server as it is."""
    section = context.snapshot.section(SectionKey(owed.netns, "ipvs"))
    return server_at(section.value, owed.server) if isinstance(section, Known) else None


def name_of_server(owed: OwedVirtualServer) -> str:
    """``tcp 10.96.0.1:80``."""
    server = owed.server
    return f"{server.proto} {end_text(server.address, server.port)}"


def server_candidate(
    context: Context, cause: str, differences: Sequence[Difference], message: str
) -> Candidate:
    """Return what restores these differences of one virtual server."""
    owner = differences[0].owed.owner
    return owed_candidate(
        context,
        cause,
        differences,
        f"{where(context.snapshot, differences[0].owed.netns)}: {message}",
        safety=Safety.GUARDED,
        overwritten=f"{owner} writes the same when it next syncs or starts",
        lasting=f"restart {owner}, and find what changed its virtual servers",
    )
