"""
Random rule sets of native nftables.

Lives here: drawing tables, chains and where they hook in, as lines of nft that stand for themselves, so
that any rule can be left out.
Not here: what single rules are made of (nft_pieces), which namespaces get them (generate).
"""

from tests.oracle.benches import Bench
from tests.oracle.nft_pieces import Draw, Pieces

__all__ = ["LOADER", "NativeRules", "unload"]

#: How a text is loaded.
LOADER = "nft -f -"

#: Hook -> (type, priorities that it may have there).
BASES: dict[str, tuple[tuple[str, range], ...]] = {
    "prerouting": (
        ("filter", range(-340, -301)),
        ("filter", range(-190, -101)),
        ("nat", range(-120, -81)),
        ("filter", range(-90, 190)),
    ),
    "input": (("filter", range(-90, 90)), ("nat", range(80, 120)), ("filter", range(130, 200))),
    "forward": (("filter", range(-190, -20)), ("filter", range(-20, 90))),
    "output": (
        ("filter", range(-340, -301)),
        ("route", range(-190, -101)),
        ("nat", range(-120, -81)),
        ("filter", range(1, 90)),
    ),
    "postrouting": (("filter", range(-90, 90)), ("nat", range(80, 120)), ("filter", range(130, 200))),
}
#: Where others may stand: of two with the same priority nobody knows which runs first.
_TAKEN = frozenset({-300, -225, -200, -150, -100, 0, 50, 100, 225, 300})
_BRIDGE = ("prerouting", "input", "forward", "output", "postrouting")

#: Devices by topology and namespace, for chains at the device itself, and the namespaces with a bridge.
DEVICES: dict[str, dict[str, tuple[str, ...]]] = {
    "router": {"r": ("c", "s"), "server": ("eth0",), "client": ("eth0",)},
    "two-ways": {
        "r1": ("c", "s"),
        "r2": ("c", "s"),
        "client": ("eth0", "eth1"),
        "server": ("eth0", "eth1"),
    },
    "pods": {"node": ("eth0", "veth1", "veth2", "cni0"), "pod1": ("eth0",), "pod2": ("eth0",)},
    "vxlan": {
        "node1": ("eth0", "cni0", "flannel.1"),
        "node2": ("eth0", "cni0", "flannel.1"),
        "pod2": ("eth0",),
    },
}
BRIDGES = {"pods": ("node",), "vxlan": ("node1", "node2")}


def unload(text: str) -> str:
    """Return the lines that take away what *text* has loaded."""
    tables = [line.split()[2:4] for line in text.splitlines() if line.startswith("add table ")]
    return "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family, name in tables)


class NativeRules:
    """Random native rule sets of one namespace; *mixed*: iptables has rules there as well."""

    def __init__(self, draw: Draw, bench: Bench, label: str, *, mixed: bool) -> None:
        self.draw, self.bench, self.label, self.mixed = draw, bench, label, mixed
        self.pieces = Pieces(draw, bench)

    def ruleset(self) -> str:
        """Tables of several families; the priorities of each are its own."""
        draw = self.draw
        text = self.table("inet", "one", 0)
        if not self.mixed or draw.maybe(0.4):
            text += self.table("ip" if self.bench.family == 4 else "ip6", "two", 1)
        devices = DEVICES[self.bench.wiring].get(self.label, ())
        if devices and draw.maybe(0.3):
            text += self.at_devices(devices)
        if self.label in BRIDGES.get(self.bench.wiring, ()) and draw.maybe(0.6):
            text += self.bridge()
        return text

    def table(self, family: str, name: str, odd: int) -> str:
        """Base chains at some hooks, and user chains for each of them."""
        draw, at = self.draw, f"{family} {name}"
        lines = [f"add table {at}", *self.pieces.sets(at)]
        rules: list[str] = []
        for hook, bases in BASES.items():
            for number, (kind, priorities) in enumerate(bases):
                if not draw.maybe(0.3 if self.mixed else 0.45):
                    continue
                fitting = [one for one in priorities if one % 2 == odd and one not in _TAKEN]
                policy = "drop" if kind == "filter" and draw.maybe(0.04) else "accept"
                base = f"{hook}_{number}"
                lines.append(
                    f"add chain {at} {base} {{ type {kind} hook {hook} "
                    f"priority {draw.random.choice(fitting)}; policy {policy}; }}"
                )
                rules += self.chains(at, base, lines, hook, kind, early=priorities.start < -300)
        return "".join(f"{line}\n" for line in [*lines, *rules])

    def chains(self, at: str, base: str, lines: list[str], hook: str, kind: str, *, early: bool) -> list[str]:
        """Rules of a base chain and of two user chains, which are made in *lines*."""
        draw = self.draw
        own = [f"{base}_{letter}" for letter in "ab"]
        lines += [f"add chain {at} {user}" for user in own]
        found = []
        for index, chain in enumerate((base, *own)):
            most = 5 if chain == base else 3
            for _ in range(draw.random.randint(1, most)):
                rule = self.pieces.rule(hook, kind, own[index:], early=early)
                found.append(f"add rule {at} {chain} {rule}")
        return found

    def at_devices(self, devices: tuple[str, ...]) -> str:
        """Chains at the devices themselves, of the families netdev and inet."""
        draw = self.draw
        at = draw.pick("netdev dev", "netdev dev", "inet dev")
        lines: list[str] = [f"add table {at}"]
        rules: list[str] = []
        for device in draw.random.sample(devices, min(len(devices), draw.random.randint(1, 2))):
            hook = draw.pick("ingress", "ingress", "egress" if at.startswith("netdev") else "ingress")
            base = f"{hook}_{device.replace('.', '_')}"
            policy = "drop" if draw.maybe(0.02) else "accept"
            lines.append(
                f'add chain {at} {base} {{ type filter hook {hook} device "{device}" '
                f"priority {draw.random.randint(-200, 200)}; policy {policy}; }}"
            )
            rules += self.layer2(at, base, lines, hook)
        return "".join(f"{line}\n" for line in [*lines, *rules])

    def bridge(self) -> str:
        """Chains at the hooks of a bridge."""
        draw = self.draw
        lines, rules = ["add table bridge br"], []
        for hook in _BRIDGE:
            if draw.maybe(0.5):
                policy = "drop" if draw.maybe(0.02) else "accept"
                # at 0 stands br_netfilter
                priority = draw.random.choice((-300, -200, -2, -1, 0, 1, 100, 300))
                if (hook, priority) in (("prerouting", 0), ("forward", 0), ("postrouting", 300)):
                    priority += 1
                lines.append(
                    f"add chain bridge br {hook} {{ type filter hook {hook} "
                    f"priority {priority}; policy {policy}; }}"
                )
                rules += self.layer2("bridge br", hook, lines, hook)
        return "".join(f"{line}\n" for line in [*lines, *rules])

    def layer2(self, at: str, base: str, lines: list[str], hook: str) -> list[str]:
        """Rules of a base chain below IP, and of a user chain."""
        draw = self.draw
        own = [f"{base}_a"]
        lines.append(f"add chain {at} {own[0]}")
        found = []
        for index, chain in enumerate((base, *own)):
            for _ in range(draw.random.randint(1, 3)):
                rule = self.pieces.layer2_rule(at.split(maxsplit=1)[0], hook, own[index:])
                found.append(f"add rule {at} {chain} {rule}")
        return found
