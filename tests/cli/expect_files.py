"""What the tests of ``nettrace expect`` read: objects and dumps of the real kube-proxy."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-proxy"
INPUTS = str(FIXTURES / "inputs")
CONFIG = str(FIXTURES / "iptables-1.36" / "kube-proxy-config.json")
Run = Callable[..., Result]
