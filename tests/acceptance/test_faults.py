"""
Each of the fourteen causes: broken by the shell command, found first, repaired, undone.
"""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.bench import Bench, bench
from tests.acceptance.faults import FAULTS, Fault, Scene
from tests.acceptance.scenes import docker_scene, kubernetes_scene
from tests.acceptance.workloads import random_workload

#: Enough tries that a third of the connections failing does not hide: (2/3)^24 < 1e-4.
TRIES = 24


def canonical(lab: Bench, tmp: Path) -> Any:
    """The lab's whole state in canonical form, through a snapshot file."""
    path = tmp / f"{secrets.token_hex(4)}.json"
    lab.nettrace("snapshot", "--lab", lab.name, "-o", str(path), expect=(0,))
    code = (
        "import sys,json,msgspec\n"
        "from pathlib import Path\n"
        "from nettrace.model.canonical import canonical_netns\n"
        "from nettrace.parse.snapshot_file import decode_snapshot\n"
        "s = decode_snapshot(Path(sys.argv[1]).read_bytes(), sys.argv[1])\n"
        "plain = {n: canonical_netns(ns) for n, ns in s.namespaces.items()}\n"
        "plain = msgspec.to_builtins(plain, str_keys=True, order='deterministic')\n"
        "print(json.dumps(plain, sort_keys=True, default=repr))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def oddities(scene: Scene) -> None:
    """An unused drop rule and a stale route on every node."""
    for node in scene.node_ip:
        scene.bench.shell(node, "iptables -A INPUT -s 203.0.113.77/32 -p tcp --dport 4444 -j DROP")
        scene.bench.shell(node, f"ip route add 198.51.100.0/24 via {scene.outside_ip} dev eth0")


def options(topology: str, tmp: Path, *, odd: bool) -> list[str]:
    """Other names and numbers for the odd labs."""
    if not odd:
        return []
    low = secrets.randbelow(80) + 20
    chosen = ["--node-net", f"172.{low % 12 + 19}.{low}.0/24"]
    if topology == "flannel-vxlan":
        chosen += ["--pod-cidr", f"10.{low + 100}.0.0/16", "--service-cidr", f"10.{low}.0.0/16"]
        chosen += ["--manifests", str(random_workload(tmp / "workload"))]
    return chosen


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
@pytest.mark.parametrize("odd", [False, True], ids=["plain", "odd"])
def test_broken_found_repaired_undone(fault: Fault, odd: bool, tmp_path: Path) -> None:
    """The cause is the first finding, its repair makes real connections work, undo brings the fault back."""
    with bench(fault.topology, *options(fault.topology, tmp_path, odd=odd)) as lab:
        scene = docker_scene(lab) if fault.topology == "docker" else kubernetes_scene(lab)
        if odd:
            oddities(scene)
        source, target = fault.flow(scene)
        who, address, port = fault.real(scene)
        sport = secrets.randbelow(2000) + 21000 if odd else 0

        healthy = lab.trace(source, target)
        assert healthy["outcome"] == "connected", healthy
        assert healthy["findings"] == []
        assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}

        for member, command in fault.inject(scene):
            lab.shell(member, command)
        broken_state = canonical(lab, tmp_path)

        extra = ("--sport", str(sport)) if sport else ()
        broken = lab.nettrace(
            "trace", source, target, "--lab", lab.name, "-o", "json", *extra, expect=(1,)
        ).json
        predicted = {p["outcome"] for p in broken["paths"]}
        tries = TRIES if len(predicted) > 1 else 2
        patience = 4.5 if any(p["delay"] for p in broken["paths"]) else 0.9
        seen = {t["outcome"] for t in lab.connect(who, address, port, times=tries, seconds=patience)}
        assert seen == predicted, (seen, predicted)
        assert seen <= fault.outcomes
        assert seen != {"connected"}
        assert broken["findings"], broken["diagnosis"]
        assert broken["findings"][0]["cause"] == fault.cause, [f["cause"] for f in broken["findings"]]

        lab.nettrace("repair", "apply", fault.cause, "--lab", lab.name, "--yes", expect=(0,))
        after = {t["outcome"] for t in lab.connect(who, address, port, times=tries)}
        assert after == {"connected"}

        lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
        assert canonical(lab, tmp_path) == broken_state
