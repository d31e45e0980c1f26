"""
The guided Service flow: one check after the other, to the first cause.

Pure.  A check is a generator: it yields what it wants to know (request.py), gets the answer sent,
and returns its result.  So it can ask for a real DNS query or a connection without any I/O here.
Not here: answering the requests (nettrace.app.debug), the diagnosis of one flow
(nettrace.diagnose.diagnosis).
"""

from nettrace.diagnose.guide.case import Case
from nettrace.diagnose.guide.checks import CHECKS, GuideCheck, checks_for
from nettrace.diagnose.guide.request import Ask, Asking, Connect, Delegate, Diagnose, Query, Request

__all__ = [
    "CHECKS",
    "Ask",
    "Asking",
    "Case",
    "Connect",
    "Delegate",
    "Diagnose",
    "GuideCheck",
    "Query",
    "Request",
]
__all__ += ["checks_for"]
