"""
What a pod asks for names: the contents of its resolv.conf.

Lives here: the type.
Not here: its grammar (nettrace.parse.resolv_conf), where it is found (nettrace.collect.resolver).
"""

from msgspec import Struct

__all__ = ["Resolver"]


class Resolver(Struct, frozen=True, kw_only=True):
    """
    A resolv.conf(5).

    ``nameservers`` and ``search`` in the file's order; ``ndots`` is the number of dots from which on
    a name is asked as it stands first.  ``options`` are the other options as they are written.
    ``path`` is the file that was read, as this machine reaches it.
    """

    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    options: tuple[str, ...] = ()
    path: str = ""

    def candidates(self, name: str) -> tuple[str, ...]:
        """
        Return the full names that are asked for *name*, in their order (res_search(3)).

        A name that ends in a dot is asked as it is; one with at least ``ndots`` dots as it is
        first and then with each of ``search`` behind it; another one the other way round.
        """
        if name.endswith("."):
            return (name.rstrip("."),)
        searched = tuple(f"{name}.{domain}" for domain in self.search)
        return (name, *searched) if name.count(".") >= self.ndots else (*searched, name)
