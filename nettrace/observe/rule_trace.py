"""
Which rules the packets of a probe met, and what they looked like, in every namespace of the way.

Lives here: real connections under watch.
Not here: making the kernel tell (arming, listener), whose packet an event is about
(trace_sorter), comparing with a walk (nettrace.align.steps).
"""

import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from nettrace.journal.book import DIRECTORY
from nettrace.model.addr import family_of
from nettrace.model.observation import Observed
from nettrace.model.packet import Packet
from nettrace.observe.arming import TABLE, arm
from nettrace.observe.capture import Capture
from nettrace.observe.connect import connect, is_crafted
from nettrace.observe.crafted_seen import without_reset
from nettrace.observe.legacy_hits import with_legacy
from nettrace.observe.listener import Listener
from nettrace.observe.packet_filter import packet_filter
from nettrace.observe.probe_drops import ProbeDrops
from nettrace.observe.recognise import Recogniser
from nettrace.observe.shape import PLAIN, Shape
from nettrace.observe.tag import TAG_BYTES, fresh_tags, tag_length
from nettrace.observe.trace_sorter import Sorter

__all__ = ["watched_connect"]

#: Attempts that are watched; further ones are made without.
_MOST = 256


def watched_connect(
    namespaces: Mapping[str, str],
    path: str,
    source: str | None,
    dst: str,
    port: int | None,
    proto: str,
    *,
    timeout: float,
    count: int = 1,
    sport: int | None = None,
    replies: Sequence[Packet] = (),
    shape: Shape = PLAIN,
    journal: Path = DIRECTORY,
) -> Observed:
    """
    Make *count* real connections like connect(), and watch the rules they meet.

    *namespaces*: name -> path of those to watch.  *replies*: the predicted answers of UDP,
    each as it is somewhere on its way.  *journal* is the directory where is written down what
    the kernel does not forget by itself.  What cannot be watched is told in ``notes``; the
    connections are made in any case.
    """
    room = shape.payload(family_of(dst), TAG_BYTES)
    if not tag_length(proto, port, room):
        plain = connect(
            path, source, dst, port, proto, timeout=timeout, count=count, sport=sport, shape=shape
        )
        note = f"{shape.size} bytes have no room for what a probe is known by: its rules were not watched"
        return replace(plain, notes=(note,))
    # UDP's answers carry no tag: one attempt at a time, then they are known by what was sent.
    at_once = 1 if proto == "udp" else min(count, _MOST)
    found: list[Observed] = []
    while (made := sum(len(one.attempts) for one in found)) < min(count, _MOST):
        tags = fresh_tags(proto, port, min(at_once, count - made), room)
        found.append(
            _watched(
                namespaces,
                tags,
                path,
                source,
                dst,
                port,
                proto,
                timeout,
                sport + made if sport is not None else None,
                replies,
                shape,
                journal,
            )
        )
    if count > _MOST:
        rest = sport + _MOST if sport is not None else None
        further = connect(
            path, source, dst, port, proto, timeout=timeout, count=count - _MOST, sport=rest, shape=shape
        )
        note = f"the rules of the first {_MOST} connections were watched, not of the others"
        found.append(replace(further, notes=(note,)))
    return Observed(
        attempts=tuple(attempt for one in found for attempt in one.attempts),
        watched=tuple(dict.fromkeys(name for one in found for name in one.watched)),
        drops_watched=all(one.drops_watched for one in found),
        captured=tuple(dict.fromkeys(name for one in found for name in one.captured)),
        notes=tuple(dict.fromkeys(note for one in found for note in one.notes)),
    )


def _watched(
    namespaces: Mapping[str, str],
    tags: tuple[bytes, ...],
    path: str,
    source: str | None,
    dst: str,
    port: int | None,
    proto: str,
    timeout: float,
    sport: int | None,
    replies: Sequence[Packet],
    shape: Shape,
    journal: Path,
) -> Observed:
    version = family_of(dst)
    table = f"{TABLE}-{secrets.token_hex(4)}"

    def armed() -> socket.socket:
        return arm(proto, version, tags, replies=replies, table=table)

    recogniser = Recogniser(proto, tags, replies)
    capture = Capture(namespaces, packet_filter(proto, version, tags, replies), recogniser)
    with (
        ProbeDrops(proto, version, tags, replies, namespaces) as drops,
        capture,
        Listener(namespaces, armed, version=version, journal=journal) as listener,
    ):
        tagged = bool(listener.watched or capture.captured or drops.watching)
        observed = connect(
            path,
            source,
            dst,
            port,
            proto,
            timeout=timeout,
            count=len(tags),
            sport=sport,
            shape=shape,
            # Choosing a sequence number takes the privilege that arming takes.
            tags=tags if tagged else (),
        )
        sorter = Sorter(listener, table, proto, tags, replies)
        for seen in listener.settle():
            sorter.take(seen)
        legs = with_legacy(sorter.legs(), listener, recogniser)
        frames = capture.settle()
        found = drops.added_to(
            Observed(
                attempts=tuple(
                    replace(attempt, legs=legs.get(number, ()), frames=frames.get(number, ()))
                    for number, attempt in enumerate(observed.attempts)
                ),
                watched=listener.watched,
                captured=capture.captured if tagged else (),
                notes=(*listener.notes, *capture.notes),
            )
        )
        if not is_crafted(proto, shape, dst):
            return found
        return without_reset(found, next((name for name in namespaces if namespaces[name] == path), ""))
