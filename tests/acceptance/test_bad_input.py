"""
Bad input: each a clear error or UNKNOWN with its reason, exit 2 or 3, and no traceback.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bench import Bench, bench

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: {namespace}}}
spec: {{clusterIP: {address}, ports: [{{port: 5432}}]}}
---
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Bench]:
    """One lab that no test changes."""
    with bench("flannel-vxlan") as made:
        yield made


def run(
    *args: str, env: dict[str, str] | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run nettrace; no exit code is expected, a traceback never."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "nettrace", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "NO_COLOR": "1", **(env or {})},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert "bug in nettrace" not in done.stderr, done.stderr
    return done


def test_a_truncated_snapshot(lab: Bench, tmp_path: Path) -> None:
    """A snapshot that was cut off is refused, and named."""
    whole = tmp_path / "whole.json"
    lab.nettrace("snapshot", "--lab", lab.name, "-o", str(whole), expect=(0,))
    data = whole.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        cut = tmp_path / "cut.json"
        cut.write_bytes(data[: int(len(data) * share)])
        done = run("trace", "internet", "node/node-a:30080", "--from", str(cut))
        assert done.returncode == 2
        assert "cut.json" in done.stderr
        assert done.stderr.startswith("error: ")


def test_an_unknown_target(lab: Bench) -> None:
    """A name that nothing bears is refused, and what there is is listed."""
    done = run("trace", "pod/default/nobody", "internet:80", "--lab", lab.name)
    assert done.returncode == 2
    assert "there is no pod 'nobody'" in done.stderr
    done = run("trace", "internet", "nonsense:80", "--lab", lab.name)
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert "node-a" in done.stderr


def test_a_service_name_of_two_namespaces(lab: Bench, tmp_path: Path) -> None:
    """A Service name that two namespaces have is refused, and both are named."""
    objects = "".join(
        SERVICE.format(namespace=namespace, address=address)
        for namespace, address in (("shop", "10.96.7.7"), ("pay", "10.96.7.8"))
    )
    (tmp_path / "services.yaml").write_text(objects)
    done = run("trace", "internet", "svc/db", "--lab", lab.name, "--manifests", str(tmp_path))
    assert done.returncode == 2
    assert "pay/db" in done.stderr
    assert "shop/db" in done.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux has no setpriv here")
def test_without_root(lab: Bench, tmp_path: Path) -> None:
    """Without privilege nothing is guessed: the error says that root is needed."""
    tmp_path.chmod(0o777)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    state = {"NETTRACE_STATE": str(tmp_path), "HOME": str(tmp_path)}
    done = run("trace", "internet", "node/node-a:30080", "--lab", lab.name, prefix=nobody, env=state)
    assert done.returncode in (2, 3), done.stdout
    assert "root" in done.stderr + done.stdout or "ermission" in done.stderr + done.stdout
    done = run("lab", "up", "docker", prefix=nobody, env=state)
    assert done.returncode == 2
    assert "root" in done.stderr


def test_without_iptables(lab: Bench, tmp_path: Path) -> None:
    """Where the rules are there and no iptables can read them, the verdict is UNKNOWN and says so."""
    for tool in ("ip", "nft"):
        found = shutil.which(tool)
        if found:
            (tmp_path / tool).symlink_to(found)
    done = run("trace", "internet", "node/node-a:30080", "--lab", lab.name, env={"PATH": str(tmp_path)})
    assert done.returncode == 3, done.stdout + done.stderr
    assert "UNKNOWN" in done.stdout or "unknown" in done.stdout
    assert "iptables" in done.stdout


def test_a_namespace_that_vanishes(tmp_path: Path) -> None:
    """A namespace that goes while it is read leads to an error or UNKNOWN that names it."""
    prefix = f"nt-acc-{secrets.token_hex(3)}"
    left, right = f"{prefix}-a", f"{prefix}-b"
    script = (
        "import subprocess, sys\n"
        "from nettrace.app.context import open_context\n"
        "from nettrace.app.remember import Question\n"
        "from nettrace.app.trace import trace\n"
        "from nettrace.model.section import SectionKey\n"
        "left, right = sys.argv[1:]\n"
        "with open_context() as context:\n"
        "    context.read([SectionKey(left, 'addresses'), SectionKey(right, 'addresses')])\n"
        "    for name in (left, right):\n"
        "        subprocess.run(['ip', 'netns', 'del', name], check=True)\n"
        "    context._reader._pool.close()\n"
        "    report = trace(context, Question(source=f'netns/{left}', target='10.9.9.2:80'))\n"
        "    print(report.walk.verdict.value, report.walk.paths[0].reason)\n"
    )
    try:
        for name in (left, right):
            subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(
            ["ip", "-n", left, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", right],
            check=True,
        )
        for name, address in ((left, "10.9.9.1/24"), (right, "10.9.9.2/24")):
            subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", "v0"], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "v0", "up"], check=True)
        done = subprocess.run(
            [sys.executable, "-c", script, left, right],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "NETTRACE_STATE": str(tmp_path)},
        )
        said = done.stdout + done.stderr
        assert "UNKNOWN" in said or "UserError" in said, said
        assert left in said or "gone" in said, said
    finally:
        for name in (left, right):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
