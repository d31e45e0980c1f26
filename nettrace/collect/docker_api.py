"""
Docker's API at its socket: which containers run.

Lives here: HTTP over a socket of the file system, ``GET /containers/json`` and ``/containers/ID/json``.
Not here: what the answers mean (nettrace.parse.runtimes).
"""

import json
import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from nettrace.parse.runtimes import Workload, docker_workload

__all__ = ["containers"]

_PATIENCE = 5.0  # seconds for one answer


class _Unix(HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(str(self._path))

    def fetch(self, url: str) -> str:
        """Return the body of an answer; OSError for one that is no success."""
        self.request("GET", url)
        answer = self.getresponse()
        body = answer.read().decode(errors="replace")
        if answer.status != 200:
            raise OSError(0, f"{url} is answered with {answer.status} {answer.reason}")
        return body


def containers(path: Path) -> list[Workload]:
    """
    Return the running containers that the daemon at *path* knows.

    OSError where it does not answer, ValueError where the answer is none of Docker's API.
    """
    connection = _Unix(path)
    try:
        rows = json.loads(connection.fetch("/containers/json"))
        if not isinstance(rows, list):
            raise ValueError("/containers/json is no list")
        found = []
        for row in rows:
            ident = row.get("Id") if isinstance(row, dict) else None
            if not isinstance(ident, str) or not ident.isalnum():
                continue
            try:
                found.append(docker_workload(connection.fetch(f"/containers/{ident}/json")))
            except OSError as error:
                if error.errno:
                    raise
                continue  # it ended meanwhile: 404
        return found
    except HTTPException as error:
        raise OSError(0, f"no HTTP: {error or type(error).__name__}") from error
    finally:
        connection.close()
