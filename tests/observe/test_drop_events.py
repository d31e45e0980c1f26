"""Lines of tracefs."""

from nettrace.observe.drop_events import decode_event

LINE = (
    "            bash-4242    [001] ..s1.  1234.567890: kfree_skb: skbaddr=00000000e4b6d1c5 "
    "rx_sk=0000000000000000 protocol=2048 location=tcp_v4_rcv+0x12c/0xf40 reason: NO_SOCKET"
)


def test_a_line_tells_time_protocol_function_and_reason() -> None:
    """As Linux writes them since 6.11."""
    found = decode_event(LINE)
    assert found is not None
    assert (found.time, found.ethertype, found.function, found.reason) == (
        1234.56789,
        2048,
        "tcp_v4_rcv",
        "NO_SOCKET",
    )
    assert (found.inodes, found.header) == ((), b"")


def test_older_kernels_give_less() -> None:
    """No receiving socket, and before 5.17 no reason."""
    found = decode_event(LINE.replace("rx_sk=0000000000000000 ", "").replace(" reason: NO_SOCKET", ""))
    assert found is not None
    assert (found.function, found.reason) == ("tcp_v4_rcv", "NOT_SPECIFIED")


def test_other_lines_are_none() -> None:
    """Lost events and other tracepoints."""
    assert decode_event("CPU:1 [LOST 12 EVENTS]") is None
    assert decode_event(LINE.replace("kfree_skb", "consume_skb")) is None
