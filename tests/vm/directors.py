"""
Small networks with a director: IPVS between a client and real servers.

Lives here: the topology, its words for ipvsadm, walks compared with real connections.
"""

from collections import Counter

from nettrace.model.step import Step
from nettrace.model.walk import Leg, Walk
from nettrace.model.xt import BUILTIN_CHAINS
from tests.kernel.bed import Bed
from tests.kernel.walkbed import Net

__all__ = ["VIP", "Director", "steps_of"]

#: The virtual address that a client asks for.
VIP = "10.96.0.1"
VIP6 = "fd00:96::1"


class Director(Net):
    """
    client 10.1.0.2 -- director 10.1.0.1, 10.2.0.1 -- rs1 .. rs3 10.2.0.11 .. 13, who answer at 8080 and 53.

    ``local``: the VIP is an address of a dummy device, as kube-proxy has it; otherwise a local
    route leads to it.
    """

    def __init__(self, bed: Bed, *, reals: int = 3, dummy: bool = True) -> None:
        super().__init__(bed)
        self.extra: list[str] = []
        for label in ("client", "director", "wire"):
            self.new(label)
        self.veth("client", "eth0", "director", "c")
        self.veth("director", "s", "wire", "p0")
        self["client"].address("eth0", "10.1.0.2/24", "fd00:1::2/64")
        self["director"].address("c", "10.1.0.1/24", "fd00:1::1/64")
        self["director"].address("s", "10.2.0.1/24", "fd00:2::1/64")
        self["client"].ip("route add default via 10.1.0.1")
        self["client"].ip("-6 route add default via fd00:1::1")
        ports = ["p0"]
        self.servers = [f"rs{number}" for number in range(1, reals + 1)]
        for number, label in enumerate(self.servers, 1):
            self.new(label)
            self.veth(label, "eth0", "wire", f"p{number}")
            self[label].address("eth0", f"10.2.0.{10 + number}/24", f"fd00:2::{10 + number}/64")
            self[label].ip("route add default via 10.2.0.1")
            self[label].ip("-6 route add default via fd00:2::1")
            for address in ("", "::"):
                self.listen(label, 8080, address=address)
                self.listen(label, 53, "udp", address)
            ports.append(f"p{number}")
        self.bed.bridge(self["wire"], "br0", *ports)
        self["director"].sysctl("net.ipv4.ip_forward", 1)
        self["director"].sysctl("net.ipv6.conf.all.forwarding", 1)
        if dummy:
            self["director"].ip("link add kube-ipvs0 type dummy")
            self["director"].ip(f"addr add {VIP}/32 dev kube-ipvs0")
            self["director"].ip(f"-6 addr add {VIP6}/128 dev kube-ipvs0 nodad")
        else:
            self["director"].ip(f"route add local {VIP} dev lo")
            self["director"].ip(f"-6 route add local {VIP6} dev lo")

    def reset(self) -> None:
        """Take back what a test did to the director and to the client's addresses."""
        for tool in ("iptables", "ip6tables"):
            empty = "".join(
                f"*{table}\n{''.join(f':{chain} ACCEPT [0:0]' + chr(10) for chain in chains)}COMMIT\n"
                for table, chains in BUILTIN_CHAINS.items()
                if table in ("raw", "mangle", "nat", "filter")
            )
            if self["director"].run(f"{tool}-save"):
                self["director"].run(f"{tool}-restore", stdin=empty)
        self["director"].run(
            "sh",
            "-c",
            "ipvsadm -C; conntrack -F 2>/dev/null; "
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.vs.conntrack=0; "
            "sysctl -qw net.ipv4.vs.expire_quiescent_template=0",
        )
        if self.extra:
            self["client"].run("sh", "-c", "; ".join(f"ip addr del {one}/24 dev eth0" for one in self.extra))
            self.extra.clear()

    def client(self, last: int) -> str:
        """Give the client another address, 10.1.0.*last*, and return it."""
        address = f"10.1.0.{last}"
        if last > 2 and address not in self.extra:
            self["client"].ip(f"addr add {address}/24 dev eth0")
            self.extra.append(address)
        return address

    def ipvs(self, *lines: str) -> None:
        """Run ipvsadm with each line."""
        for line in lines:
            self["director"].run("ipvsadm", *line.split())

    def serve(
        self,
        scheduler: str = "rr",
        *,
        more: str = "",
        weights: tuple[int, ...] = (1, 1, 1),
        how: str = "-m",
        proto: str = "tcp",
    ) -> None:
        """Make the virtual server VIP:80 (UDP :53) with the real servers behind it."""
        name = f"-t {VIP}:80" if proto == "tcp" else f"-u {VIP}:53"
        port = 8080 if proto == "tcp" else 53
        if how != "-m":
            port = 80 if proto == "tcp" else 53
        self.ipvs(f"-A {name} -s {scheduler} {more}")
        for number, weight in enumerate(weights, 11):
            self.ipvs(f"-a {name} -r 10.2.0.{number}:{port} {how} -w {weight}")

    def masquerade(self) -> None:
        """Masquerade what goes to the real servers, by an iptables rule as kube-proxy has it."""
        self.sh("director", "iptables -t nat -A POSTROUTING -d 10.2.0.0/24 -j MASQUERADE")

    def ask(
        self, source: str = "client", dst: str = VIP, port: int = 80, proto: str = "tcp", *, count: int = 1
    ) -> Walk:
        """Walk and try: both have to agree."""
        return self.agree(self.flow(source, dst, port, proto), count=count)

    def answers(self, count: int, source: str = "client", port: int = 80) -> Counter[str]:
        """Return who answers real connections, and how often."""
        code = (
            "import socket,sys\n"
            f"for _ in range({count}):\n"
            f"    s = socket.create_connection(('{VIP}', {port}), 3)\n"
            "    sys.stdout.write(s.recv(99).decode()); s.close()\n"
        )
        return Counter(self[source].run("python3", "-I", "-c", code).split())


def steps_of(leg: Leg, netns: str) -> list[Step]:
    """Return the steps of a leg in one namespace."""
    return [step for step in leg.steps if step.netns.endswith(netns)]
