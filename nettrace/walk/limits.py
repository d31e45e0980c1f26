"""How far a walk goes before it gives up and says so."""

from msgspec import Struct

__all__ = ["Limits"]


class Limits(Struct, frozen=True, kw_only=True):
    """
    Bounds that keep a walk finite whatever the snapshot holds.

    ``branches``: how many ways the kernel's draws may go; the rest is one UNKNOWN path with
    their probability.  ``stages``: kernel stages of one leg, ``rules``: rules tested in one
    leg; a leg that needs more is UNKNOWN (a packet that meets itself is LOOP long before).
    """

    branches: int = 256
    stages: int = 2000
    rules: int = 1_000_000
