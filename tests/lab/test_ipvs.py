"""IPVS in a lab: what is told where the kernel has none, and coming from one set of servers to another."""

from pathlib import Path

import pytest

from nettrace.lab.ipvs import _changes, ensure_ipvs
from nettrace.model.errors import UserError
from nettrace.parse.ipvs import parse_ipvsadm_save

OLD = """
-A -t 10.96.0.1:80 -s rr
-a -t 10.96.0.1:80 -r 10.1.0.1:8080 -m -w 1
-a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 1
-A -t 10.96.0.2:80 -s rr
-A -t 10.96.0.3:80 -s rr
"""
NEW = """
-A -t 10.96.0.1:80 -s rr
-a -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 2
-a -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 1
-A -t 10.96.0.3:80 -s rr -p 600
-A -t 10.96.0.4:80 -s rr
-a -t 10.96.0.4:80 -r 10.1.0.3:8080 -m -w 1
"""


def test_only_what_differs_is_changed() -> None:
    """Servers and real servers come, go and are edited; what stays the same is not touched."""
    assert list(_changes(parse_ipvsadm_save(OLD), parse_ipvsadm_save(NEW))) == [
        "-D -t 10.96.0.2:80",
        "-e -t 10.96.0.1:80 -r 10.1.0.2:8080 -m -w 2",
        "-a -t 10.96.0.1:80 -r 10.1.0.3:8080 -m -w 1",
        "-d -t 10.96.0.1:80 -r 10.1.0.1:8080",
        "-E -t 10.96.0.3:80 -s rr -p 600",
        "-A -t 10.96.0.4:80 -s rr",
        "-a -t 10.96.0.4:80 -r 10.1.0.3:8080 -m -w 1",
    ]
    assert list(_changes(parse_ipvsadm_save(OLD), parse_ipvsadm_save(OLD))) == []


def test_a_kernel_without_ipvs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is said, with where to go; nothing is loaded by the test."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, code in (("ipvsadm", 0), ("modprobe", 1)):
        (tools / name).write_text(f"#!/bin/sh\necho FATAL: Module ip_vs not found >&2\nexit {code}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr("nettrace.lab.ipvs._SYSCTLS", tmp_path / "none")
    with pytest.raises(UserError, match="this kernel has no IPVS: ") as raised:
        ensure_ipvs(lambda _: None)
    assert "ip_vs not found" in raised.value.what
    assert "scripts/vm" in raised.value.hint
