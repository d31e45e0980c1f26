"""
Labs for tests: a name of their own, and talking to what runs in them.

A talk is a real connection by a thread that has moved into the namespace.
"""

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nettrace.collect.netns import in_netns
from nettrace.lab import down, up
from nettrace.model.errors import UserError
from nettrace.model.lab import LAB_ROOT, LabRecord

TIMEOUT = 1.0


def lab_name() -> str:
    """A name that no other test's lab has."""
    return f"t{secrets.token_hex(4)}"


@contextmanager
def a_lab(topology: str, **options: Any) -> Iterator[LabRecord]:
    """A lab that is gone afterwards."""
    name = lab_name()
    try:
        yield up(topology, name=name, **options)
    finally:
        if Path(LAB_ROOT, name).exists():
            down(name)


def path_of(record: LabRecord, name: str) -> str:
    """The file of a lab's namespace."""
    return f"/run/netns/{next(entry.netns for entry in record.namespaces if entry.name == name)}"


def address_of(record: LabRecord, name: str) -> str:
    """The first address of a lab's namespace."""
    return next(entry.addresses[0] for entry in record.namespaces if entry.name == name)


def ask(record: LabRecord, source: str, address: str, port: int, proto: str = "tcp") -> tuple[str, str]:
    """
    Connect from *source* and return who answered and which client it saw.

    OSError as the client sees it; TimeoutError after one second.
    """
    return in_netns(path_of(record, source), _ask, address, port, proto)


def _ask(address: str, port: int, proto: str) -> tuple[str, str]:
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(TIMEOUT)
        client.connect((address, port))
        if proto == "udp":
            client.send(b"?")
        text = b""
        while text.count(b"\n") < 2:
            data = client.recv(4096)
            if not data:
                raise ConnectionResetError(f"the answer ended after {text!r}")
            text += data
    who, seen, *_ = text.decode().splitlines()
    return who, seen


def fails(record: LabRecord, source: str, address: str, port: int) -> bool:
    """Does a connection fail?"""
    try:
        ask(record, source, address, port)
    except UserError:
        raise
    except OSError:
        return True
    return False


def traces_of(name: str) -> list[str]:
    """What is on this machine of a lab called so: namespaces, its directory, its processes."""
    found = [entry.name for entry in os.scandir("/run/netns") if entry.name.startswith(f"ntl-{name}-")]
    root = Path(LAB_ROOT, name)
    if root.exists():
        found.append(str(root))
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                line = Path(f"/proc/{entry.name}/cmdline").read_bytes()
            except OSError:
                continue
            if f"{root}/".encode() in line:
                found.append(f"process {entry.name}: {line!r}")
    return found
