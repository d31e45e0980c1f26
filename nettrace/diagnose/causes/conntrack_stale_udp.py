"""conntrack-stale-udp: a remembered UDP connection leads to where the Service is no more."""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.look import subject_of, where
from nettrace.model.change import ConntrackDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.packet import Packet
from nettrace.model.section import Known, SectionKey
from nettrace.model.sockets import ConntrackEntry

__all__ = ["CONNTRACK_STALE_UDP", "connection_text"]


def connection_text(entry: ConntrackEntry) -> str:
    """Write an entry as conntrack(8) does, without its age."""
    one, other = entry.original, entry.reply
    return (
        f"{entry.proto} src={one.src} dst={one.dst} sport={one.sport} dport={one.dport} "
        f"src={other.src} dst={other.dst} sport={other.sport} dport={other.dport}"
    )


def _candidates(context: Context) -> Iterator[Candidate]:
    packet = context.walk.flow.packet
    if packet.proto != "udp" or context.goal.endpoints is None:
        return
    for netns in context.visited:
        section = context.snapshot.section(SectionKey(netns, "conntrack"))
        for entry in section.value if isinstance(section, Known) else ():
            leads = (entry.reply.src, entry.reply.sport)
            allowed = {leads, (entry.reply.src, None)} & context.goal.endpoints
            if allowed or not _is_of(entry, packet):
                continue
            place = where(context.snapshot, netns)
            to = (
                "to the Service's own address, untranslated"
                if leads[0] == packet.dst
                else f"to {leads[0]}:{leads[1]}, which is no endpoint of it"
            )
            yield Candidate(
                cause="conntrack-stale-udp",
                netns=netns,
                where=place,
                subject=subject_of(context.snapshot, netns),
                message=(
                    f"{place} remembers a connection from port {entry.original.sport} of "
                    f"{entry.original.src} to {packet.dst}:{packet.dport} that leads {to}; the rules are not "
                    "asked again for it"
                ),
                changes=(ConntrackDelete(netns=netns, entry=entry),),
                evidence=(
                    Evidence(ref=f"{netns}/conntrack", text=connection_text(entry), note="what is there"),
                    Evidence(ref="", text=context.goal.describe(), note="what is owed"),
                ),
                safety=Safety.AUTO,
                owner="the kernel; kube-proxy deletes such entries when endpoints change",
                overwritten="the next packet makes a new entry, by the rules of now",
                lasting="kube-proxy has to be able to delete entries; a client may use fresh ports",
            )


def _is_of(entry: ConntrackEntry, packet: Packet) -> bool:
    """Is the entry's first direction the packet's own connection?"""
    sport = packet.sport.single if packet.sport is not None else None
    dport = packet.dport.single if packet.dport is not None else None
    one = entry.original
    same = (entry.proto, one.dst, one.sport, one.dport) == (packet.proto, packet.dst, sport, dport)
    return same and packet.src in ("", one.src)


CONNTRACK_STALE_UDP = Cause(
    id="conntrack-stale-udp",
    title="a remembered UDP connection leads to where the Service is no more",
    what=(
        "UDP has no end of a connection: as long as a client goes on sending from one port, the kernel keeps "
        "the translation of its first packet. If that was made before the rules were, or leads to an "
        "endpoint that is gone, every further packet takes the same way into nothing."
    ),
    shows="A client with a fixed source port (DNS servers, syslog, SIP) gets no answer; fresh ports do.",
    dies="Where the old translation leads: at an address that nobody has, or at the Service's own.",
    proof="`conntrack -L -p udp --orig-dst VIP` shows a reply source that is no endpoint of the Service.",
    repair="conntrack -D of that entry",
    owner="The kernel; kube-proxy deletes such entries when endpoints change.",
    source="kubernetes#125467, kubernetes#102618, kubernetes#66651, calico#4124",
    candidates=_candidates,
)
