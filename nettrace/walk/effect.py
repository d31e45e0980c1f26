"""
What a target did to a packet.

Lives here: the result that every target returns, and the one of a translation.
Not here: the targets (targets, extension_targets), the choice of addresses and ports (nat).
"""

from typing import NamedTuple

from nettrace.model.step import Verdict
from nettrace.model.xt_target import NatRange
from nettrace.walk.context import Run
from nettrace.walk.nat import bind
from nettrace.walk.skb import Skb

__all__ = ["Effect", "bound"]


class Effect(NamedTuple):
    """What a target did: ``bound`` a translation, which ends the nat hook; ``ends`` the leg."""

    note: str = ""
    bound: bool = False
    ends: Verdict | None = None


def bound(
    run: Run, skb: Skb, manip: str, to: NatRange, *, random: bool = False, persistent: bool = False
) -> Effect:
    """Bind the packet's connection and say to what."""
    conn = skb.conn
    if conn is None:
        return Effect(note="no connection, nothing done")
    bind(run, conn, manip, to, random=random, persistent=persistent)
    end = (conn.reply.src, conn.reply.sport) if manip == "dst" else (conn.reply.dst, conn.reply.dport)
    port = "" if end[1] is None else f":{end[1] if end[1].single is not None else '*'}"
    return Effect(note=f"{'to' if manip == 'dst' else 'from'} {end[0]}{port}", bound=True)
