"""What an errno and an answer mean, without a network."""

import errno
import os

import pytest

from nettrace.model.walk import Outcome
from nettrace.observe.attempt import first_line, name_in, outcome_of
from nettrace.observe.echo import _checksum
from nettrace.observe.tag import dns_question, fresh_tags
from nettrace.observe.tcp import _body, _whole
from nettrace.observe.udp import _reply


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.ECONNREFUSED, Outcome.REFUSED),
        (errno.ECONNRESET, Outcome.RESET),
        (errno.EPIPE, Outcome.RESET),
        (errno.EPERM, Outcome.DENIED),
        (errno.ETIMEDOUT, Outcome.TIMEOUT),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ENETUNREACH, Outcome.UNREACHABLE),
        (errno.EACCES, Outcome.UNREACHABLE),
        (errno.EINVAL, Outcome.UNREACHABLE),
        (errno.EMSGSIZE, Outcome.UNREACHABLE),
    ],
)
def test_errnos(code: int, outcome: Outcome) -> None:
    """Each errno of a client has its outcome."""
    assert outcome_of(OSError(code, os.strerror(code))) is outcome


def test_names_in_answers() -> None:
    """The first word of the first line is a name if it looks like one."""
    assert first_line(b"hostnames-0\n10.1.0.1\n") == "hostnames-0"
    assert first_line(b"\xff\xfe\n") is None
    assert first_line(b"") is None
    assert name_in("hostnames-0 and more") == "hostnames-0"
    assert name_in("<html>") is None
    assert name_in("SSH-2.0-OpenSSH_9.2p1") == "SSH-2.0-OpenSSH_9.2p1"
    assert name_in(None) is None


def test_http_answers() -> None:
    """Of a response the body's first line counts, and only once it is there."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    assert not _whole(head[:20])
    assert not _whole(head)
    assert _whole(head + b"web-1\n")
    assert _body(head + b"web-1\n") == b"web-1\n"
    assert _body(b"hello\n") == b"hello\n"


def test_dns_answers() -> None:
    """The question is well-formed, and an answer is told by its code."""
    question = dns_question(b"ab", 0)
    assert len(question) == 17
    assert _reply(question[:2] + b"\x81\x83" + question[4:]) == "DNS NXDOMAIN"
    assert _reply(b"short") is None


@pytest.mark.parametrize(("size", "made"), [(17, 17), (31, 17), (32, 32), (33, 33), (1372, 1372)])
def test_a_question_is_as_large_as_was_asked_for(size: int, made: int) -> None:
    """EDNS's padding fills it up, as another reader of DNS sees it, and its tag is its beginning."""
    from scapy.layers.dns import DNS

    question = dns_question(b"ab", size)
    assert len(question) == made
    read = DNS(question)
    assert (read.qd[0].qname, read.qd[0].qtype, read.arcount) == (b".", 2, int(made > 17))
    if made > 17:
        assert read.ar[0].type == 41
        assert [one.optlen for one in read.ar[0].rdata] == [made - 32]
    (tag,) = fresh_tags("udp", 53, 1, size)
    assert dns_question(tag[:2], size).startswith(tag)


def test_the_checksum_of_rfc_1071() -> None:
    """A packet with its checksum filled in sums up to zero."""
    packet = b"\x08\x00\x00\x00\x12\x34\x00\x01" + bytes(range(56))
    checksum = _checksum(packet)
    assert _checksum(packet[:2] + checksum.to_bytes(2, "big") + packet[4:]) == 0
