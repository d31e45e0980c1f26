"""
Target texts: what a person writes to name an end of a flow.

Lives here: the grammar ``[kind/][ns/]name[:port[/proto]]`` and ``NAME/icmp`` for an echo.
Not here: whether such a thing exists (nettrace.kube.resolve).

``a/b`` is kind/name if ``a`` is a kind, otherwise namespace/name.
"""

import re
from typing import NoReturn

from msgspec import Struct
from msgspec.structs import replace

from nettrace.model.addr import canonical_address, is_address
from nettrace.model.errors import UserError

__all__ = ["KINDS", "PROTOCOLS", "IngressTarget", "Target", "parse_ingress", "parse_target"]

#: What a target may be, and the other words for it (kubectl's aliases among them).
KINDS: dict[str, tuple[str, ...]] = {
    "pod": ("pods", "po"),
    "svc": ("service", "services"),
    "ingress": ("ingresses", "ing"),
    "node": ("nodes", "no"),
    "ep": ("endpoint", "endpoints"),
    "ip": ("address",),
    "host": (),
    "netns": (),
    "container": ("containers",),
}

PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6")

_WORDS = {word: kind for kind, others in KINDS.items() for word in (kind, *others)}
_NAMESPACED = ("pod", "svc", "ingress", "ep", "container")
_ECHO = ("icmp", "icmpv6")
_NAME = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_.@]*[A-Za-z0-9_])?")
_PORT_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9]([-A-Za-z0-9]{0,13}[A-Za-z0-9])?")  # RFC 6335, section 5.1
_BRACKETS = re.compile(r"\[([^\]]*)\](?::(.*))?")

_FORMS = "svc/NAMESPACE/NAME:PORT, pod/NAMESPACE/NAME, NODE, 10.0.0.1:53/udp, [fd00::1]:443, 10.0.0.1/icmp"


class Target(Struct, frozen=True, kw_only=True):
    """
    A target text taken apart.

    ``kind`` is a key of KINDS, ``internet``, or None when only a name was given.  For ``ip``
    the name is an address without brackets.  ``port`` is a number or a port's name, ``proto``
    one of PROTOCOLS.  ``text`` is what was written.
    """

    kind: str | None = None
    namespace: str | None = None
    name: str
    port: int | str | None = None
    proto: str | None = None
    text: str = ""


class IngressTarget(Struct, frozen=True, kw_only=True):
    """``ingress/[NAMESPACE/]NAME[:HOST[/PATH]]``; ``host`` and ``path`` "" where they are not given."""

    namespace: str | None = None
    name: str
    host: str = ""
    path: str = ""
    text: str = ""


def parse_ingress(text: str) -> IngressTarget | None:
    """Take the target of an Ingress apart; None for any other, UserError for one that is malformed."""
    word, _, rest = text.strip().partition("/")
    if _WORDS.get(word.lower()) != "ingress":
        return None
    names, _, request = rest.partition(":")
    namespace, slash, name = names.rpartition("/")
    host, below, path = request.partition("/")
    whole = all(_NAME.fullmatch(one) for one in ([namespace, name] if slash else [name]))
    if not whole or (host and not _NAME.fullmatch(host)):
        _fail(f"`{text}` is not an Ingress", text, "write ingress/NAMESPACE/NAME[:HOST/PATH]")
    return IngressTarget(namespace=namespace or None, name=name, host=host, path=below + path, text=text)


def parse_target(text: str) -> Target:
    """Take a target text apart; UserError says what was expected."""
    given = text.strip()
    if not given:
        raise UserError("the target is empty", hint=f"write one of {_FORMS}")
    segments = given.split("/")
    proto = _take_protocol(segments, given)
    kind = _WORDS.get(segments[0].lower()) if len(segments) > 1 else None
    if kind is not None:
        del segments[0]
    *namespaces, last = segments
    if len(namespaces) > 1:
        _fail(f"`{given}` has too many parts", given)
    name, port = _split_port(last, given)
    target = Target(
        kind=kind,
        namespace=namespaces[0] if namespaces else None,
        name=name,
        port=port,
        proto=proto,
        text=given,
    )
    if is_address(name) or kind == "ip":
        return _address(target)
    if not _NAME.fullmatch(name):
        _fail(f"`{name}` is not a name", given)
    if name == "internet" and kind is None and target.namespace is None:
        return replace(target, kind="internet")
    if target.namespace is not None:
        _check_namespace(kind, target.namespace, given)
    return target


def _take_protocol(segments: list[str], given: str) -> str | None:
    """
    Take the protocol off the end of *segments*, if there is one.

    ``icmp`` at the end is an echo, other protocols stand behind a port; else the word is a
    name, for pods may be called so.
    """
    last = segments[-1].lower()
    if len(segments) < 2:
        return None
    before = segments[-2]
    behind_port = ":" in before and not is_address(before)
    echo = last in _ECHO and (len(segments) > 2 or before.lower() not in _WORDS)
    if last not in PROTOCOLS:
        if behind_port:
            _fail(f"`{segments[-1]}` is not a protocol, expected one of {', '.join(PROTOCOLS)}", given)
        return None
    if behind_port and last in _ECHO:
        _fail(f"{last} has no ports", given, f"write {given.rsplit(':', 1)[0]}/{last}")
    if not (behind_port or echo or len(segments) > 3):
        if is_address(before):
            _fail("the port is missing", given, f"write {_bracketed(before)}:PORT/{last}")
        return None
    segments.pop()
    return last


def _split_port(text: str, given: str) -> tuple[str, int | str | None]:
    """Split ``name:port``, ``[v6]:port`` and bare addresses."""
    found = _BRACKETS.fullmatch(text)
    if found is not None:
        name, port_text = found[1], found[2]
        if ":" not in name or not is_address(name):
            _fail(f"`{name}` in brackets is not an IPv6 address", given)
    elif is_address(text) or ":" not in text:
        name, port_text = text, None
    else:
        name, _, port_text = text.rpartition(":")
        if ":" in name:
            hint = f"write [{name}]:{port_text}" if is_address(name) else f"write one of {_FORMS}"
            _fail(f"`{text}` is neither an address nor NAME:PORT", given, hint)
    return name, None if port_text is None else _port(port_text, given)


def _port(text: str, given: str) -> int | str:
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= 65535:
            _fail(f"`{text}` is not a port, which is 1 to 65535", given)
        return int(text)
    if not _PORT_NAME.fullmatch(text):
        _fail(f"`{text}` is neither a port number nor the name of a port", given)
    return text


def _address(target: Target) -> Target:
    name, given = target.name, target.text
    if not is_address(name):
        _fail(f"`{name}` is not an IP address", given, "write ip/10.0.0.1:80 or ip/[fd00::1]:80")
    if "%" in name:
        bare = name.partition("%")[0]
        _fail("an address with a zone cannot be traced", given, f"write it without the zone: {bare}")
    if target.namespace is not None:
        _fail("an address has no namespace", given, f"write {_bracketed(name)}:PORT")
    if isinstance(target.port, str):
        _fail(f"an address has no port called {target.port}", given, "give the port's number")
    return replace(target, kind=target.kind or "ip", name=canonical_address(name))


def _check_namespace(kind: str | None, namespace: str, given: str) -> None:
    if is_address(namespace):
        _fail(f"`{given}` is not a target: a prefix is not one address", given)
    if not _NAME.fullmatch(namespace):
        _fail(
            f"`{namespace}` is neither a kind nor a namespace",
            given,
            f"the kinds are {', '.join(KINDS)} and internet",
        )
    if kind is not None and kind not in _NAMESPACED:
        _fail(f"a {kind} is in no namespace", given, f"write {kind}/NAME")


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _fail(what: str, given: str, hint: str = "") -> NoReturn:
    raise UserError(what, where=given, hint=hint or f"write one of {_FORMS}")
