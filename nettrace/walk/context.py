"""
One run of the walk: what it read, what it decided, what it wrote down.

Lives here: the run's state, the chooser where the kernel draws lots, the ways a run ends.
Not here: the order of stages (leg), enumerating the branches (walker).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple, NoReturn

from nettrace.model.flow import Flow
from nettrace.model.packet import Packet
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Stage, Step, Verdict, Why
from nettrace.walk.limits import Limits
from nettrace.walk.skb import Conn, Decision, Skb, Tup

__all__ = [
    "Answer",
    "Carried",
    "Delivery",
    "Ended",
    "Run",
    "Stolen",
    "Undecided",
    "Wanted",
    "ended",
    "undecided",
]


class Wanted(Exception):
    """Sections that were not read stand in the way."""

    def __init__(self, keys: Sequence[SectionKey]) -> None:
        super().__init__(keys)
        self.keys = tuple(keys)


class Undecided(Exception):
    """The state at hand does not decide; *reason* says what would."""

    def __init__(self, reason: str, why: Why | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.why = why


class Ended(Exception):
    """The leg ends here."""

    def __init__(self, verdict: Verdict, reason: str = "", errno: str | None = None) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason
        self.errno = errno


class Stolen(Ended):
    """IPVS took the packet out of the hook it was at, and sends it on by OUTPUT (NF_STOLEN)."""

    def __init__(self) -> None:
        super().__init__(Verdict.DELIVERED, "sent on by IPVS")


def ended(verdict: Verdict, reason: str = "", errno: str | None = None) -> NoReturn:
    """End the leg."""
    raise Ended(verdict, reason, errno)


def undecided(reason: str, ref: str = "", text: str = "") -> NoReturn:
    """Say that the leg's fate cannot be told."""
    raise Undecided(reason, Why(ref, text) if ref else None)


@dataclass(slots=True, eq=False)
class Answer:
    """
    A packet that the kernel sends because of another one: an ICMP error or an RST.

    ``conn`` and ``reply`` are the connection it is tied to by nf_ct_attach, if any; ``attached``: it was
    tied to what is not tracked, which leaves it without a connection and past NOTRACK; ``delay``
    how long the kernel waits before it sends it, ``mtu`` what fragmentation-needed announces.
    ``frame`` is set where it goes straight out of a bridge port: port, source and destination MAC.
    ``by`` is the device that an answer to a link-local address is bound to, ``by_kernel`` as in an Skb.
    """

    netns: str
    packet: Packet
    conn: Conn | None = None
    reply: bool = False
    attached: bool = False
    delay: float = 0.0
    mtu: int | None = None
    frame: tuple[str, str, str] | None = None
    by: str | None = None
    by_kernel: bool = False


class Carried(NamedTuple):
    """
    Where a tunnel's packet came out: namespace, device, and the outer packet's source there.

    Empty where it was lost; ``leaves`` says that it left the snapshot.
    """

    netns: str = ""
    device: str = ""
    end: str = ""
    leaves: str = ""


@dataclass(slots=True, eq=False)
class Delivery:
    """
    Where a leg arrived, and the packet as it arrived.

    ``listens``: a socket that takes calls; ``came_by`` the device that an IPv6 packet came in by.
    """

    netns: str
    packet: Packet
    device: str
    listens: bool = False
    bound_address: str | None = None
    mss: int | None = None
    came_by: str | None = None


@dataclass(slots=True, eq=False)
class Run:
    """
    One branch of the walk from its first packet to its last.

    ``decided`` are the draws this run has to take, ``taken`` those it took, ``siblings``
    the prefixes of the branches it did not take.
    """

    snapshot: Snapshot
    flow: Flow
    limits: Limits
    decided: tuple[int, ...] = ()
    taken: list[int] = field(default_factory=list)
    siblings: list[tuple[int, ...]] = field(default_factory=list)
    sibling_shares: list[Fraction] = field(default_factory=list)
    draws: list[str] = field(default_factory=list)
    drawn_in: set[str] = field(default_factory=set)  # namespaces in which a rule drew lots
    probability: Fraction = Fraction(1)
    remembered: dict[Hashable, int] = field(default_factory=dict)
    replaying: dict[str, int] | None = None
    conns: dict[str, list[Conn]] = field(default_factory=dict)
    bound: dict[str, list[Any]] = field(default_factory=dict)  # connections of IPVS, by namespace
    neighbours: dict[tuple[str, str, str], str] = field(default_factory=dict)
    learned_ports: dict[tuple[str, str, str], str] = field(default_factory=dict)
    learned_ends: dict[tuple[str, str, str], str] = field(default_factory=dict)  # of VXLAN devices
    # how a tunnel's packet gets to its far end; set by leg, which knows the stages
    carry: Callable[[Any, Any], "Carried"] | None = None
    carrying: int = 0  # how many such packets are inside each other
    steps: list[Step] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    delivery: Delivery | None = None
    leg: str = "request"
    stages: int = 0
    rules: int = 0
    seen: set[Hashable] = field(default_factory=set)
    views: dict[str, Any] = field(default_factory=dict)
    read: dict[tuple[str, str], tuple[Any]] = field(default_factory=dict)
    ipsets: dict[tuple[str, str], Any] = field(default_factory=dict)  # those that SET rules changed
    expected: set[tuple[str, Tup]] = field(default_factory=set)
    drawn: int = 0  # ports, and identifiers of ICMP, that nat drew: each is a symbol of its own
    elements: dict[tuple[str, str, str], dict[bytes, Any]] = field(default_factory=dict)  # put in by dynset
    quiet: bool = False
    circle: int = 0  # how many steps there were when the packet had met itself, 0 if it has not
    sent: Packet | None = None
    connected: Decision | None = None  # the route of the client's socket

    # --- sections ------------------------------------------------------------------------

    def section(self, netns: str, name: str, *, along: Sequence[str] = ()) -> Any:
        """
        Return the value of a section.

        Raises Wanted if it was not read, with those of *along* that were not read either,
        and Undecided if it cannot be read.
        """
        held = self.read.get((netns, name))
        if held is not None:
            return held[0]
        key = SectionKey(netns, name)
        found = self.snapshot.section(key)
        if not isinstance(found, Known):
            self.missing(key, found, along=along)
        self.read[(netns, name)] = (found.value,)
        return found.value

    def missing(self, key: SectionKey, found: Missing, *, along: Sequence[str] = ()) -> NoReturn:
        """Raise what a missing section means."""
        if found.kind is not MissingKind.NOT_READ:
            word = found.reason or found.kind.value
            raise Undecided(f"{key} is not known: {word}", Why(str(key), word))
        if ":" in self.flow.packet.dst:
            along = [name.replace("xt/", "xt6/") for name in along]
        others = [SectionKey(key.netns, name) for name in along if name != key.name]
        raise Wanted((key, *(one for one in others if self.unread(one))))

    def unread(self, key: SectionKey) -> bool:
        """Was this section never asked for?"""
        found = self.snapshot.section(key)
        return isinstance(found, Missing) and found.kind is MissingKind.NOT_READ

    # --- chance --------------------------------------------------------------------------

    def choose(self, options: Sequence[tuple[Fraction, str]], key: str) -> int:
        """
        Return the index of the option that this branch takes.

        *options* are (probability, words); those of probability 0 are never taken.  *key*
        names the draw: where rules are evaluated twice in two orders it is drawn once.
        """
        possible = [index for index, (share, _) in enumerate(options) if share]
        if len(possible) == 1:
            return possible[0]
        if self.replaying is not None and key in self.replaying:
            return self.replaying[key]
        depth = len(self.taken)
        chosen = self.decided[depth] if depth < len(self.decided) else possible[0]
        if depth >= len(self.decided):
            for index in possible[1:]:
                self.siblings.append((*self.taken, index))
                self.sibling_shares.append(self.probability * options[index][0])
        share, words = options[chosen]
        self.taken.append(chosen)
        self.probability *= share
        self.draws.append(words)
        if self.replaying is not None:
            self.replaying[key] = chosen
        return chosen

    # --- writing down ----------------------------------------------------------------------

    def step(
        self,
        skb: Skb,
        stage: Stage,
        verdict: str,
        *,
        device: str | None = None,
        hook: str | None = None,
        backend: str | None = None,
        table: str | None = None,
        chain: str | None = None,
        rule: int | None = None,
        before: Packet | None = None,
        ref: str = "",
        text: str = "",
        note: str = "",
        stops: bool = False,
    ) -> None:
        """Write one step down; with *before*, the packet as it is now goes into ``after``."""
        if self.quiet:
            return
        where = self.snapshot.namespaces.get(skb.netns)
        self.steps.append(
            Step(
                node=where.node if where is not None else "",
                netns=skb.netns,
                stage=stage,
                verdict=verdict,
                device=device if device is not None else skb.device or None,
                hook=hook,
                backend=backend,
                table=table,
                chain=chain,
                rule=rule,
                before=before if before is not None else skb.packet,
                after=skb.packet if before is not None and before != skb.packet else None,
                why=Why(ref, text) if ref else None,
                note=note,
                stops=stops,
            )
        )
