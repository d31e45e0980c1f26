"""
The table that arms rule tracing for the packets of a probe, and for no others.

Lives here: which bytes make a packet one of the probe's, at which depth of tunnels they stand, and
the table that sets nftrace on it.  Each attempt and kind of packet has a chain of its own, so that
the first event of a packet tells what it is, also where only the outer header is seen.
Not here: sending the table (nft_batch), reading events (trace_event).
"""

import socket
from collections.abc import Sequence
from typing import NamedTuple

from nettrace.model.packet import Packet
from nettrace.observe.nft_batch import (
    Batch,
    compare,
    load_l4proto,
    load_payload,
    lookup,
    set_nftrace,
    verdict_jump,
)

__all__ = ["ARMING", "CHAIN_KINDS", "CHECKPOINTS", "ENDS", "FAMILIES", "TABLE", "Form", "arm", "forms"]

#: What the table's name begins with; collecting leaves out what begins with nettrace.
TABLE = "nettrace-probe"

#: First letter of a chain's name -> the kind of leg; the attempt's number follows.
CHAIN_KINDS = {"q": "request", "k": "ack", "r": "reply", "e": "error"}

#: Hooks by number (enum nf_inet_hooks); each has a chain called so, before all others.
CHECKPOINTS = ("prerouting", "input", "forward", "output", "postrouting")
#: Chains behind source NAT, which INPUT has too -> their hook.
ENDS = {"input-end": "input", "postrouting-end": "postrouting"}
_FIRST, _LAST = -350, 350
#: Where every packet that is seen in a namespace comes by first.
ARMING = ("prerouting", "output")

_NETWORK, _TRANSPORT = 1, 2
_TCP, _UDP, _SCTP = 6, 17, 132
#: The chunk that opens an association (RFC 9260 section 3.2).
_INIT = 1
_UDP_HEADER, _VXLAN_HEADER, _ETHERNET = 8, 8, 14


class Family(NamedTuple):
    """The numbers in which IPv4 and IPv6 differ."""

    number: int  # NFPROTO_...
    header: int  # bytes, without options
    addresses: int  # where source and destination stand
    icmp: int


FAMILIES = {4: Family(2, 20, 12, 1), 6: Family(10, 40, 8, 58)}
_ECHO = {4: (8, 0), 6: (128, 129)}


class Form(NamedTuple):
    """
    Where the layer-4 header of the probe's packet stands in a packet that carries it.

    ``protocol`` is that of the whole packet, None where it is not asked for; ``at`` counts from
    the header ``base``.
    """

    protocol: int | None
    base: int
    at: int


def forms(family: Family, protocol: int) -> tuple[Form, ...]:
    """
    As it is; in VXLAN; in UDP as flannel's udp backend does; in IPIP.

    Of IPIP the protocol is not asked for: `nft list` 1.0.6 aborts at a rule that compares it and
    then looks behind the transport header.
    """
    return (
        Form(protocol, _TRANSPORT, 0),
        Form(_UDP, _TRANSPORT, _UDP_HEADER + _VXLAN_HEADER + _ETHERNET + family.header),
        Form(_UDP, _TRANSPORT, _UDP_HEADER + family.header),
        Form(None, _NETWORK, 2 * family.header),
    )


def arm(
    proto: str, version: int, tags: Sequence[bytes], *, replies: Sequence[Packet] = (), table: str = TABLE
) -> socket.socket:
    """
    Arm tracing in the namespace of the calling thread; *version* is 4 or 6.

    Each probe has a *table* of its own, since several may be on their way in one namespace.

    *replies* are the predicted answers of a UDP attempt, which carry no tag: of several attempts
    they cannot be told apart, so there may be only one.

    Returns the socket that owns the table.  OSError with the kernel's errno.
    """
    family = FAMILIES[version]
    batch = Batch(family.number, table)
    for number in range(len(tags)):
        for letter in CHAIN_KINDS:
            batch.chain(f"{letter}{number}")
            batch.rule(f"{letter}{number}", set_nftrace())
    for hook, name in enumerate(CHECKPOINTS):
        batch.base_chain(name, hook, _FIRST)
    for name, hook_name in ENDS.items():
        batch.base_chain(name, CHECKPOINTS.index(hook_name), _LAST)
    if proto == "tcp":
        rules = _tcp(batch, family, tags)
    elif proto == "sctp":
        rules = _chunks(batch, family, tags)
    else:
        rules = _datagrams(batch, version, proto, tags)
    if proto == "udp":
        rules.extend(_answers(family, version, replies))
    for chain in ARMING:
        for rule in rules:
            batch.rule(chain, *rule)
    return batch.send()


_Rule = tuple[bytes, ...]


def _tcp(batch: Batch, family: Family, tags: Sequence[bytes]) -> list[_Rule]:
    """
    Recognise the SYN, what acknowledges it, what follows it, and ICMP errors about them.

    RFC 9293: the sequence number stands at 4, the acknowledgment at 8; a SYN counts as one byte.
    """
    after = [((int.from_bytes(tag, "big") + 1) & 0xFFFFFFFF).to_bytes(4, "big") for tag in tags]
    numbered = range(len(tags))
    batch.verdict_map(
        "sequence",
        [*((tags[n], f"q{n}") for n in numbered), *((after[n], f"k{n}") for n in numbered)],
    )
    batch.verdict_map("acknowledged", [(after[n], f"r{n}") for n in numbered])
    batch.verdict_map("offending", [(value, f"e{n}") for n in numbered for value in (tags[n], after[n])])
    rules: list[_Rule] = []
    for form in forms(family, _TCP):
        rules.append(_look(form, 4, 4, "sequence"))
        rules.append(_look(form, 8, 4, "acknowledged"))
    for form in forms(family, family.icmp):
        rules.append(_look(form, 8 + family.header + 4, 4, "offending"))
    return rules


def _chunks(batch: Batch, family: Family, tags: Sequence[bytes]) -> list[_Rule]:
    """
    Recognise an INIT by the tag that it asks for, answers by the one that they carry, and ICMP errors.

    RFC 9260: the verification tag stands at 4, the first chunk at 12, of an INIT the initiate tag at 16.
    """
    batch.verdict_map("request", [(tag, f"q{n}") for n, tag in enumerate(tags)])
    batch.verdict_map("answer", [(tag, f"r{n}") for n, tag in enumerate(tags)])
    batch.verdict_map("offending", [(tag, f"e{n}") for n, tag in enumerate(tags)])
    rules: list[_Rule] = []
    for form in forms(family, _SCTP):
        is_init = (load_payload(form.base, form.at + 12, 1), compare(bytes((_INIT,))))
        rules.append(_look(form, 16, 4, "request", *is_init))
        rules.append(_look(form, 4, 4, "answer"))
    for form in forms(family, family.icmp):
        rules.append(_look(form, 8 + family.header + 16, 4, "offending"))
    return rules


def _datagrams(batch: Batch, version: int, proto: str, tags: Sequence[bytes]) -> list[_Rule]:
    """Recognise what carries a tag behind a header of 8 bytes, and ICMP errors about it."""
    family, length = FAMILIES[version], len(tags[0])
    batch.verdict_map("request", [(tag, f"q{n}") for n, tag in enumerate(tags)])
    batch.verdict_map("offending", [(tag, f"e{n}") for n, tag in enumerate(tags)])
    rules: list[_Rule] = []
    if proto == "udp":
        rules.extend(_look(form, 8, length, "request") for form in forms(family, _UDP))
    else:
        batch.verdict_map("answer", [(tag, f"r{n}") for n, tag in enumerate(tags)])
        for form in forms(family, family.icmp):
            for kind, name in zip(_ECHO[version], ("request", "answer"), strict=True):
                of_kind = (load_payload(form.base, form.at, 1), compare(bytes((kind,))))
                rules.append(_look(form, 8, length, name, *of_kind))
    for form in forms(family, family.icmp):
        rules.append(_look(form, 8 + family.header + 8, length, "offending"))
    return rules


def _look(form: Form, offset: int, length: int, name: str, *first: bytes) -> _Rule:
    return (
        *_of_protocol(form),
        *first,
        load_payload(form.base, form.at + offset, length),
        lookup(name),
    )


def _of_protocol(form: Form) -> _Rule:
    return () if form.protocol is None else (load_l4proto(), compare(bytes((form.protocol,))))


def _answers(family: Family, version: int, replies: Sequence[Packet]) -> list[_Rule]:
    """Recognise the predicted answers by their addresses and ports, as far as these are certain."""
    rules: dict[_Rule, None] = {}
    for reply in replies:
        if reply.sport is None or reply.sport.single is None:
            continue
        kind = socket.AF_INET6 if version == 6 else socket.AF_INET
        ends = [socket.inet_pton(kind, end) for end in (reply.src, reply.dst)]
        for form in forms(family, _UDP):
            base, at = form.base, form.at - family.header + family.addresses
            if form.at == 0:
                base, at = _NETWORK, family.addresses
            parts = [*_of_protocol(form)]
            for index, end in enumerate(ends):
                parts += [load_payload(base, at + index * len(end), len(end)), compare(end)]
            for offset, port in ((0, reply.sport), (2, reply.dport)):
                if port is not None and port.single is not None:
                    parts += [
                        load_payload(form.base, form.at + offset, 2),
                        compare(port.single.to_bytes(2, "big")),
                    ]
            rules[(*parts, verdict_jump("r0"))] = None
    return list(rules)
