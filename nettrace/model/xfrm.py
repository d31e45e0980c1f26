"""
IPsec in the kernel (xfrm): the policies of a namespace, and the states that they are carried out with.

Lives here: the shapes, and words for them as ``ip xfrm`` writes them.  Keys are never read.
Not here: which policy a packet meets (nettrace.walk.xfrm), reading (nettrace.collect.xfrm).
Source: include/uapi/linux/xfrm.h, net/xfrm/xfrm_policy.c, ip-xfrm(8).
"""

from msgspec import Struct

__all__ = ["DIRECTIONS", "Xfrm", "XfrmPolicy", "XfrmState", "XfrmTemplate"]

#: Which packets a policy is asked for: those that are delivered here, that leave, that are passed on.
DIRECTIONS = ("in", "out", "fwd")


class XfrmTemplate(Struct, frozen=True, kw_only=True):
    """
    What a policy wants done to a packet (struct xfrm_user_tmpl).

    ``src`` and ``dst`` are a tunnel's ends, "" for any; ``spi`` and ``reqid`` 0 for any.  ``level`` is
    ``required``, or ``use``: where there is a state for it.
    """

    proto: str = "esp"  # esp, ah, comp, route2, hao, ipsec-any, or a number
    mode: str = "transport"  # transport, tunnel, ro, in_trigger, beet, iptfs, or a number
    src: str = ""
    dst: str = ""
    spi: int = 0
    reqid: int = 0
    level: str = "required"

    def __str__(self) -> str:
        """``esp transport``, ``esp tunnel 192.0.2.1 -> 192.0.2.2``."""
        ends = f" {self.src or 'any'} -> {self.dst or 'any'}" if self.src or self.dst else ""
        known = f" spi {self.spi:#x}" if self.spi else ""
        known += f" reqid {self.reqid}" if self.reqid else ""
        return f"{self.proto} {self.mode}{ends}{known}{' level use' if self.level == 'use' else ''}"


class XfrmPolicy(Struct, frozen=True, kw_only=True):
    """
    One policy (struct xfrm_userpolicy_info with its attributes).

    ``src`` and ``dst`` are prefixes; ``proto`` a protocol's name as in Packet or its number, "" for any.
    ``sport`` and ``dport`` count under their masks only; of ICMP they are type and code.
    ``direction`` is ``in``, ``out`` or ``fwd``, with ``socket `` before it for one that a program has set
    on a socket of its own.  ``action`` is ``allow`` or ``block``.  The smallest ``priority`` wins.
    ``type`` is ``main`` or ``sub``; ``context`` is a security label, "" for none.
    """

    src: str
    dst: str
    direction: str
    action: str = "allow"
    priority: int = 0
    index: int = 0
    proto: str = ""
    sport: int = 0
    sport_mask: int = 0
    dport: int = 0
    dport_mask: int = 0
    device: str = ""
    mark: int = 0
    mark_mask: int = 0
    if_id: int = 0
    templates: tuple[XfrmTemplate, ...] = ()
    flags: tuple[str, ...] = ()  # localok, icmp
    type: str = "main"
    context: str = ""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.dst else 4

    @property
    def selector(self) -> str:
        """What it is about, as ``ip xfrm policy`` has it."""
        words = [f"src {self.src} dst {self.dst}"]
        if self.proto:
            words.append(f"proto {self.proto}")
        for name, value, mask in (
            ("sport", self.sport, self.sport_mask),
            ("dport", self.dport, self.dport_mask),
        ):
            if mask:
                words.append(f"{name} {value}" + (f"/{mask:#x}" if mask != 0xFFFF else ""))
        if self.device:
            words.append(f"dev {self.device}")
        if self.mark_mask:
            words.append(f"mark {self.mark:#x}/{self.mark_mask:#x}")
        if self.if_id:
            words.append(f"if_id {self.if_id:#x}")
        if self.type != "main":
            words.append(f"ptype {self.type}")
        if self.context:
            words.append(f"ctx {self.context}")
        return " ".join(words)

    def __str__(self) -> str:
        """One line: selector, direction, action, priority, templates."""
        words = [self.selector, f"dir {self.direction}"]
        if self.action != "allow":
            words.append(f"action {self.action}")
        words.append(f"priority {self.priority}")
        words += [f"tmpl {one}" for one in self.templates]
        return " ".join(words)


class XfrmState(Struct, frozen=True, kw_only=True):
    """
    One state, an SA of one direction (struct xfrm_usersa_info), without its keys.

    ``spi`` 0: it is asked for and not there yet.  ``selects`` are the prefixes it is for, "" for any.
    ``algorithms`` are names.
    """

    src: str
    dst: str
    proto: str
    spi: int
    mode: str = "transport"
    reqid: int = 0
    mark: int = 0
    mark_mask: int = 0
    if_id: int = 0
    direction: str = ""  # in or out where the kernel was told (6.10 and later)
    selects_src: str = ""
    selects_dst: str = ""
    algorithms: tuple[str, ...] = ()

    def __str__(self) -> str:
        """``esp 192.0.2.1 -> 192.0.2.2 spi 0x100 transport``."""
        return f"{self.proto} {self.src} -> {self.dst} spi {self.spi:#x} {self.mode}"


class Xfrm(Struct, frozen=True, kw_only=True):
    """
    Policies and states of a namespace, in the order of the kernel's dump (newest policy first).

    ``blocks``: the directions in which what no policy is about is blocked (XFRM_MSG_SETDEFAULT).
    """

    policies: tuple[XfrmPolicy, ...] = ()
    states: tuple[XfrmState, ...] = ()
    blocks: tuple[str, ...] = ()
