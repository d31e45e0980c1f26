"""The kernel's drops by tracefs, and what remains of a watch that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nettrace.observe.drop_layout import kernel_layout
from tests.kernel.bed import Bed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def with_tracefs(code: str) -> str:
    """Run Python where tracefs is mounted, which nobody else sees, and return what it prints."""
    where = "/sys/kernel/tracing"
    mounted = f'{{ mountpoint -q {where} || mount -t tracefs none {where}; }} && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounted, "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_reasons_are_those_of_the_running_kernel() -> None:
    """Names and numbers agree with the event's own format file."""
    text = with_tracefs("print(open('/sys/kernel/tracing/events/skb/kfree_skb/format').read())")
    reasons = kernel_layout().reasons
    assert '{ 2, "NOT_SPECIFIED" }' in text
    for number, name in reasons.items():
        if 2 <= number < 1 << 16:
            assert f'{{ {number}, "{name}" }}' in text, name


EVENTS = """
import os, subprocess, sys, time
from nettrace.observe.drop_events import DropEvents

left = "/sys/kernel/tracing/instances/nettrace-999999999"
os.mkdir(left)
with DropEvents() as watching:
    subprocess.run(["ip", "netns", "exec", "NETNS", "bash", "-c", "echo > /dev/tcp/127.0.0.1/81"],
                   stderr=subprocess.DEVNULL)
    until = time.monotonic() + 5
    found = set()
    while "NO_SOCKET tcp_v4_rcv" not in found and time.monotonic() < until:
        watching.wait(0.1)
        found.update(f"{one.reason} {one.function}" for one in watching.read())
    print("NO_SOCKET tcp_v4_rcv" in found, watching.lost(), os.path.exists(left))
print([name for name in os.listdir("/sys/kernel/tracing/instances") if name.endswith(str(os.getpid()))])
"""


def test_tracefs_tells_reasons_where_bpf_does_not(netns: Bed) -> None:
    """Reason and function come as text; the instance is gone afterwards, and so is that of a dead process."""
    space = netns.new()
    assert with_tracefs(EVENTS.replace("NETNS", space.name)) == "True 0 False\n[]\n"


KILLED = """
import time
from nettrace.observe.drops import DropWatch
with DropWatch() as watching:
    print("ready", flush=True)
    time.sleep(60)
"""


def test_nothing_remains_of_a_watch_that_is_killed() -> None:
    """SIGKILL while drops are watched: the program is gone from the kernel with its process."""

    def ours() -> set[str]:
        found = set()
        for info in Path("/proc").glob("[0-9]*/fdinfo/*"):
            try:
                text = info.read_text()
            except OSError:
                continue
            if "prog_type:\t17" in text or "map_type:\t27" in text:
                found.add(info.parts[2])
        return found

    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert str(process.pid) in ours()
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.1)
    assert str(process.pid) not in ours()
