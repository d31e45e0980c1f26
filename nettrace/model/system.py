"""
A network system on a node: by what it was recognised, what it owes the node, whether that is there.

Lives here: the types.  Not here: recognising (plugins, nettrace.app.systems), comparing
(nettrace.diagnose.standing).
"""

from msgspec import Struct

from nettrace.model.finding import Evidence
from nettrace.model.owed import Owed

__all__ = ["Claim", "OwedCount", "System"]


class OwedCount(Struct, frozen=True, kw_only=True):
    """
    How many things of one kind (``chains``, ``routes``) are owed.

    ``differing`` of them are not there or are otherwise than owed, ``unknown`` could not be
    compared because something was not read; the rest is there.
    """

    kind: str
    owed: int
    differing: int = 0
    unknown: int = 0

    @property
    def there(self) -> int:
        """How many are as they are owed."""
        return self.owed - self.differing - self.unknown


class Claim(Struct, frozen=True, kw_only=True):
    """
    One system on one node, and all that it has to have put there.

    The fields are those of System; ``unknown`` says which sections it would have to see to tell all of it,
    "" where it has seen them.
    """

    name: str
    mode: str = ""
    version: str = ""
    evidence: tuple[Evidence, ...] = ()
    leftovers: tuple[Evidence, ...] = ()
    owed: tuple[Owed, ...] = ()
    unknown: str = ""


class System(Struct, frozen=True, kw_only=True):
    """
    One system on one node.

    ``version`` and ``mode`` are "" where nothing says them.  ``owed`` is empty where it owes
    the node nothing, or where ``unknown`` says why what it owes is not known.  ``differs`` has
    a line for each thing that is not as it is owed.  ``leftovers`` are what it or its forerunner left
    behind.
    """

    name: str
    node: str
    netns: str
    mode: str = ""
    version: str = ""
    evidence: tuple[Evidence, ...] = ()
    owed: tuple[OwedCount, ...] = ()
    differs: tuple[str, ...] = ()
    leftovers: tuple[Evidence, ...] = ()
    unknown: str = ""
