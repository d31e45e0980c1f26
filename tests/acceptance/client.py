"""
A client that knows nothing of nettrace: connects, reads a line, prints what it saw as JSON.

Run inside a namespace: ``client.py HOST PORT tcp|udp TIMES SECONDS [SOURCE_PORT]``.  One JSON object
a try: outcome, errno, seconds, answer.
"""

import errno
import json
import socket
import sys
import time


def once(host: str, port: int, proto: str, seconds: float, sport: int) -> dict[str, object]:
    """One connection, or one datagram and its answer."""
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    began = time.monotonic()
    seen: dict[str, object] = {"outcome": "connected", "errno": None, "answer": None}
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(seconds)
        if sport:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", sport))
        try:
            sock.connect((host, port))
            sock.settimeout(5.0 if proto == "tcp" else 2.0)  # a busy listener is not a lost packet
            if proto == "udp":
                sock.send(b"who\n")
            seen["answer"] = sock.recv(200).decode(errors="replace").split("\n")[0]
        except TimeoutError:
            seen["outcome"] = "timeout"
        except ConnectionRefusedError:
            seen["outcome"] = "refused"
        except ConnectionResetError:
            seen["outcome"] = "reset"
        except PermissionError:
            seen["outcome"] = "denied"
        except OSError as error:
            seen["outcome"] = "unreachable"
            seen["errno"] = errno.errorcode.get(error.errno or 0)
    seen["seconds"] = round(time.monotonic() - began, 3)
    return seen


def main() -> None:
    """Read the arguments, try, print."""
    host, port, proto, times, seconds, *rest = sys.argv[1:]
    for _ in range(int(times)):
        print(
            json.dumps(once(host, int(port), proto, float(seconds), int(rest[0]) if rest else 0)), flush=True
        )


if __name__ == "__main__":
    main()
