"""
Routes of a BGP daemon written into the kernel, as kube-router does with those of its GoBGP.

Run by detach.py as ``bgp_routes.py PID_FILE SOCKET DEVICE PEERS``.  It asks BIRD at SOCKET, about once
a second, for the routes that peers announce, adds those that came with protocol 17 (kube-router,
injectRoute() of pkg/controllers/routing) and removes those that were withdrawn.  A route that somebody
else takes away stays away.  The command returns when PEERS peers have announced theirs, at the latest
after 10 s.  It ends when BIRD does, and leaves the routes.
"""

import socket
import subprocess
import sys
import time

from nettrace.lab.detach import background

__all__ = ["announced", "main"]

_PROTOCOL = "17"
_PATIENCE = 10.0  # seconds for the sessions to come up
_PAUSE = 1.0
_HASTE = 0.05  # seconds between two looks while somebody waits
_END = b"0000 "  # the code of BIRD's last line (doc/reply_codes)


def ask(path: str, question: str) -> str:
    """One command to BIRD, as birdc gives it; OSError if nobody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5.0)
        sock.connect(path)
        sock.sendall(f"{question}\n".encode())
        said = b""
        while not any(line.startswith(_END) for line in said.splitlines()):
            piece = sock.recv(65536)
            if not piece:
                raise ConnectionResetError("BIRD closed the connection")
            said += piece
    return said.decode(errors="replace")


def announced(said: str, device: str) -> dict[str, str]:
    """Network -> next hop of the routes by *device* in the answer to ``show route``."""
    found: dict[str, str] = {}
    prefix = ""
    for line in said.splitlines():
        words = line[5:].split() if line[:4].isdigit() else line.split()
        if words and "/" in words[0]:
            prefix = words[0]
        if words[:1] == ["via"] and prefix and device in words:
            found.setdefault(prefix, words[1])
    return found


def write(lines: list[str]) -> None:
    """Lines of ip(8); one that fails keeps no other from being done."""
    text = "".join(f"{line}\n" for line in lines).encode()
    subprocess.run(["ip", "-force", "-batch", "-"], input=text, check=False, capture_output=True)


def follow(path: str, device: str, held: dict[str, str]) -> dict[str, str]:
    """Bring the kernel from *held* to what BIRD says now, which is returned."""
    now = announced(ask(path, "show route where source = RTS_BGP"), device)
    lines = [f"route del {net} via {hop} proto {_PROTOCOL}" for net, hop in held.items() if net not in now]
    lines += [
        f"route replace {net} via {hop} dev {device} proto {_PROTOCOL}"
        for net, hop in now.items()
        if held.get(net) != hop
    ]
    if lines:
        write(lines)
    return now


def main(argv: list[str]) -> int:
    """Wait for the peers, go into the background, follow what they announce."""
    pid_file, path, device, peers = argv
    held: dict[str, str] = {}
    end = time.monotonic() + _PATIENCE
    try:
        while len(held) < int(peers) and time.monotonic() < end:
            held = follow(path, device, held)
            time.sleep(_HASTE)
    except OSError as error:
        sys.stderr.write(f"BIRD at {path}: {error}\n")
        return 1
    background(pid_file)
    try:
        while True:
            held = follow(path, device, held)
            time.sleep(_PAUSE)
    except OSError:
        return 0  # BIRD has ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
