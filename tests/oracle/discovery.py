"""
What IPv6 does of itself, kept out of what is compared.

Lives here: neighbour discovery that is quick and, where nothing was done to it, over; learned MTUs that
are forgotten.
Not here: telling its messages from the probe's (noise).

Unlike ARP the messages of discovery pass the rules of ip6tables.  That the walk follows it is tested where
a state has the neighbours forgotten; else they are all known, as on a node that has been up for a while.
"""

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv6Interface

from tests.oracle.bench import OracleNet

__all__ = ["Neighbours"]

_DEVICE = {
    "accept_ra": "0",
    "accept_redirects": "0",
    "router_solicitations": "0",
    "keep_addr_on_down": "1",  # or a link that comes up again has none
}
#: Nobody asks again for a neighbour that was known once.
_CALM = {"delay_first_probe_time": "600", "base_reachable_time_ms": "600000", "ucast_solicit": "3"}
_NOWHERE = 9999


class Neighbours:
    """All neighbours of a network that has just been built."""

    def __init__(self, net: OracleNet) -> None:
        self.net = net
        self._lines: dict[str, list[str]] = {}
        for label, space in net.spaces.items():
            net.sysctl(label, "net.ipv6.icmp.ratelimit", "0")
            names = [line.split(":")[1].strip().split("@")[0] for line in space.ip("-o link").splitlines()]
            for name in names:
                device = name.replace(".", "/")
                for what, value in _DEVICE.items():
                    net.sysctl(label, f"net.ipv6.conf.{device}.{what}", value)
                for what, value in _CALM.items():
                    net.sysctl(label, f"net.ipv6.neigh.{device}.{what}", value)
        self._meet()
        for label, space in net.spaces.items():
            for line in space.ip("-6 neigh").splitlines():
                words = line.split()
                if "lladdr" in words and "PERMANENT" not in words:
                    mac = words[words.index("lladdr") + 1]
                    new = f"neigh replace {words[0]} lladdr {mac} dev {words[2]} nud reachable"
                    self._lines.setdefault(label, []).append(new)
        self.restore()

    def _meet(self) -> None:
        """Send a datagram between all who are on one link."""
        here = {label: list(_addresses(space.ip("-6 -o addr"))) for label, space in self.net.spaces.items()}
        for label, own in here.items():
            others = [one for other, held in here.items() if other != label for one in held]

            def turn(own: list[IPv6Interface] = own, others: list[IPv6Interface] = others) -> None:
                for mine in own:
                    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as found:
                        found.bind((str(mine.ip), 0))
                        for one in others:
                            if one.ip in mine.network:
                                with contextlib.suppress(OSError):
                                    found.sendto(b"", (str(one.ip), _NOWHERE))

            self.net.worker(label).run(turn)

    def restore(self) -> None:
        """Make all neighbours known again."""
        for label, lines in self._lines.items():
            text = "\n".join(lines)
            self.net.commands(label, [f"ip -6 -force -batch - <<'END'\n{text}\nEND"], check=False)

    def forget_exceptions(self) -> None:
        """Forget what errors taught the routes, those of the local table too."""
        for label in self.net.spaces:
            self.net.commands(label, ["ip -6 route flush cache table all"], check=False)


def _addresses(told: str) -> Iterator[IPv6Interface]:
    """Addresses of ``ip -6 -o addr`` that others may be met from."""
    for line in told.splitlines():
        found = IPv6Interface(line.split()[3])
        if not (found.is_link_local or found.is_loopback or found.network.prefixlen == 128):
            yield found
