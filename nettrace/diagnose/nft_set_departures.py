"""
The sets and maps of kube-proxy's native table beside those it owes, and what each difference means.

Lives here: declarations and elements.  Not here: chains (nft_departures), reading the table
(nettrace.kube.nft_found).
"""

from collections.abc import Iterator, Mapping, Sequence

from nettrace.diagnose.departure import Departure, DepartureKind
from nettrace.diagnose.nft_telling import Telling
from nettrace.kube.expected import ExpectedNftSet
from nettrace.kube.nft_found import canonical_element

__all__ = ["set_departures"]

#: Set or map -> (kind, cause, what a missing element means, what one too many means).
_ELEMENTS: Mapping[str, tuple[DepartureKind, str, str, str]] = {
    "service-ips": (
        "service-missing",
        "service-rules-absent",
        "the address is not dispatched: the Service is not reached by it",
        "the address is dispatched though no Service has it",
    ),
    "service-nodeports": (
        "service-missing",
        "service-rules-absent",
        "the NodePort is not dispatched: connections to it are refused",
        "the NodePort is dispatched though no Service has it",
    ),
    "no-endpoint-services": (
        "rule-missing",
        "owed-state-missing",
        "a Service without endpoints is not refused: clients wait for an answer",
        "a Service that has endpoints is refused or dropped",
    ),
    "no-endpoint-nodeports": (
        "rule-missing",
        "owed-state-missing",
        "a NodePort without endpoints is not dropped or refused as it should be",
        "a NodePort that has endpoints is refused or dropped",
    ),
    "firewall-ips": (
        "rule-missing",
        "owed-state-missing",
        "source ranges of a load balancer are not enforced",
        "source ranges are enforced that no Service asks for",
    ),
    "cluster-ips": (
        "masquerade-missing",
        "masquerade-missing",
        "clients that are no pods of this node keep their source, and other ports are not refused",
        "an address is treated as a cluster IP that no Service has",
    ),
    "hairpin-connections": (
        "masquerade-missing",
        "hairpin-masq-missing",
        "a pod that reaches itself by its Service sees a packet from its own address",
        "connections of a pod to itself are masqueraded that are no Service's",
    ),
    "nodeport-ips": (
        "service-missing",
        "service-rules-absent",
        "NodePorts are not served on this address",
        "NodePorts are served on an address that is not meant for it",
    ),
}
_AFFINITY: tuple[DepartureKind, str, str, str] = (
    "affinity",
    "owed-state-missing",
    "clients of an endpoint are not remembered",
    "clients are remembered that should not be",
)


def set_departures(
    telling: Telling, owed: Sequence[ExpectedNftSet], there: Sequence[ExpectedNftSet]
) -> Iterator[Departure]:
    """Compare declarations and elements."""
    held = {one.name: one for one in there}
    for one in owed:
        other = held.pop(one.name, None)
        if other is None:
            kind, cause, meaning, _ = _ELEMENTS.get(one.name, _AFFINITY)
            yield telling.tell(
                kind, cause, f"@{one.name}", f"the {_word(one)} is missing: {meaning}", owed=one.type
            )
        elif "dynamic" in one.flags:
            if other.timeout and one.timeout != other.timeout:  # a live node's is not read
                yield telling.tell(
                    "affinity",
                    "owed-state-missing",
                    f"@{one.name}",
                    "clients are remembered for another time than sessionAffinityConfig says",
                    owed=f"timeout {one.timeout}",
                    found=f"timeout {other.timeout}",
                )
        else:
            yield from _elements(telling, one, other)
    for other in held.values():
        yield telling.tell(
            "rule-extra",
            "owed-state-missing",
            f"@{other.name}",
            f"kube-proxy does not owe this {_word(other)}: what it was for is gone",
        )


def _elements(telling: Telling, owed: ExpectedNftSet, there: ExpectedNftSet) -> Iterator[Departure]:
    kind, cause, lacking, surplus = _ELEMENTS.get(owed.name, _AFFINITY)
    wanted = {_key(text): text for text in map(canonical_element, owed.elements)}
    held = {_key(text): text for text in map(canonical_element, there.elements)}
    place = f"@{owed.name}"
    for key, text in wanted.items():
        other = held.get(key)
        if other is None:
            yield telling.tell(kind, cause, place, f"element missing: {lacking}", owed=text)
        elif other != text:
            yield telling.tell(
                "wrong-destination",
                cause,
                place,
                "the element leads elsewhere than it should",
                owed=text,
                found=other,
            )
    for key, text in held.items():
        if key not in wanted:
            yield telling.tell(
                "rule-extra", "owed-state-missing", place, f"stale element: {surplus}", found=text
            )


def _key(element: str) -> str:
    return element.partition(" comment ")[0].partition(" : ")[0]


def _word(one: ExpectedNftSet) -> str:
    return "map" if one.is_map else "set"
