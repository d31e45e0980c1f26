"""Target texts: every form of the grammar, and what is said about anything else."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nettrace.model.errors import UserError
from nettrace.parse.target import KINDS, Target, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web", Target(name="web")),
        ("shop/web", Target(namespace="shop", name="web")),
        ("pod/web", Target(kind="pod", name="web")),
        ("pod/shop/web", Target(kind="pod", namespace="shop", name="web")),
        ("pod/shop/web:8080", Target(kind="pod", namespace="shop", name="web", port=8080)),
        ("svc/shop/api:https", Target(kind="svc", namespace="shop", name="api", port="https")),
        (
            "svc/kube-system/kube-dns:53/udp",
            Target(kind="svc", namespace="kube-system", name="kube-dns", port=53, proto="udp"),
        ),
        ("svc/shop/api/udp", Target(kind="svc", namespace="shop", name="api", proto="udp")),
        ("web:http/TCP", Target(name="web", port="http", proto="tcp")),
        ("10.0.0.1", Target(kind="ip", name="10.0.0.1")),
        ("10.0.0.1:53/udp", Target(kind="ip", name="10.0.0.1", port=53, proto="udp")),
        ("10.0.0.1/icmp", Target(kind="ip", name="10.0.0.1", proto="icmp")),
        ("ip/10.0.0.1", Target(kind="ip", name="10.0.0.1")),
        ("fd00::1", Target(kind="ip", name="fd00::1")),
        ("fd00:0::1/icmpv6", Target(kind="ip", name="fd00::1", proto="icmpv6")),
        ("[fd00::1]", Target(kind="ip", name="fd00::1")),
        ("[fd00::1]:443", Target(kind="ip", name="fd00::1", port=443)),
        ("ip/[FD00::1]:53/udp", Target(kind="ip", name="fd00::1", port=53, proto="udp")),
        ("ep/10.0.0.1:80", Target(kind="ep", name="10.0.0.1", port=80)),
        ("node/worker-1", Target(kind="node", name="worker-1")),
        ("node/worker-1/icmp", Target(kind="node", name="worker-1", proto="icmp")),
        ("host/example.org:443", Target(kind="host", name="example.org", port=443)),
        ("netns/pod-a", Target(kind="netns", name="pod-a")),
        ("container/web/sidecar:80", Target(kind="container", namespace="web", name="sidecar", port=80)),
        ("ingress/shop/front", Target(kind="ingress", namespace="shop", name="front")),
        ("internet", Target(kind="internet", name="internet")),
        ("internet:443", Target(kind="internet", name="internet", port=443)),
        ("pod/internet", Target(kind="pod", name="internet")),
        ("shop/internet", Target(namespace="shop", name="internet")),
        ("web/icmp", Target(name="web", proto="icmp")),
        ("pod/icmp", Target(kind="pod", name="icmp")),
        ("icmp", Target(name="icmp")),
        ("svc/udp/dns", Target(kind="svc", namespace="udp", name="dns")),
        ("shop/udp", Target(namespace="shop", name="udp")),
        ("  web  ", Target(name="web", text="web")),
    ],
)
def test_forms(text: str, target: Target) -> None:
    """Each form of the grammar means one thing."""
    found = parse_target(text)
    assert (found.kind, found.namespace, found.name) == (target.kind, target.namespace, target.name)
    assert (found.port, found.proto) == (target.port, target.proto)
    assert found.text == text.strip()


@pytest.mark.parametrize(
    ("word", "kind"), [(word, kind) for kind, others in KINDS.items() for word in (kind, *others)]
)
def test_other_words_for_kinds(word: str, kind: str) -> None:
    """Long forms and kubectl's aliases are understood, in any case."""
    name = "10.0.0.1" if kind == "ip" else "web"
    assert parse_target(f"{word}/{name}").kind == kind
    assert parse_target(f"{word.upper()}/{name}").kind == kind


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("", "empty", "svc/NAMESPACE/NAME"),
        ("pod/", "`` is not a name", ""),
        ("/", "`` is not a name", ""),
        (":80", "`` is not a name", ""),
        ("-x", "`-x` is not a name", ""),
        ("a b", "`a b` is not a name", ""),
        ("a/b/c/d", "too many parts", ""),
        ("a/b/c", "too many parts", ""),
        ("web:0", "1 to 65535", ""),
        ("web:70000", "1 to 65535", ""),
        ("web:", "neither a port number", ""),
        ("web:a_b", "neither a port number", ""),
        ("web:http/quic", "`quic` is not a protocol", ""),
        ("web:53/icmp", "icmp has no ports", "write web/icmp"),
        ("10.0.0.1/udp", "port is missing", "write 10.0.0.1:PORT/udp"),
        ("fd00::1/tcp", "port is missing", "write [fd00::1]:PORT/tcp"),
        ("10.0.0.0/8", "a prefix is not one address", ""),
        ("10.0.0.1:http", "no port called http", "number"),
        ("shop/10.0.0.1:80", "no namespace", "write 10.0.0.1:PORT"),
        ("[1.2.3.4]:80", "not an IPv6 address", ""),
        ("[web]:80", "not an IPv6 address", ""),
        ("fd00::1:http", "neither an address nor NAME:PORT", "write [fd00::1]:http"),
        ("a:b:c", "neither an address nor NAME:PORT", ""),
        ("ip/web", "`web` is not an IP address", "ip/10.0.0.1:80"),
        ("fe80::1%eth0", "zone", "fe80::1"),
        ("node/a/b", "a node is in no namespace", "node/NAME"),
        ("a!/b", "neither a kind nor a namespace", "the kinds are pod"),
    ],
)
def test_errors(text: str, what: str, hint: str) -> None:
    """What does not fit the grammar is told what was expected instead."""
    with pytest.raises(UserError) as caught:
        parse_target(text)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.where == text


@given(st.text("ab1.:/[]%-", max_size=12) | st.text(max_size=12))
@settings(max_examples=500, deadline=None)
def test_nonsense(text: str) -> None:
    """Whatever is written, it is understood or refused, and a port is always one."""
    with suppress(UserError):
        target = parse_target(text)
        assert target.name
        assert not isinstance(target.port, int) or 1 <= target.port <= 65535
