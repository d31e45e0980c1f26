"""
Weave's router, small: its connections to its peers, and what the datapath does because of them.

Run by detach.py as ``weave_mesh.py PID_FILE DEVICE LOCAL PORT PEER...``.  Each pair of peers has one TCP
connection, called by the lower address, with a beat each way every second.  While it stands frames
for nobody known are sent to that peer too (a default entry of DEVICE, in the place of Weave's flows in an
Open vSwitch datapath); when it ends, all that leads to the peer is taken away, as Weave does.
"""

import selectors
import socket
import subprocess
import sys
import time

from nettrace.lab.detach import background

__all__ = ["main"]

_BEAT = 1.0  # seconds
_SILENCE = 3.5  # seconds without a beat, and a connection is dead
_DEFAULT = "00:00:00:00:00:00"


class Router:
    """One node's connections, by the peer's address."""

    def __init__(self, device: str, local: str, port: int, peers: list[str]) -> None:
        self.device = device
        self.local = local
        self.port = port
        self.peers = peers
        self.selector = selectors.DefaultSelector()
        self.standing: dict[str, socket.socket] = {}
        self.calling: dict[str, socket.socket] = {}
        self.heard: dict[str, float] = {}
        self.listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", port))
        self.listener.listen()
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve for ever."""
        due = 0.0
        while True:
            for key, _ in self.selector.select(max(0.0, min(due - time.monotonic(), _BEAT))):
                self.ready(key.fileobj)
            if time.monotonic() >= due:
                self.beat()
                due = time.monotonic() + _BEAT

    def ready(self, found: object) -> None:
        """Something arrived: a caller, an answer to a call, a beat."""
        if found is self.listener:
            try:
                sock, address = self.listener.accept()
            except OSError:
                return
            if address[0] in self.peers:
                self.stand(address[0], sock)
            else:
                sock.close()
            return
        for peer, sock in [*self.calling.items()]:
            if sock is found:
                self.answered(peer, sock)
                return
        for peer, sock in [*self.standing.items()]:
            if sock is found:
                self.hear(peer, sock)

    def answered(self, peer: str, sock: socket.socket) -> None:
        """A call went through, or did not."""
        del self.calling[peer]
        self.selector.unregister(sock)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            sock.close()
        else:
            self.stand(peer, sock)

    def hear(self, peer: str, sock: socket.socket) -> None:
        """Take a peer's beat; without one the connection has ended."""
        try:
            said = sock.recv(4096)
        except OSError:
            said = b""
        if said:
            self.heard[peer] = time.monotonic()
        else:
            self.end(peer)

    def stand(self, peer: str, sock: socket.socket) -> None:
        """A connection stands: frames go to the peer."""
        if peer in self.standing:
            self.end(peer)
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ)
        self.standing[peer] = sock
        self.heard[peer] = time.monotonic()
        self.bridge([f"fdb append {_DEFAULT} dev {self.device} dst {peer}"])

    def end(self, peer: str) -> None:
        """A connection is over: nothing leads to the peer any more."""
        sock = self.standing.pop(peer)
        self.selector.unregister(sock)
        sock.close()
        shown = subprocess.run(
            ["bridge", "fdb", "show", "dev", self.device], capture_output=True, check=False
        )
        entries = [line.split() for line in shown.stdout.decode(errors="replace").splitlines()]
        self.bridge(
            [
                f"fdb del {words[0]} dev {self.device} dst {peer} self"
                for words in entries
                if "dst" in words and words[words.index("dst") + 1] == peer
            ]
        )

    def beat(self) -> None:
        """Send a beat to everybody, end who is silent, call who is not there."""
        now = time.monotonic()
        for peer, sock in [*self.standing.items()]:
            if now - self.heard[peer] > _SILENCE:
                self.end(peer)
                continue
            try:
                sock.send(b".")
            except OSError:
                self.end(peer)
        for peer in self.peers:
            if socket.inet_aton(self.local) < socket.inet_aton(peer) and peer not in self.standing:
                self.call(peer)

    def call(self, peer: str) -> None:
        """Call a peer, in place of an earlier call that nobody took."""
        old = self.calling.pop(peer, None)
        if old is not None:
            self.selector.unregister(old)
            old.close()
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.bind((self.local, 0))
        sock.connect_ex((peer, self.port))
        self.selector.register(sock, selectors.EVENT_WRITE)
        self.calling[peer] = sock

    def bridge(self, lines: list[str]) -> None:
        """Run a batch of commands; one that fails keeps no other from being run."""
        text = "".join(f"{line}\n" for line in lines).encode()
        subprocess.run(["bridge", "-force", "-batch", "-"], input=text, check=False, capture_output=True)


def main(argv: list[str]) -> int:
    """Listen, go into the background, connect."""
    pid_file, device, local, port, *peers = argv
    try:
        router = Router(device, local, int(port), peers)
    except OSError as error:
        sys.stderr.write(f"{local}:{port}: {error}\n")
        return 1
    background(pid_file)
    router.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
