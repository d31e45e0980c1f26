"""The capture file is one that others read."""

from pathlib import Path

import pytest

from nettrace.model.errors import UserError
from nettrace.model.observation import Frame
from nettrace.model.packet import Packet
from nettrace.observe.pcapng import write_pcapng

PACKET = Packet(src="10.0.0.1", dst="10.0.0.2", proto="udp")


def frame(netns: str, device: str, when: float, data: bytes, link: int = 101) -> Frame:
    """A frame."""
    return Frame(
        netns=netns,
        device=device,
        outgoing=False,
        time=when,
        leg="request",
        packet=PACKET,
        link=link,
        data=data,
    )


def test_scapy_reads_what_is_written(tmp_path: Path) -> None:
    """Frames by time, each with its bytes, its time and the kind of its first header."""
    from scapy.utils import PcapNgReader

    path = tmp_path / "x.pcapng"
    ip = bytes.fromhex("4500001c00010000401166cf0a0000010a00000200010002000839c5")
    frames = [
        (0, frame("b", "eth0", 1700000001.25, ip)),
        (1, frame("a", "eth0", 1700000000.5, ip)),
        (1, frame("a", "eth1", 1700000002.0, bytes(12) + b"\x08\x00" + ip, link=1)),
    ]
    assert write_pcapng(path, frames) == 3
    with PcapNgReader(str(path)) as reader:
        found = list(reader)
    assert [round(float(one.time), 3) for one in found] == [1700000000.5, 1700000001.25, 1700000002.0]
    assert bytes(found[0]) == ip
    assert bytes(found[2]) == bytes(12) + b"\x08\x00" + ip
    assert b"b/eth0" in path.read_bytes()
    assert b"device eth0 of namespace a" in path.read_bytes()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With place and next step."""
    with pytest.raises(UserError, match="cannot write the capture: no such file"):
        write_pcapng(tmp_path / "no" / "x", [])
