"""
Faults that a lab has one after the other: made by the shell, found first, repaired, undone, taken back.
"""

import difflib
import re
from collections.abc import Callable
from typing import NamedTuple

from tests.acceptance.faults import Scene
from tests.acceptance.matrix import ends_of, flow_of

__all__ = ["Break", "found_repaired_undone", "lead_to_peers", "overlay_blocked_is_named"]


class Break(NamedTuple):
    """
    A fault: its cause, the shell commands that make it, the flow that it hurts.

    ``differs`` is how many owed things of ``system`` are missing then.  ``way`` says of a kind of flow
    who calls whom, as flow_of() does in a cluster.
    """

    cause: str
    inject: Callable[[Scene], list[tuple[str, str]]]
    kind: str
    outcome: str
    system: str = "flannel"
    differs: int = 1
    way: Callable[[Scene, str], tuple[str, str, str, str, int]] = flow_of


#: What a fault may touch: routes, neighbours and forwarding entries that somebody wrote, MAC addresses,
#: forwarding, ARP and reverse path filters of devices, rules, sets.
_LOOK = (
    "ip route show; ip neigh show nud permanent; bridge fdb show | grep -E 'permanent|static'; "
    "ip -br link | awk '{print $1, $3}'; cd /proc/sys/net/ipv4; cat ip_forward; "
    "grep . conf/*/proxy_arp conf/*/rp_filter conf/*/forwarding; "
    "iptables-save -t nat; iptables-save -t filter; "
    "if which ipset >/dev/null; then ipset save | sort; fi"
)


def state(scene: Scene) -> dict[str, str]:
    """What a fault may touch on each node, counters left out."""
    shown = {node: scene.bench.shell(node, _LOOK) for node in scene.node_ip}
    return {node: re.sub(r"#.*\n|\[\d+:\d+\]", "", text) for node, text in shown.items()}


def _same(now: dict[str, str], before: dict[str, str]) -> None:
    changed = [
        f"{node}: {line}"
        for node in before
        for line in difflib.ndiff(before[node].splitlines(), now[node].splitlines())
        if line[0] in "+-"
    ]
    assert not changed, changed


def found_repaired_undone(scene: Scene, fault: Break, heal: Callable[[Scene], list[tuple[str, str]]]) -> None:
    """Make the fault, see it found first, repaired and undone; *heal* are commands that take it back."""
    lab = scene.bench
    source, target, who, address, port = fault.way(scene, fault.kind)
    healthy = state(scene)
    rules = {node: lab.shell(node, "iptables-save") for node in scene.node_ip}
    for member, command in fault.inject(scene):
        lab.shell(member, command)
    broken = state(scene)
    assert broken != healthy
    code = (1,) if fault.differs else (0,)
    shown = lab.nettrace("show", "systems", "--lab", lab.name, "-o", "json", expect=code).json["items"]
    wrong = [(item["system"]["name"], len(item["system"]["differs"])) for item in shown]
    expected = [(fault.system, fault.differs)] if fault.differs else []
    assert [one for one in wrong if one[1]] == expected, (wrong, expected)

    said = lab.nettrace("trace", source, target, "--lab", lab.name, "-o", "json", expect=(1,)).json
    assert said["outcome"] == fault.outcome
    patience = 4.5 if fault.outcome == "unreachable" else 0.9  # ARP is given up after 3 s
    seen = {t["outcome"] for t in lab.connect(who, address, port, seconds=patience)}
    assert seen == {fault.outcome}, seen
    assert [finding["cause"] for finding in said["findings"]][:1] == [fault.cause]

    lab.nettrace("repair", "apply", fault.cause, "--lab", lab.name, "--yes", expect=(0,))
    assert {t["outcome"] for t in lab.connect(who, address, port, times=3)} == {"connected"}
    lab.nettrace("repair", "undo", "--lab", lab.name, expect=(0,))
    _same(state(scene), broken)
    for node, text in rules.items():
        lab.shell(node, f"iptables-restore <<'END'\n{text}\nEND")
    for member, command in heal(scene):
        lab.shell(member, command)
    _same(state(scene), healthy)


def lead_to_peers(scene: Scene) -> list[tuple[str, str]]:
    """Lead each peer's pods to the peer, by the wire."""
    return [
        (node, f"ip route replace {scene.pod_cidr[peer]} via {scene.node_ip[peer]} dev eth0")
        for node in scene.node_ip
        for peer in {*scene.node_ip} - {node}
    ]


def overlay_blocked_is_named(scene: Scene, packets: str) -> None:
    """Drop the overlay's *packets* (``-p udp --dport 8472``) on the far node: the finding says so."""
    lab = scene.bench
    _, far = ends_of(scene)
    source, target, who, address, port = flow_of(scene, "pod-pod-other-node")
    lab.shell(far, f"iptables -I INPUT {packets} -j DROP")
    try:
        said = lab.trace(source, target)
        assert (said["outcome"], said["findings"][0]["cause"]) == ("timeout", "overlay-udp-blocked")
        assert [t["outcome"] for t in lab.connect(who, address, port)] == ["timeout"]
    finally:
        lab.shell(far, "iptables -D INPUT 1")
