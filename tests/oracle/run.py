"""
Running cases: state made, probe predicted, sent, judged, state taken back.

Lives here: one network with everything that watches it.
"""

import contextlib
import re
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from nettrace.collect.reader import Reader
from nettrace.model.flow import Flow, ObjectRef, Origin
from nettrace.model.packet import Packet, PortRange
from nettrace.model.snapshot import Snapshot
from nettrace.model.step import Verdict
from nettrace.model.walk import Needs, Outcome, Walk
from nettrace.walk import walk
from tests.kernel.bed import Bed
from tests.oracle.bench import OracleNet, Seen
from tests.oracle.benches import MORE
from tests.oracle.case import Case, Probe, State
from tests.oracle.compare import Judgement, judge
from tests.oracle.discovery import Neighbours
from tests.oracle.networks import BENCHES, built
from tests.oracle.nft import LOADER, unload
from tests.oracle.witness import Sighting, Witness

__all__ = ["Bench", "Broken", "Pair", "assert_agrees", "bench", "explain", "flow_of"]

_EMPTY = "".join(
    f"*{table}\n{''.join(f':{chain} ACCEPT [0:0]{chr(10)}' for chain in chains)}COMMIT\n"
    for table, chains in {
        "raw": ("PREROUTING", "OUTPUT"),
        "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
        "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
        "filter": ("INPUT", "FORWARD", "OUTPUT"),
    }.items()
)
_ROUNDS = 60
#: NAT that sends a tunnel's packets into the tunnel makes ever more fragments of one; where they all pass
#: there is room for a thousand exchanges a second, and not for that.
_NARROW = "rate 4mbit burst 64k limit 64k"
#: Seconds that an answer which the walk promises may take on a machine that is busy.
_PATIENCE = 0.4
#: Ends whose errors are limited by ip_error().
_LIMITED = (Verdict.NO_ROUTE, Verdict.NOT_FORWARDED)
#: ICMPv6's type of the error that a packet is too big.
_TOO_BIG = 2
#: Who answers for an anycast address, or for others, takes its time: longer than one solicitation here
#: is waited for (ndisc_recv_ns, arp_process).
_QUICK_ARP = {
    "mcast_solicit": "1",
    "ucast_solicit": "0",
    "retrans_time_ms": "10",
    "gc_stale_time": "600",
    "proxy_delay": "0",
}


#: So many times as often is a probe sent again whose way is drawn.
_DRAWS = 4
#: What a walk may end with that has a mistake; none of these says anything about the packet.
_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Broken(Exception):
    """A state that the kernel refuses, or a frame that cannot arrive in it."""


class Pair(NamedTuple):
    """What came of one probe."""

    walk: Walk
    seen: Seen | None  # None: nobody called, a frame arrived
    sighting: Sighting
    judgement: Judgement
    tries: int = 1


def _crashed(probe: Probe, error: Exception) -> Pair:
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = f"the walk ended with {type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    nothing = Walk(flow=flow_of(probe), paths=(), verdict=Verdict.UNKNOWN, outcome=Outcome.UNKNOWN)
    judgement = Judgement(agrees=False, differences=(text,))
    return Pair(nothing, None, Sighting({}, [], [], None), judgement)


@contextlib.contextmanager
def bench(topology: str, *, watched: bool = True) -> Iterator["Bench"]:
    """A network that is up, with the oracle's witnesses unless not *watched*, and gone afterwards."""
    bed = Bed()
    try:
        net = OracleNet(bed)
        try:
            built(topology, net)
            for label, device, prefix in BENCHES[topology].more:
                length = "64 nodad" if ":" in prefix else "24"
                net.commands(label, [f"ip addr add {prefix}{last}/{length} dev {device}" for last in MORE])
            for label, device in BENCHES[topology].narrow:
                net.commands(label, [f"tc qdisc add dev {device} root tbf {_NARROW}"])
            with Reader(net.handles()) as reader:
                if not watched:
                    yield Bench(topology, net, None, reader)
                    return
                witness = Witness(net)
                try:
                    yield Bench(topology, net, witness, reader)
                finally:
                    witness.close()
        finally:
            net.close()
    finally:
        bed.close()


class Bench:
    """One network; states come and go."""

    def __init__(self, topology: str, net: OracleNet, witness: Witness | None, reader: Reader) -> None:
        self.topology = topology
        self.net, self._witness, self.reader = net, witness, reader
        self.snapshot = Snapshot()
        self._state = State(topology=topology)
        self._old: list[tuple[str, str, str]] = []
        self._undo: list[tuple[str, str]] = []
        self._loaded: list[tuple[str, str, str]] = []
        self.devices: frozenset[tuple[str, str]] = frozenset()
        self._settle_down()

    def _settle_down(self) -> None:
        """Make errors plentiful and ARP quick, and know all neighbours."""
        for label, space in self.net.spaces.items():
            self.net.sysctl(label, "net.ipv4.icmp_ratelimit", "0")
            self.net.sysctl(label, "net.ipv4.tcp_synack_retries", "0")
            with contextlib.suppress(OSError):
                self.net.sysctl(label, "net.ipv4.icmp_msgs_per_sec", "100000")
                self.net.sysctl(label, "net.ipv4.icmp_msgs_burst", "100000")
            self.net.sysctl(label, "net.ipv4.conf.all.send_redirects", "0")
            names = [line.split(":")[1].strip().split("@")[0] for line in space.ip("-o link").splitlines()]
            for name in names:
                # a redirect is tied to the connection of what it is about, and no walk follows it
                self.net.sysctl(label, f"net.ipv4.conf.{name.replace('.', '/')}.send_redirects", "0")
                for family in (4, 6):
                    for what, value in _QUICK_ARP.items():
                        where = f"net.ipv{family}.neigh.{name.replace('.', '/')}.{what}"
                        self.net.sysctl(label, where, value)
        self.neighbours = Neighbours(self.net) if BENCHES[self.topology].family == 6 else None
        self.devices = frozenset(
            (label, device)
            for label, space in self.net.spaces.items()
            for device in _plain_devices(space.ip("-o -d link"))
        )

    @property
    def witness(self) -> Witness:
        """What watches."""
        if self._witness is None:
            raise AssertionError("this bench is not watched")
        return self._witness

    # --- state -----------------------------------------------------------------------------

    def loadable(self, state: State) -> State:
        """Return the state without those native rules that nft refuses: tests that exclude each other."""
        return replace(
            state,
            rules=tuple(
                (label, loader, self._loadable(label, text) if loader == LOADER else text)
                for label, loader, text in state.rules
            ),
        )

    def _loadable(self, label: str, text: str) -> str:
        while True:
            said = self.net[label].run("sh", "-c", "nft -c -f - 2>&1 || true", stdin=text)
            wrong = {int(number) for number in re.findall(r"/dev/stdin:(\d+):", said)}
            if not wrong:
                return text
            lines = [line for number, line in enumerate(text.splitlines(), 1) if number not in wrong]
            text = "".join(f"{line}\n" for line in lines)

    def enter(self, state: State) -> None:
        """Make *state*; Broken where the kernel refuses it, and then nothing is left of it."""
        try:
            self._make(state)
        except (AssertionError, OSError) as error:
            self.leave()
            raise Broken(str(error)) from error
        self.snapshot = self.reader.skeleton()
        self._state = state

    def _make(self, state: State) -> None:
        for label, do, undo in state.commands:
            self.net.commands(label, [do])
            self._undo.append((label, undo))
        for label in {label for label, do, _ in state.commands if "ip -6 addr add " in do}:
            self.net[label].settle6()
        for label, name, value in state.sysctls:
            self._old.append((label, name, self.net.sysctl(label, name, value)))
        legacy: dict[str, dict[tuple[str, str], int]] = {}
        for label, loader, text in state.rules:
            self._loaded.append((label, loader, unload(text) if loader == LOADER else _EMPTY))
            self.net[label].run(*loader.split(), stdin=text)
            if "legacy" in loader:
                legacy[label] = _counts(text)
        if self._witness is not None:
            self._witness.learn(legacy)

    def leave(self) -> None:
        """Take the state back."""
        for label, loader, text in self._loaded:
            self.net[label].run(*loader.split(), stdin=text)
        for label, name, value in reversed(self._old):
            self.net.sysctl(label, name, value)
        for label, undo in reversed(self._undo):
            self.net.commands(label, [undo], check=False)
        if self._undo:
            for label in self.net.spaces:
                self.net.commands(label, ["ip neigh flush all"], check=False)
            if self.neighbours is not None:
                self.neighbours.restore()
        self._loaded, self._old, self._undo = [], [], []

    # --- probes ----------------------------------------------------------------------------

    def predict(self, probe: Probe) -> Walk:
        """Walk, reading what is asked for once a state."""
        flow = flow_of(probe)
        for _ in range(_ROUNDS):
            answer = walk(self.snapshot, flow)
            if not isinstance(answer, Needs):
                return answer
            self.snapshot = self.reader.read(answer.keys, self.snapshot)
        raise AssertionError("the walk kept asking")

    def pair(self, probe: Probe, *, tries: int = 4) -> Pair:
        """
        Predict, send, judge.

        ip_error() sends five errors to an address at once and then one a second: where one that was
        promised does not come, the probe is sent again after a while.  Where rules draw, another draw
        that agrees tells nothing about the one that differed: it is sent until they draw the same once
        more, or it differs again.
        """
        first = self._pair(probe)
        if first.judgement.agrees is not False:
            return first
        differed, agreed = [first], first
        for number in range(2, tries * (_DRAWS if len(first.walk.paths) > 1 else 1) + 1):
            # the late answer to a lost answer, which no walk follows, may have come meanwhile
            time.sleep(1.1 if any(path.request.verdict in _LIMITED for path in first.walk.paths) else 0.1)
            if probe.sport is not None:  # the far end may remember the old one
                probe = replace(probe, sport=1024 + (probe.sport + 9001) % 30000)
            if self.neighbours is not None:
                self.neighbours.forget_exceptions()
            # and neighbours may have been learned since they were read
            self.snapshot = self.reader.skeleton()
            again = self._pair(probe)._replace(tries=number)
            if again.judgement.agrees is False:
                differed.append(again)
                if len(differed) == tries:
                    break
                continue
            agreed = again
            if len(again.walk.paths) < 2 or first.sighting.same_draws(again.sighting):
                return again
        return differed[-1] if len(differed) > 1 else agreed

    def _pair(self, probe: Probe) -> Pair:
        net = self.net
        net.forget_connections()
        if probe.stale:
            try:
                net.remember(probe)
            except AssertionError as error:
                raise Broken(str(error)) from error
            self.snapshot = self.reader.skeleton()
        try:
            predicted = self.predict(probe)
        except _FAULTS as error:
            return _crashed(probe, error)
        net.forget_connections()
        net.remember(probe)
        net.forget_exceptions()
        self.witness.forget()
        slow = any(leg.verdict is Verdict.NEIGHBOUR_FAILED for path in predicted.paths for leg in path.legs)
        seen: Seen | None = None
        if probe.device is not None:
            self._arrive(probe, 0.1 if slow else 0.0)
        else:
            seen = self._call(probe, predicted, slow=slow)
        sighting = self.witness.seen()
        net.finish()
        frames = (*sighting.frames, *sighting.sent)
        if self.neighbours is not None and any(frame.flags >> 8 == _TOO_BIG for frame in frames):
            self.neighbours.forget_exceptions()
        if probe.stale:
            self.snapshot = self.reader.skeleton()
        judgement = judge(predicted, seen, sighting, self.devices)
        if sighting.endless:  # what goes round for ever would be seen beside each later packet
            self.leave()
            self.enter(self._state)
        self.witness.forget()
        return Pair(predicted, seen, sighting, judgement)

    def _call(self, probe: Probe, predicted: Walk, *, slow: bool) -> Seen:
        outcomes = {path.outcome for path in predicted.paths}
        wanted = outcomes.pop() if len(outcomes) == 1 and not slow else None
        patience = 0.1 if slow or wanted is None else _PATIENCE
        return self.net.exchange(probe, patience=patience, wanted=wanted)

    def _arrive(self, probe: Probe, patience: float) -> None:
        for netns, device, peer, far in BENCHES[self.topology].arrivals:
            if (netns, device) == (probe.source, probe.device):
                if any(
                    label == peer and f'egress device "{far}"' in text for label, _, text in self._state.rules
                ):
                    raise Broken(f"rules of {peer} stand before what {far} sends")
                try:
                    self.net.arrive(probe, peer, far, patience=patience)
                except OSError as error:
                    raise Broken(str(error)) from error


def flow_of(probe: Probe) -> Flow:
    """The flow of a probe."""
    sport = PortRange(probe.sport, probe.sport) if probe.sport else None
    return Flow(
        origin=Origin(netns=probe.source, device=probe.device),
        packet=Packet(
            src=probe.src,
            dst=probe.dst,
            proto=probe.proto,
            sport=sport if not probe.proto.startswith("icmp") else None,
            dport=PortRange(probe.dport, probe.dport) if probe.dport else None,
            tcp_flags=frozenset(probe.flags) if probe.proto == "tcp" else frozenset(),
            size=(24 if probe.device else 40) + probe.header if probe.proto == "tcp" else probe.total,
            ttl=probe.ttl,
            tos=probe.tos,
            mark=probe.mark,
            df=probe.df,
        ),
        source=ObjectRef(kind="netns", name=probe.source),
        target=ObjectRef(kind="ip", name=probe.dst),
    )


def _plain_devices(text: str) -> list[str]:
    """Devices that are no bridge, of ``ip -o -d link``."""
    found = []
    for line in text.splitlines():
        name = line.split(":")[1].strip().split("@")[0]
        if not re.search(r"\\\s+bridge ", line):
            found.append(name)
    return found


def _counts(text: str) -> dict[tuple[str, str], int]:
    """(table, chain) -> number of rules, of the chains that may do anything, of an iptables-restore text."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and line.split()[1] == "DROP":
            found[table, line[1:].split()[0]] = 0
        elif line.startswith("-A "):
            chain = line.split()[1]
            found[table, chain] = found.get((table, chain), 0) + 1
    return found


def _replayed(case: Case) -> Pair:
    with bench(case.state.topology) as one:
        one.enter(case.state)
        try:
            return one.pair(case.probe)
        finally:
            one.leave()


def assert_agrees(case: Case) -> None:
    """AssertionError with both sides where walk and kernel differ on *case*, or the walk does not know."""
    pair = _replayed(case)
    assert pair.judgement.agrees, _shown(case, pair)


def explain(case: Case) -> tuple[str, bool | None]:
    """Run one case; return all of it as text, and the judgement."""
    pair = _replayed(case)
    return _shown(case, pair), pair.judgement.agrees


def _shown(case: Case, pair: Pair) -> str:
    lines = [f"{label}: {loader}\n{text}" for label, loader, text in case.state.rules]
    lines += [f"{label}: sysctl {name}={value}" for label, name, value in case.state.sysctls]
    lines += [f"{label}: {do}" for label, do, _ in case.state.commands]
    lines.append(str(case.probe))
    for path in pair.walk.paths:
        lines.append(
            f"walk {path.probability:.3f} {path.verdict} {path.outcome} {path.errno or ''} {path.reason}"
        )
        for leg in path.legs:
            lines.append(f"  {leg.kind} {leg.verdict} {leg.reason}")
            for step in leg.steps:
                packet = step.after or step.before
                words = (
                    step.netns,
                    step.stage.value,
                    step.device,
                    step.hook,
                    step.backend,
                    step.table,
                    step.chain,
                )
                where = " ".join(str(word) for word in words if word is not None)
                rule = "" if step.rule is None else f" {step.rule}"
                text = step.why.text if step.why is not None else ""
                ends = f"{packet.ends()} mark {packet.mark:#x}" if packet is not None else ""
                lines.append(f"    {where}{rule} {step.verdict} | {ends} | {text} | {step.note}")
    lines.append(f"kernel {pair.seen}")
    for label, mets in pair.sighting.rules.items():
        lines += [f"    {label} {' '.join(map(str, met))}" for met in mets]
    lines += [f"    {frame}" for frame in pair.sighting.frames]
    lines += [f"    sent {frame}" for frame in pair.sighting.sent]
    lines += [f"    {lost}" for lost in pair.sighting.lost or ()]
    lines += [f"differs: {sentence}" for sentence in pair.judgement.differences]
    return "\n".join(lines)
