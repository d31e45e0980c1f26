"""
Chosen frames taken apart by Wireshark's dissectors, through pyshark.

Lives here: running pyshark so that it disturbs nobody, and one line a layer.
Not here: capturing (capture).
A run of tshark takes about a second, however few frames there are.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from msgspec.structs import replace

from nettrace.model.errors import UserError
from nettrace.model.observation import Frame
from nettrace.observe.pcapng import write_pcapng

__all__ = ["dissect"]

#: Frames that are shown of one probe.
_MOST = 60

#: Layer -> (field, how it is written), in order; a field that is absent is left out.
_FIELDS: dict[str, tuple[tuple[str, str], ...]] = {
    "eth": (("src", "{}"), ("dst", "-> {}")),
    "ip": (("src", "{}"), ("dst", "-> {}"), ("ttl", "ttl {}"), ("id", "id {}"), ("flags_df", "df {}"),
           ("len", "{} bytes")),
    "ipv6": (("src", "{}"), ("dst", "-> {}"), ("hlim", "hlim {}"), ("plen", "{} bytes")),
    "tcp": (("srcport", "{}"), ("dstport", "-> {}"), ("flags_str", "{}"), ("seq_raw", "seq {}"),
            ("ack_raw", "ack {}"), ("options_mss_val", "mss {}")),
    "udp": (("srcport", "{}"), ("dstport", "-> {}"), ("length", "{} bytes")),
    "icmp": (("type", "type {}"), ("code", "code {}"), ("mtu", "mtu {}")),
    "icmpv6": (("type", "type {}"), ("code", "code {}"), ("mtu", "mtu {}")),
    "sctp": (("srcport", "{}"), ("dstport", "-> {}"), ("chunk_type", "chunk {}")),
    "vxlan": (("vni", "vni {}"),),
    "dns": (("qry_name", "{}"), ("flags_rcode", "rcode {}")),
}  # fmt: skip


def dissect(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """
    Return *frames*, the first 60, with ``layers``: a line for each layer that the dissectors find.

    UserError where tshark or pyshark is not installed, or fails.
    """
    frames = frames[:_MOST]
    if not frames:
        return ()
    if shutil.which("tshark") is None:
        raise UserError(
            "tshark is not installed, and it is what takes frames apart",
            where="--frames",
            hint="scripts/setup installs it (Debian: apt-get install tshark); --pcap FILE needs it not",
        )
    # A file without a name: nothing of it remains, however this ends.
    descriptor = os.memfd_create("frames", os.MFD_CLOEXEC)
    try:
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        write_pcapng(path, [(0, frame) for frame in frames])
        lines: list[tuple[str, ...]] = []
        failed: list[BaseException] = []
        # A thread of its own: pyshark runs an event loop, and its caller may be in one.
        thread = Thread(target=_run, args=(path, _tunnels(frames), lines, failed), name="dissect")
        thread.start()
        thread.join()
    finally:
        os.close(descriptor)
    if failed:
        words = str(failed[0]).splitlines() or [type(failed[0]).__name__]
        raise UserError(
            f"tshark could not take the frames apart: {words[0]}",
            where="--frames",
            hint="--pcap FILE writes them for another program",
        ) from failed[0]
    return tuple(replace(frame, layers=said) for frame, said in zip(frames, lines, strict=False))


def _tunnels(frames: Sequence[Frame]) -> dict[str, str]:
    """Say which UDP ports are VXLAN's here: tshark knows 4789 only, Linux and flannel have 8472."""
    found = {}
    for frame in frames:
        port = frame.packet.dport
        network = frame.data[14:] if frame.link == 1 else frame.data
        behind = network[28:32] if frame.packet.family == 4 else network[48:52]
        # RFC 7348: a flag that the VNI is valid, all others 0.
        if frame.tunnelled and frame.packet.proto == "udp" and port is not None and behind == b"\x08\0\0\0":
            found[f"udp.port=={port}"] = "vxlan"
    return found


def _run(
    path: Path, tunnels: dict[str, str], lines: list[tuple[str, ...]], failed: list[BaseException]
) -> None:
    import pyshark  # noqa: PLC0415  (heavy)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        capture = pyshark.FileCapture(
            str(path), keep_packets=False, decode_as=tunnels, custom_parameters=["-n"]
        )
        try:
            lines.extend(_lines(packet) for packet in capture)
        finally:
            capture.close()
    except Exception as error:  # noqa: BLE001  (whatever pyshark raises is told)
        failed.append(error)
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _lines(packet: Any) -> tuple[str, ...]:
    found = []
    for layer in packet.layers:
        fields = _FIELDS.get(layer.layer_name, ())
        said = [form.format(value) for name, form in fields if (value := layer.get(name)) is not None]
        found.append(f"{layer.layer_name}  {' '.join(said)}".rstrip())
    return tuple(found)
