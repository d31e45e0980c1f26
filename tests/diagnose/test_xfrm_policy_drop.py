"""A policy of IPsec as a cause: named, with what could come by IPsec at all, and never taken away."""

import pytest

from nettrace.model.finding import Safety
from nettrace.model.section import Known
from nettrace.model.xfrm import Xfrm, XfrmPolicy, XfrmState, XfrmTemplate
from tests.diagnose.asking import diagnosed
from tests.diagnose.guided import with_section
from tests.diagnose.worlds import cluster

CLIENT, OTHER = "pod/client-near", "pod/hostnames-1"
SA = XfrmState(src="192.0.2.9", dst="192.0.2.1", proto="esp", spi=1)
ALL = {"src": "0.0.0.0/0", "dst": "0.0.0.0/0", "direction": "fwd"}
REQUIRES = XfrmPolicy(**ALL, templates=(XfrmTemplate(mode="tunnel"),))  # type: ignore[arg-type]
BLOCKS = XfrmPolicy(**ALL, action="block")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("xfrm", "says", "note", "asks"),
    [
        (
            Xfrm(policies=(REQUIRES,)),
            "comes in the clear",
            "nothing could come by IPsec",
            "have the sender use",
        ),
        (
            Xfrm(policies=(REQUIRES,), states=(SA,)),
            "comes in the clear",
            "from 192.0.2.9",
            "have the sender use",
        ),
        (
            Xfrm(policies=(BLOCKS,)),
            " blocks ",
            "nothing could",
            "ip xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0",
        ),
        (Xfrm(blocks=("fwd",)), "default policy fwd block", "nothing could", "ip xfrm policy getdefault"),
    ],
)
def test_it_is_named_and_only_said(xfrm: Xfrm, says: str, note: str, asks: str) -> None:
    """One that blocks, one that wants IPsec with and without a state, and a default."""
    found = diagnosed(with_section(cluster(), "node-b", "xfrm", Known(xfrm)), CLIENT, OTHER)
    first = found.findings[0]
    assert (first.cause, first.where) == ("xfrm-policy-drop", "node-b")
    assert says in first.message
    assert first.evidence[0].ref.startswith("node-b/xfrm")
    assert note in first.evidence[1].note
    repair = first.repairs[0]
    assert (repair.safety, repair.changes) == (Safety.ADVICE, ())
    assert asks in repair.lasting
