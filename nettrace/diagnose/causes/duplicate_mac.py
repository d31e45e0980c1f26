"""duplicate-mac: two stations behind one bridge have the same MAC address."""

from collections.abc import Iterator
from ipaddress import ip_address

from msgspec import Struct

from nettrace.diagnose.cause import Candidate, Cause, Context
from nettrace.diagnose.causes.nearby import nearby, peer_netns
from nettrace.diagnose.look import addresses_in, links_in, sysctl, where
from nettrace.model.change import Change, LinkSet, SysctlSet
from nettrace.model.finding import Evidence, Safety
from nettrace.model.links import FdbEntry, Link
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot

__all__ = ["DUPLICATE_MAC"]

#: The CNI plugins made MAC addresses of pods of this and the IPv4 address (pkg/utils/hwaddr,
#: PrivateMACPrefix): locally administered, and as unique on the bridge as the address is.
_PREFIX = "0a:58"


class _Station(Struct, frozen=True, kw_only=True):
    """A device that hangs on a bridge by a veth, and the port that leads to it."""

    port: Link
    netns: str
    device: Link

    @property
    def words(self) -> str:
        return f"{self.netns} ({self.device.name})"


def _candidates(context: Context) -> Iterator[Candidate]:
    for netns in nearby(context):
        for bridge in links_in(context.snapshot, netns):
            if bridge.kind == "bridge":
                for same in _alike(context.snapshot, netns, bridge.name):
                    yield from _candidate(context.snapshot, netns, bridge.name, same)


def _alike(snapshot: Snapshot, netns: str, bridge: str) -> list[list[_Station]]:
    """Return the groups of stations behind a bridge that share a MAC address."""
    found: dict[str, list[_Station]] = {}
    for port in links_in(snapshot, netns):
        other = peer_netns(port)
        if port.master != bridge or port.peer is None or other is None or other not in snapshot.namespaces:
            continue
        device = next((one for one in links_in(snapshot, other) if one.index == port.peer.ifindex), None)
        # a device with a master is a port itself: who speaks there is behind it
        if device is not None and device.mac and device.master is None:
            station = _Station(port=port, netns=other, device=device)
            found.setdefault(device.mac.lower(), []).append(station)
    return [stations for stations in found.values() if len(stations) > 1]


def _candidate(snapshot: Snapshot, netns: str, bridge: str, same: list[_Station]) -> Iterator[Candidate]:
    """
    Give all but one of them another MAC address, which they announce.

    The one keeps it whom the bridge sends frames for it to; where it knows none, the one whose port is the
    oldest.
    """
    mac, entry = same[0].device.mac.lower(), _known_behind(snapshot, netns, bridge, same)
    same = sorted(same, key=lambda one: (entry is None or one.port.name != entry.device, one.port.index))
    place = where(snapshot, netns)
    changes: list[Change] = []
    for station in same[1:]:
        new = _own_mac(snapshot, station)
        if new is None or new == mac:
            return
        changes += _told(snapshot, station, new)
    pods = all(snapshot.namespaces[one.netns].role in ("pod", "container") for one in same[1:])
    names = " and ".join(one.words for one in same)
    seen = tuple(
        Evidence(
            ref=f"{one.netns}/links/{one.device.name}",
            text=f"{one.device.name} {one.device.mac}",
            note=f"behind port {one.port.name}",
        )
        for one in same
    )
    if entry is not None:
        text = f"{mac} dev {entry.device} master {bridge}"
        seen = (*seen, Evidence(ref=f"{netns}/fdb/{entry.device}/{mac}", text=text, note="who sent last"))
    yield Candidate(
        cause="duplicate-mac",
        netns=netns,
        where=place,
        subject=f"netns/{same[-1].netns}",
        message=f"{names} have one MAC address, {mac}: bridge {bridge} of {place} sends what is for either "
        "to whoever sent last",
        changes=tuple(changes),
        evidence=seen,
        safety=Safety.GUARDED if pods else Safety.ADVICE,
        owner="who made the devices: the CNI plugin, or whoever cloned a machine",
        overwritten="not for this device; a new one gets what its maker gives it",
        lasting="make the pod or machine anew; find who gives out MAC addresses twice "
        "(a fixed one in an annotation, a copied machine-id)",
        notes=("arp_notify: it tells its new address to all who hear it",),
    )


def _known_behind(snapshot: Snapshot, netns: str, bridge: str, same: list[_Station]) -> FdbEntry | None:
    """Return what the bridge learned of the address."""
    section = snapshot.section(SectionKey(netns, "fdb"))
    mac, ports = same[0].device.mac.lower(), {one.port.name for one in same}
    return next(
        (
            entry
            for entry in (section.value if isinstance(section, Known) else ())
            if entry.mac.lower() == mac and entry.master == bridge and entry.device in ports
        ),
        None,
    )


def _own_mac(snapshot: Snapshot, station: _Station) -> str | None:
    """Return a MAC address that is made of the station's first address, None without any."""
    for own in addresses_in(snapshot, station.netns):
        if own.device == station.device.name:
            return ":".join((_PREFIX, *(f"{octet:02x}" for octet in ip_address(own.address).packed[-4:])))
    return None


def _told(snapshot: Snapshot, station: _Station, new: str) -> tuple[Change, ...]:
    """
    Return what gives the station another address and has it say so.

    Without that others send to the old one for as long as they take it for right, and get no answer.
    """
    name = f"net.ipv4.conf.{station.device.name.replace('.', '/')}.arp_notify"
    change = LinkSet(netns=station.netns, device=station.device.name, attribute="address", value=new)
    if sysctl(snapshot, station.netns, name) != "0":
        return (change,)
    return SysctlSet(netns=station.netns, name=name, value="1"), change


def _reads(context: Context) -> Iterator[SectionKey]:
    """What the bridges learned, and the addresses that new ones are made of."""
    for netns in nearby(context):
        for bridge in links_in(context.snapshot, netns):
            for same in _alike(context.snapshot, netns, bridge.name) if bridge.kind == "bridge" else ():
                yield SectionKey(netns, "fdb")
                for one in same:
                    yield from (SectionKey(one.netns, "addresses"), SectionKey(one.netns, "sysctls"))


DUPLICATE_MAC = Cause(
    id="duplicate-mac",
    title="two devices behind one bridge have the same MAC address",
    what=(
        "Two pods, or two machines, that hang on one bridge have the same MAC address.  A bridge sends "
        "frames for it to the port by which it last came in, so that each of the two gets the other's."
    ),
    shows=(
        "The two do not reach each other at all; others reach now the one and now the other, and connections "
        "hang."
    ),
    dies="In the wrong pod, whose address it is not sent to; or in the bridge, which sends nothing back.",
    proof=(
        "`ip link` in both shows one MAC address; `bridge fdb show br BRIDGE` has it on another port each "
        "time; the kernel may log `received packet with own address as source address`."
    ),
    repair="ip -n POD link set eth0 address NEW, announced (sysctl net.ipv4.conf.eth0.arp_notify=1)",
    owner="Who made the devices: the CNI plugin, or whoever cloned a machine.",
    source="cni-ipvlan-vpc-k8s#70, kubevirt#1501, flannel#1155",
    reads=_reads,
    candidates=_candidates,
)
