"""Names of chains, and what they are made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nettrace.kube.names import (
    SERVICE_PREFIXES,
    endpoint_chain,
    endpoint_text,
    masquerade_mark,
    service_chain,
    service_port_name,
)

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=63)


@pytest.mark.parametrize(
    ("port_name", "expected"), [("", "default/hostnames"), ("http", "default/hostnames:http")]
)
def test_an_unnamed_port_has_no_colon(port_name: str, expected: str) -> None:
    """A service port without a name is called like its Service."""
    assert service_port_name("default", "hostnames", port_name) == expected


@pytest.mark.parametrize(
    ("prefix", "service_port", "proto", "expected"),
    [
        ("KUBE-SVC-", "default/hostnames", "tcp", "KUBE-SVC-YN5D6RYVEVZOH44Q"),
        ("KUBE-SVC-", "kube-system/kube-dns:dns", "udp", "KUBE-SVC-TCOU7JCQXEZGVUNU"),
        ("KUBE-SVC-", "kube-system/kube-dns:dns-tcp", "tcp", "KUBE-SVC-ERIFXISQEP7F7OF4"),
        ("KUBE-EXT-", "default/np-cluster:http", "tcp", "KUBE-EXT-CIWBY36TDXEOMCDU"),
        ("KUBE-FW-", "default/lb-ranges:https", "tcp", "KUBE-FW-DACLBDVBGUA6TTVY"),
        ("KUBE-SVL-", "default/both-local:http", "tcp", "KUBE-SVL-NLCHTLVPXB4R75Z2"),
        ("KUBE-EXT-", "default/sctp:sctp", "sctp", "KUBE-EXT-4FSO5DJTEYQIVJA4"),
    ],
)
def test_service_chains_are_called_as_kube_proxy_calls_them(
    prefix: str, service_port: str, proto: str, expected: str
) -> None:
    """The recipe gives the names that the real kube-proxy wrote."""
    assert service_chain(prefix, service_port, proto) == expected


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (endpoint_text("10.244.1.10", 9376), "KUBE-SEP-DXD2WD3PAPYG5OXB"),
        (endpoint_text("10.244.2.11", 9376), "KUBE-SEP-SERERXJ5KMZKXA7J"),
    ],
)
def test_endpoint_chains_are_called_as_kube_proxy_calls_them(endpoint: str, expected: str) -> None:
    """An endpoint's chain is named by service port, protocol, address and port."""
    assert endpoint_chain("default/hostnames", "tcp", endpoint) == expected


def test_an_ipv6_endpoint_is_written_in_brackets() -> None:
    """Brackets keep address and port apart, in the text and so in the chain's name."""
    assert endpoint_text("fd00:10:244:2::111", 8080) == "[fd00:10:244:2::111]:8080"
    named = endpoint_chain("default/dual:http", "tcp", "[fd00:10:244:2::111]:8080")
    assert named == "KUBE-SEP-5BH33SKJSRCXQD6C"


@given(WORDS, WORDS, st.sampled_from(["tcp", "udp", "sctp"]))
def test_the_chains_of_one_port_share_their_letters(service: str, port: str, proto: str) -> None:
    """All chains of one service port end in the same 16 letters, and fit the kernel's 28."""
    names = {prefix: service_chain(prefix, f"{service}:{port}", proto) for prefix in SERVICE_PREFIXES}
    assert len({name.removeprefix(prefix) for prefix, name in names.items()}) == 1
    assert all(len(name) == len(prefix) + 16 <= 28 for prefix, name in names.items())


def test_the_mark_is_one_bit() -> None:
    """Bit 14, kube-proxy's default, is mark 0x4000."""
    assert masquerade_mark(14) == 0x4000
