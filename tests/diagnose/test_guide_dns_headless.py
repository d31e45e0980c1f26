"""The name of a headless Service."""

from typing import Any

import pytest

from nettrace.model.guide import CheckState
from nettrace.model.kube import Endpoint, EndpointSlice
from nettrace.model.lookup import DnsAnswer, Lookup
from nettrace.model.section import Known
from tests.diagnose.dns_asked import NONE, PASSED, PROBLEM, UNKNOWN, asked
from tests.diagnose.guided import (
    DENIED,
    check,
    with_kube,
    with_resolver,
    with_service,
)

HEADLESS: dict[str, Any] = {"headless": True, "cluster_ips": ()}


@pytest.mark.parametrize(
    ("records", "state"),
    [
        (("10.244.1.11", "10.244.2.11", "10.244.2.12"), PASSED),
        (("10.244.1.11",), PASSED),
        (("10.244.1.11", "10.9.9.9"), PROBLEM),
        ((), PROBLEM),
    ],
)
def test_the_name_of_a_headless_service(records: tuple[str, ...], state: CheckState) -> None:
    """It leads to ready endpoints, and to nobody else."""
    answer = DnsAnswer(rcode="NOERROR" if records else "NXDOMAIN", records=records)
    assert asked(with_service(with_resolver(), **HEADLESS), udp=answer).state is state


def test_a_headless_service_is_not_judged_without_its_slices() -> None:
    """Whether an answer is right cannot be told where the endpoints were not read."""
    world = with_kube(with_service(with_resolver(), **HEADLESS), endpoint_slices=DENIED)
    found = asked(world, udp=DnsAnswer(rcode="NOERROR", records=("10.244.1.11",)))
    assert found.state is UNKNOWN
    assert "the EndpointSlices were not read: needs root" in found.conclusion


def test_a_headless_service_without_endpoints_has_no_name() -> None:
    """No such name is no fault of the server then; an error of the server still is."""
    world = with_kube(with_service(with_resolver(), **HEADLESS), endpoint_slices=Known(()))
    found = asked(world, udp=NONE)
    assert found.state is UNKNOWN
    assert "has no ready endpoint" in found.conclusion
    assert asked(world, udp=DnsAnswer(rcode="SERVFAIL")).state is PROBLEM


def test_a_headless_service_of_ipv6() -> None:
    """Pods that have IPv6 addresses only are asked for by AAAA."""
    six = EndpointSlice(
        name="s",
        namespace="default",
        service="hostnames",
        address_type="IPv6",
        endpoints=(Endpoint(addresses=("fd00::7",)),),
    )
    world = with_kube(with_service(with_resolver(), **HEADLESS), endpoint_slices=Known((six,)))
    seen: list[str] = []

    def query(lookup: Lookup) -> DnsAnswer:
        seen.append(lookup.type)
        return DnsAnswer(rcode="NOERROR", records=("fd00::7",))

    assert check("dns", world, queries=query).state is PASSED
    assert set(seen) == {"AAAA"}
