"""
The layer-4 balancer in front of the nodes: asks who is healthy, and spreads over those.

Run by detach.py as ``balancer.py PID_FILE CONFIG``; CONFIG is JSON, a list of
``{"address", "proto", "port", "nodePort", "healthPort", "nodes", "ranges"}``.  Every half second it asks each
node: ``GET /healthz`` at the Service's healthCheckNodePort where it has one, a connection to the
node port otherwise (of UDP ports nobody can ask: they count as healthy).  The rules are DNAT only,
so that the client's address reaches the node; what the nodes themselves send here is masqueraded,
or their replies would pass the balancer by.
"""

import json
import socket
import subprocess
import sys
import time

from nettrace.lab.detach import background

PERIOD = 0.5  # seconds between two rounds of questions
PATIENCE = 0.3  # seconds for an answer

__all__ = ["main"]


def healthy(node: str, entry: dict[str, object]) -> bool:
    """Does this node want traffic of this Service's port?"""
    number = entry["healthPort"]
    if not number and entry["proto"] == "udp":
        return True
    try:
        with socket.create_connection((node, int(str(number or entry["nodePort"]))), PATIENCE) as connection:
            if not number:
                return True
            connection.settimeout(PATIENCE)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n")
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def rules(entries: list[dict[str, object]]) -> str:
    """The nat table for those nodes that are healthy now, in iptables-save's format."""
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]", ":INPUT ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
    lines += [":POSTROUTING ACCEPT [0:0]"]
    for entry in entries:
        nodes = [node for node in _texts(entry["nodes"]) if healthy(node, entry)]
        for client in _texts(entry["ranges"]) or [""]:
            for index, node in enumerate(nodes):
                left = len(nodes) - index
                lines.append(
                    "-A PREROUTING"
                    + (f" -s {client}" if client else "")
                    + f" -d {entry['address']}/32 -p {entry['proto']}"
                    + f" -m {entry['proto']} --dport {entry['port']}"
                    + (f" -m statistic --mode random --probability {1 / left:.11f}" if left > 1 else "")
                    + f" -j DNAT --to-destination {node}:{entry['nodePort']}"
                )
    nodes = sorted({node for entry in entries for node in _texts(entry["nodes"])})
    lines += [f"-A POSTROUTING -s {node}/32 -m conntrack --ctstate DNAT -j MASQUERADE" for node in nodes]
    return "\n".join([*lines, "COMMIT", ""])


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def load(text: str) -> None:
    """Put the table in place, all of it at once."""
    subprocess.run(["iptables-nft-restore"], input=text.encode(), check=True, capture_output=True)


def main(argv: list[str]) -> int:
    """Ask and load once, go into the background, go on for ever."""
    pid_file, config = argv
    with open(config, encoding="utf-8") as file:  # noqa: PTH123
        entries = json.load(file)
    there = rules(entries)
    try:
        load(there)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"balancer: {error.stderr.decode(errors='replace')}\n")
        return 1
    background(pid_file)
    while True:
        time.sleep(PERIOD)
        wanted = rules(entries)
        if wanted != there:
            load(wanted)
            there = wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
