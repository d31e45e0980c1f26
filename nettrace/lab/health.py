"""
kube-proxy's health servers on a node: is there an endpoint of this Service here?

Run by detach.py as ``health.py PID_FILE PORT=NAMESPACE/NAME=COUNT...``.  Each healthCheckNodePort
answers 200 while the node has local endpoints of its Service and 503 when it has none, with the
JSON that kube-proxy's has (pkg/proxy/healthcheck/service_health.go).
"""

import selectors
import socket
import sys

from nettrace.lab.detach import background

__all__ = ["main"]


def answer(name: str, count: int) -> bytes:
    """The whole response for a Service with *count* local endpoints."""
    namespace, _, service = name.partition("/")
    body = (
        f'{{"service":{{"namespace":"{namespace}","name":"{service}"}},'
        f'"localEndpoints":{count},"serviceProxyHealthy":true}}\n'
    ).encode()
    status = "200 OK" if count else "503 Service Unavailable"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return (
        f"{head}X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def serve(listeners: dict[socket.socket, bytes]) -> None:
    """Answer one request after another, for ever."""
    selector = selectors.DefaultSelector()
    for listener in listeners:
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            found = key.fileobj
            if not isinstance(found, socket.socket):
                continue
            try:
                connection, _ = found.accept()
                with connection:
                    connection.settimeout(0.5)
                    connection.recv(8192)
                    connection.sendall(listeners[found])
            except OSError:
                continue  # a client that went away


def main(argv: list[str]) -> int:
    """Bind, go into the background, serve."""
    pid_file, *texts = argv
    listeners: dict[socket.socket, bytes] = {}
    for text in texts:
        port, name, count = text.split("=")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", int(port)))
        except OSError as error:
            sys.stderr.write(f"health check of {name}: port {port}: {error.strerror}\n")
            return 1
        listener.listen(64)
        listeners[listener] = answer(name, int(count))
    background(pid_file)
    serve(listeners)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
