"""
Packets in words: the two ends, and what a step changes.

Lives here: the short forms that fit beside a step.
"""

from msgspec import UNSET

from nettrace.render.contract_walk import PacketView, Port

__all__ = ["changes", "end", "ends", "inner_ends"]


def end(address: str, port: Port | None) -> str:
    """``10.0.0.1:80``; ``*`` for a port that the kernel chooses and for an address not chosen yet."""
    shown = address or "*"
    if port is None:
        return shown
    if ":" in shown:
        shown = f"[{shown}]"
    return f"{shown}:{port if isinstance(port, int) else '*'}"


def ends(packet: PacketView) -> str:
    """``10.0.0.1:* -> 10.96.0.10:53``, for ICMP with its type."""
    text = f"{end(packet.src, packet.sport)} -> {end(packet.dst, packet.dport)}"
    if packet.icmp_type is not UNSET:
        text += f" type {packet.icmp_type}"
    return text


def inner_ends(packet: PacketView) -> str:
    """The two ends of the packet that this one carries, "" if it carries none."""
    return ends(packet.inner) if packet.inner is not UNSET else ""


def changes(before: PacketView | None, after: PacketView | None, *, wide: bool = False) -> tuple[str, ...]:
    """
    Say what differs between two packets, the most telling first.

    The TTL, the size and the like are told only if *wide*: every router changes them.
    """
    if before is None or after is None or before == after:
        return ()
    if after.inner is not UNSET and before.inner is UNSET:
        return (f"inside {ends(after)}",)
    if before.inner is not UNSET and after.inner is UNSET:
        return (f"out of the tunnel: {ends(after)}",)
    found = []
    if (before.dst, before.dport) != (after.dst, after.dport):
        found.append(f"-> {end(after.dst, after.dport)}")
    if (before.src, before.sport) != (after.src, after.sport):
        found.append(f"from {end(after.src, after.sport)}")
    if before.mark != after.mark:
        found.append(f"mark {before.mark:#x} -> {after.mark:#x}".replace("0x0 ", "0 "))
    if wide:
        found.extend(
            f"{name} {getattr(before, name)} -> {getattr(after, name)}"
            for name in ("ttl", "size", "tos", "df")
            if getattr(before, name) != getattr(after, name)
        )
    return tuple(found)
