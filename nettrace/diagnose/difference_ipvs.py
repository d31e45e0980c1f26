"""
A virtual server as it is owed beside the one that is there.

Lives here: the comparison, and the Changes that restore each difference.
Not here: who owes it (nettrace.kube, plugins), `expect --diff` (ipvs_departures).
"""

from collections.abc import Iterator

from msgspec.structs import replace

from nettrace.diagnose.restored import Restored
from nettrace.model.change import Change, IpvsDestAdd, IpvsDestDelete, IpvsDestSet, IpvsServiceAdd
from nettrace.model.edit_ipvs import name_of, real_at, same_real, server_at
from nettrace.model.ipvs import RealServer, VirtualServer
from nettrace.model.owed import OwedVirtualServer
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.ipvs import end_text, real_words, server_options, server_words

__all__ = ["virtual_differences"]


def virtual_differences(snapshot: Snapshot, item: OwedVirtualServer) -> list[Restored]:
    """Return what differs: the server itself, or its real servers one by one."""
    section = snapshot.section(SectionKey(item.netns, "ipvs"))
    if not isinstance(section, Known):
        return []
    servers: tuple[VirtualServer, ...] = section.value
    there = server_at(servers, item.server)
    ref = _ref(item)
    words = server_words(item.server)
    if there is None:
        return [
            Restored(
                ref=f"{item.netns}/ipvs",
                found=f"no virtual server {words}",
                owed=f"ipvsadm -A {words} {server_options(item.server)}",
                changes=(IpvsServiceAdd(netns=item.netns, server=item.server),),
                absent=True,
            )
        ]
    return list(_reals(item, there, ref, words))


def _ref(item: OwedVirtualServer) -> str:
    server = item.server
    name = f"fwmark/{server.fwmark}" if server.fwmark else f"{server.proto}/{server.address}/{server.port}"
    return f"{item.netns}/ipvs/{name}"


def _reals(item: OwedVirtualServer, there: VirtualServer, ref: str, words: str) -> Iterator[Restored]:
    named = name_of(item.server)
    for real in item.server.real_servers:
        held = real_at(there, real)
        if held is not None and same_real(replace(held, upper=real.upper, lower=real.lower), real):
            continue
        change: Change = IpvsDestAdd(netns=item.netns, server=named, real=real)
        found = f"{words} has no real server {end_text(real.address, real.port)}"
        if held is not None:
            change = IpvsDestSet(netns=item.netns, server=named, old=held, real=real)
            found = f"{words} {real_words(held)}"
        yield _restored(ref, found, f"{words} {real_words(real)}", change, absent=held is None)
    for held in there.real_servers if item.closed else ():
        if real_at(item.server, held) is None and held.weight:
            yield _surplus(item, named, held, ref, words)


def _surplus(
    item: OwedVirtualServer, named: VirtualServer, held: RealServer, ref: str, words: str
) -> Restored:
    return _restored(
        ref,
        f"{words} {real_words(held)}",
        f"{words} without {end_text(held.address, held.port)}",
        IpvsDestDelete(netns=item.netns, server=named, real=held),
    )


def _restored(ref: str, found: str, owed: str, change: Change, *, absent: bool = False) -> Restored:
    return Restored(ref=ref, found=found, owed=owed, changes=(change,), absent=absent)
