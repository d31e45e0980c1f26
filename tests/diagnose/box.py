"""
Namespaces in the making.

Lives here: devices, addresses with the kernel's routes, listeners, rules, as plain code.
"""

from typing import Any

from msgspec.structs import replace

from nettrace.model.addr import network_of
from nettrace.model.links import Address, FdbEntry, Link, Neighbour, Peer, PortAttrs
from nettrace.model.nft import NftRuleset
from nettrace.model.routes import TABLE_LOCAL, TABLE_MAIN, NextHop, PolicyRule, Route
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns
from nettrace.model.sockets import Socket
from nettrace.model.xfrm import Xfrm
from nettrace.model.xt import BUILTIN_CHAINS, XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_rule

__all__ = ["Box", "made_mac", "veth", "wire_to"]

_RULES = (
    PolicyRule(priority=0, table=TABLE_LOCAL),
    PolicyRule(priority=32766, table=TABLE_MAIN),
    PolicyRule(priority=32767, table=253),
)


def made_mac(*parts: int) -> str:
    """Return a locally administered MAC of these octets."""
    return ":".join(f"{part:02x}" for part in (2, *parts))


class Box:
    """One namespace in the making."""

    def __init__(self, number: int, name: str, node: str, role: str, **sysctls: str) -> None:
        self.number, self.name, self.node, self.role = number, name, node, role
        self.links: list[Link] = []
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.neighbours: list[Neighbour] = []
        self.fdb: list[FdbEntry] = []
        self.sockets: list[Socket] = []
        self.sysctls = {"net.ipv4.ip_forward": "0", **{k.replace("__", "."): v for k, v in sysctls.items()}}
        self.xt: XtRuleset | None = None
        self.link("lo", "loopback", mac="00:00:00:00:00:00", mtu=65536)
        self.address("lo", "127.0.0.1", 8, scope="host")

    def link(self, name: str, kind: str, *, mac: str = "", mtu: int = 1500, **more: Any) -> Link:
        """Add a device; without *mac* one that tells the namespace and its index."""
        index = len(self.links) + 1
        made = Link(
            index=index,
            name=name,
            kind=kind,
            mac=mac or made_mac(0, 0, 0, self.number, index),
            mtu=mtu,
            **more,
        )
        self.links.append(made)
        for key in ("forwarding", "rp_filter"):
            value = self.sysctls["net.ipv4.ip_forward"] if key == "forwarding" else "0"
            for which in ("all", "default", name):
                self.sysctls.setdefault(f"net.ipv4.conf.{which.replace('.', '/')}.{key}", value)
        return made

    def address(self, device: str, address: str, length: int, *, scope: str = "global") -> None:
        """Add an address with the kernel's routes for it."""
        self.addresses.append(Address(device=device, address=address, prefixlen=length, scope=scope))
        hop = (NextHop(device=device),)
        local = Route(
            dst=f"{address}/32",
            table=TABLE_LOCAL,
            type="local",
            nexthops=hop,
            prefsrc=address,
            scope="host",
            protocol="kernel",
        )
        self.routes.append(local)
        if device == "lo":
            self.routes.append(replace(local, dst="127.0.0.0/8"))
        elif length < 32:
            self.route(network_of(address, length), device, prefsrc=address, scope="link", protocol="kernel")

    def route(
        self, dst: str, device: str, via: str | None = None, *, onlink: bool = False, **more: Any
    ) -> None:
        """Add a route of the main table."""
        hop = NextHop(device=device, via=via, onlink=onlink)
        self.routes.append(Route(dst=dst, nexthops=(hop,), **more))

    def listen(self, proto: str, port: int, address: str = "0.0.0.0") -> None:
        """Add a listener."""
        state = "listen" if proto == "tcp" else "unconn"
        self.sockets.append(Socket(proto=proto, address=address, port=port, state=state))

    def tables(self, ruleset: XtRuleset) -> None:
        """Set the rules of iptables-nft."""
        self.xt = ruleset

    def rules(self, **chains: tuple[str, ...]) -> None:
        """Set table nat to these chains, with the built-in ones; filter is open."""
        nat = {name: XtChain(policy="ACCEPT") for name in BUILTIN_CHAINS["nat"]}
        for name, texts in chains.items():
            policy = nat[name].policy if name in nat else None
            nat[name] = XtChain(policy=policy, rules=tuple(parse_rule(text) for text in texts))
        filter_ = {name: XtChain(policy="ACCEPT") for name in BUILTIN_CHAINS["filter"]}
        self.xt = XtRuleset({"nat": _table(nat), "filter": _table(filter_)})

    def netns(self) -> Netns:
        """The namespace, all of it known."""
        return Netns(
            name=self.name,
            node=self.node,
            role=self.role,
            links=Known(tuple(self.links)),
            addresses=Known(tuple(self.addresses)),
            routes=Known(tuple(self.routes)),
            rules=Known(_RULES),
            neighbours=Known(tuple(self.neighbours)),
            fdb=Known(tuple(self.fdb)),
            sysctls=Known(self.sysctls),
            sockets=Known(tuple(self.sockets)),
            socket_programs=Known(()),
            conntrack=Known(()),
            xt_nft=Known(self.xt or XtRuleset({})),
            xt_legacy=Known(XtRuleset({})),
            ipsets=Known(()),
            nft=Known(NftRuleset()),
            xfrm=Known(Xfrm()),
        )


def _table(chains: dict[str, XtChain]) -> Known[XtTable]:
    return Known(XtTable({name: Known(chain) for name, chain in chains.items()}))


def veth(one: Box, name: str, other: Box, far: str, *, mtu: int = 1500, **here: Any) -> None:
    """Join two boxes by a veth, ``name`` in *one* and ``far`` in *other*."""
    index, peer = len(one.links) + 1, len(other.links) + 1
    one.link(name, "veth", mtu=mtu, peer=Peer(other.name, peer), **here)
    other.link(far, "veth", mtu=mtu, peer=Peer(one.name, index))


def wire_to(wire: Box, box: Box, address: str) -> None:
    """Put *box* on the wire, with *address* on its eth0."""
    veth(wire, box.name[:15], box, "eth0", master="br0", port=PortAttrs())
    box.address("eth0", address, 24)
