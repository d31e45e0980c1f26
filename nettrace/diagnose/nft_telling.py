"""
A difference of kube-proxy's native table, told as a departure.

Lives here: which Service it concerns, by the names of chains and the comments.
Not here: finding differences (nft_departures, nft_set_departures).
"""

import re
from typing import NamedTuple

from nettrace.diagnose.departure import Departure, DepartureKind, Share

__all__ = ["SERVICE_CHAIN", "Telling"]

#: What kube-proxy calls the chains of one Service or endpoint: kind, namespace, name.
SERVICE_CHAIN = re.compile(
    r"(service|local|external|firewall|endpoint|affinity)-[A-Z2-7]{8}-([^/]+)/([^/]+)/"
)
_COMMENT = re.compile(r' comment "([^"/]+)/([^":]+)(?::[^"]*)?"')


class Telling(NamedTuple):
    """One table: 4 or 6, and ``FAMILY NAME``."""

    family: int
    table: str

    def tell(
        self,
        kind: DepartureKind,
        cause: str,
        chain: str,
        meaning: str,
        *,
        owed: str = "",
        found: str = "",
        position: int | None = None,
        shares: tuple[Share, ...] = (),
    ) -> Departure:
        """Return a departure; whom it concerns stands in the names."""
        return Departure(
            kind=kind,
            cause=cause,
            family=self.family,
            table=self.table,
            chain=chain,
            meaning=meaning,
            subject=_subject(chain) or _subject(owed) or _subject(found),
            owed=owed,
            found=found,
            position=position,
            shares=shares,
        )


def _subject(text: str) -> str:
    found = SERVICE_CHAIN.search(text)
    if found is not None:
        return f"svc/{found[2]}/{found[3]}"
    said = _COMMENT.search(text)
    return f"svc/{said[1]}/{said[2]}" if said is not None else ""
