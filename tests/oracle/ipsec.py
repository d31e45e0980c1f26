"""
Random policies of IPsec.

Lives here: policies that let pass, block, or want what comes in to have come by IPsec.
Not here: policies that would transform what leaves, of which the walk says UNKNOWN.
"""

from typing import TYPE_CHECKING

from tests.oracle.benches import Bench, Change

if TYPE_CHECKING:
    from tests.oracle.generate import Generator

__all__ = ["drawn_policies"]

_ANY = {4: "0.0.0.0/0", 6: "::/0"}
_TEMPLATE = "tmpl proto esp mode transport level {}"


def drawn_policies(draw: "Generator", bench: Bench, netns: str) -> Change:
    """One to three policies in a namespace."""
    lines = [_policy(draw, bench, number) for number in range(draw.random.randint(1, 3))]
    flush = "ip xfrm policy flush"  # also where one is refused: nothing of a state is left then
    return Change(netns, f"{' && '.join(lines)} || {{ {flush}; false; }}", flush)


def _policy(draw: "Generator", bench: Bench, number: int) -> str:
    ends = (*bench.addresses, *bench.prefixes)
    src, dst = (draw.pick(*ends) if draw.maybe(0.4) else _ANY[bench.family] for _ in range(2))
    direction = draw.pick("out", "out", "in", "fwd", "fwd")
    words = [f"ip xfrm policy add src {src} dst {dst}"]
    proto = draw.pick("", "", "", "tcp", "udp", "icmp" if bench.family == 4 else "ipv6-icmp")
    if proto:
        words.append(f"proto {proto}")
    if proto in ("tcp", "udp") and draw.maybe(0.5):
        words.append(f"{draw.pick('dport', 'sport')} {draw.pick(*bench.ports, '80')}")
    if draw.maybe(0.2):
        words.append(f"dev {draw.pick(*bench.devices)}")
    # two of one selector are one policy: the priority keeps them apart
    words.append(f"dir {direction} priority {number * 10 + draw.random.randint(1, 9)}")
    words.append(f"action {draw.pick('block', 'block', 'allow')}")
    if direction != "out" and draw.maybe(0.3):
        words.append(_TEMPLATE.format(draw.pick("required", "use")))
    return " ".join(words)
