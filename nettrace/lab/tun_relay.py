"""
flanneld's back end udp, small: packets of a TUN device carried over UDP between nodes.

Run by detach.py as ``tun_relay.py PID_FILE DEVICE ADDRESS NETWORK MTU LOCAL PORT PREFIX=PEER...``.
It makes the device, gives it ADDRESS/32 and the route to NETWORK, and is gone together with both,
as flanneld is (pkg/backend/udp of flannel).  Each end lowers the TTL by one.
"""

import fcntl
import ipaddress
import os
import selectors
import socket
import struct
import subprocess
import sys

from nettrace.lab.detach import background

__all__ = ["main"]

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IPV4_HEADER = 20
_MOST = 65536


def device(name: str, address: str, network: str, mtu: int) -> int:
    """Make the TUN device and its route; returns its descriptor, with which both end."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    lines = (
        f"addr add {address}/32 dev {name}\nlink set {name} mtu {mtu} up\n"
        f"route add {network} dev {name} scope global\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=lines.encode(), check=True, capture_output=True)
    os.set_blocking(tun, False)
    return tun


def lowered(packet: bytes) -> bytes | None:
    """The packet with a TTL lower by one and its checksum patched; None if that leaves none."""
    if len(packet) < _IPV4_HEADER or packet[0] >> 4 != 4 or packet[8] <= 1:
        return None
    total = int.from_bytes(packet[10:12], "big") + 0x100
    total = (total & 0xFFFF) + (total >> 16)
    return packet[:8] + bytes([packet[8] - 1]) + packet[9:10] + total.to_bytes(2, "big") + packet[12:]


def far_end(packet: bytes, ways: list[tuple[int, int, str]]) -> str | None:
    """The peer that an address is behind; *ways* are (network, mask, peer)."""
    destination = int.from_bytes(packet[16:20], "big")
    return next((peer for net, mask, peer in ways if destination & mask == net), None)


def serve(tun: int, sock: socket.socket, port: int, ways: list[tuple[int, int, str]]) -> None:
    """Carry packets for ever."""
    selector = selectors.DefaultSelector()
    selector.register(tun, selectors.EVENT_READ)
    selector.register(sock, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            try:
                if key.fileobj is sock:
                    packet = lowered(sock.recv(_MOST))
                    if packet is not None:
                        os.write(tun, packet)
                    continue
                packet = lowered(os.read(tun, _MOST))
                peer = far_end(packet, ways) if packet is not None else None
                if packet is not None and peer is not None:
                    sock.sendto(packet, (peer, port))
            except OSError:
                continue  # an ICMP error for an earlier packet, or a device that is down


def main(argv: list[str]) -> int:
    """Make the device, bind, go into the background, carry."""
    pid_file, name, address, network, mtu, local, port, *peers = argv
    ways = []
    for text in peers:
        prefix, _, peer = text.partition("=")
        net = ipaddress.IPv4Network(prefix)
        ways.append((int(net.network_address), int(net.netmask), peer))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind((local, int(port)))
        tun = device(name, address, network, int(mtu))
    except (OSError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{name} at {local}:{port}: {error}\n")
        return 1
    background(pid_file)
    serve(tun, sock, int(port), ways)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
