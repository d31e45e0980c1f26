"""
Two agents that should have a TCP session with each other, and have none.

Lives here: what on either node keeps them apart, as evidence: nobody waits at the port, rules refuse it.
Not here: whether there is a session (nettrace.diagnose.look), which agents these are (plugins).
"""

from collections.abc import Container, Sequence
from typing import NamedTuple

from nettrace.diagnose.look import unheard
from nettrace.diagnose.refusing import refusing_tcp
from nettrace.model.finding import Evidence
from nettrace.model.snapshot import NodeState, Snapshot

__all__ = ["Apart", "apart", "names_of"]


class Apart(NamedTuple):
    """The nodes where nobody listens, as far as that is known, and the rules that refuse the port."""

    mute: tuple[NodeState, ...]
    blocks: tuple[Evidence, ...]
    port: int

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Both, the nodes first."""
        text = f"nobody listens on TCP port {self.port}"
        silent = (Evidence(ref=f"{one.netns}/sockets", text=text, note=one.name) for one in self.mute)
        return (*silent, *self.blocks)


def apart(snapshot: Snapshot, ends: Sequence[NodeState], port: int, *, known: Container[str] = ()) -> Apart:
    """Look for what keeps *ends* from a session at *port*; of nodes *known* why, nobody need be heard."""
    return Apart(
        mute=tuple(one for one in ends if one.name not in known and unheard(snapshot, one.netns, port)),
        blocks=tuple(found for one in ends for found in refusing_tcp(snapshot, one.netns, port)),
        port=port,
    )


def names_of(nodes: Sequence[NodeState]) -> str:
    """``node-a and node-b``."""
    return " and ".join(one.name for one in nodes)
