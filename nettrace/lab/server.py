"""
The listener in a pod: says its name, and who it is talking to.

Run by detach.py as ``server.py PID_FILE NAME PROTO/ADDRESS/PORT...``; the standard library
only, because it is started by the dozen.  It binds, puts itself into the background, and only
then does the command return: whoever started it may connect at once.

An answer is two lines: the name, and the client's address as seen here, which tells whether
the source was rewritten on the way.  A TCP client gets it without asking; one that sends an
HTTP GET within 30 ms gets it as the body of a response.  A UDP client gets it for every datagram.
"""

import selectors
import socket
import sys
import time

from nettrace.lab.detach import background

PATIENCE = 0.03  # seconds in which a client may say that it speaks HTTP
LINGER = 2.0  # seconds for a client to close after its answer
BACKLOG = 256

__all__ = ["main"]


class Client:
    """One TCP connection: the answer it will get, and when it is due."""

    def __init__(self, connection: socket.socket, answer: bytes) -> None:
        self.connection = connection
        self.answer = answer
        self.received = b""
        self.answered = False
        self.due = time.monotonic() + PATIENCE


def bind(text: str) -> socket.socket:
    """``tcp/0.0.0.0/80`` as a socket that listens; OSError if it cannot."""
    proto, address, port = text.split("/")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((address, int(port)))
    if proto == "tcp":
        found.listen(BACKLOG)
    found.setblocking(False)
    return found


def accept(listener: socket.socket, name: bytes, selector: selectors.DefaultSelector) -> Client | None:
    """Take one connection; None if it was gone already."""
    try:
        connection, peer = listener.accept()
    except OSError:
        return None
    connection.setblocking(False)
    client = Client(connection, name + b"\n" + peer[0].encode() + b"\n")
    selector.register(connection, selectors.EVENT_READ, client)
    return client


def hear(client: Client) -> bool:
    """Read what the client says; True once nothing more will come."""
    try:
        data = client.connection.recv(65536)
    except BlockingIOError:
        return False
    except OSError:
        return True
    if not client.answered:
        client.received = (client.received + data)[:8192]
        if client.received.startswith(b"GET "):
            if b"\r\n\r\n" in client.received or b"\n\n" in client.received or not data:
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                answer(client, b"%sContent-Length: %d\r\n\r\n" % (head, len(client.answer)))
            else:
                client.due = time.monotonic() + LINGER  # the rest of the request is on its way
        elif client.received or not data:
            answer(client)
    return not data


def answer(client: Client, head: bytes = b"") -> None:
    """Send the answer and close this side; the client's side is closed by the client or in time."""
    client.answered = True
    client.due = time.monotonic() + LINGER
    try:
        client.connection.send(head + client.answer)
        client.connection.shutdown(socket.SHUT_WR)
    except OSError:
        client.due = 0.0


def serve(listeners: list[socket.socket], name: bytes) -> None:
    """Answer for ever."""
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    clients: set[Client] = set()
    while True:
        wait = min((client.due for client in clients), default=None)
        ready = selector.select(None if wait is None else max(0.0, wait - time.monotonic()))
        finished = set()
        for key, _ in ready:
            found = key.fileobj
            if key.data is not None:
                if hear(key.data):
                    finished.add(key.data)
            elif isinstance(found, socket.socket) and found.type == socket.SOCK_STREAM:
                client = accept(found, name, selector)
                if client is not None:
                    clients.add(client)
            elif isinstance(found, socket.socket):
                try:
                    _, peer = found.recvfrom(65536)
                    found.sendto(name + b"\n" + peer[0].encode() + b"\n", peer)
                except OSError:
                    pass  # an ICMP error for an earlier answer, or a peer that cannot be reached
        now = time.monotonic()
        for client in clients:
            if client.due <= now and client not in finished:
                if client.answered:
                    finished.add(client)
                else:
                    answer(client)
        for client in finished:
            clients.discard(client)
            selector.unregister(client.connection)
            client.connection.close()


def main(argv: list[str]) -> int:
    """Bind, go into the background, serve."""
    pid_file, name, *addresses = argv
    try:
        listeners = [bind(text) for text in addresses]
    except OSError as error:
        sys.stderr.write(f"{name}: cannot listen on {' '.join(addresses)}: {error.strerror}\n")
        return 1
    background(pid_file)
    serve(listeners, name.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
