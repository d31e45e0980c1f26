"""
Whole clusters out of network namespaces.

Lives here: ``up`` and ``down``, the records of labs, running commands in them, and
injecting causes of the catalogue.  A topology (a plugin brings it) is a function from options to a
Blueprint, a plain description; build.py makes it real, so that whatever fails half-way can be
taken down from what was written first.
Nothing here touches the namespace nettrace runs in or reaches a real network.
"""

from nettrace.lab.execute import exec_in
from nettrace.lab.faults.catalogue import possible
from nettrace.lab.faults.inject import break_, heal, injected
from nettrace.lab.lifecycle import down, up
from nettrace.lab.reconcile import apply
from nettrace.lab.store import find, list_labs

__all__ = ["apply", "break_", "down", "exec_in", "find", "heal", "injected", "list_labs", "possible", "up"]
