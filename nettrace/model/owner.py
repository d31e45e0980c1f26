"""
Owners of rules and programs: who writes what is called so.

Lives here: the type, as data.  Not here: who they are (plugins; kube-proxy: nettrace.kube.owner), what
follows for a rule that drops (nettrace.diagnose).
"""

from collections.abc import Iterable

from msgspec import Struct, field

__all__ = ["Owner", "owner_of_chain", "owner_of_program"]


class Owner(Struct, frozen=True, kw_only=True):
    """
    One program that writes rules, or hangs programs of BPF on devices.

    ``chains`` are what the names of its chains of iptables begin with, ``programs`` those of its
    programs; ``tables`` are its tables of native nftables, ``FAMILY NAME``.

    ``told`` says that its rules are what people told it, a firewall's: what they drop is a finding, with
    ``lasting`` as the way to tell it otherwise.  Without it the rules are the program's own business.
    ``builtin``: it puts rules and policies into the built-in chains too, where it has its jumps.

    ``overwritten`` says what becomes of a change to its rules.  ``lasting`` are its own commands, by the
    hook that drops (``forward``, ``input``, ``output``, "" for any), in which ``{src}``, ``{dst}``,
    ``{proto}`` and ``{dport}`` stand for the packet's.  ``flushes`` says by what it takes away the rules
    of others, ``watch`` is the command that shows what its programs do.
    """

    name: str
    chains: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    told: bool = False
    builtin: bool = False
    overwritten: str = ""
    lasting: dict[str, str] = field(default_factory=dict)
    flushes: str = ""
    watch: str = ""


def owner_of_chain(owners: Iterable[Owner], table: str, chain: str, *, native: bool) -> Owner | None:
    """Return whose chain it is by its name; *table* of native nftables is ``inet filter``."""
    for owner in owners:
        if table in owner.tables if native else chain.startswith(owner.chains or ("\0",)):
            return owner
    return None


def owner_of_program(owners: Iterable[Owner], name: str) -> Owner | None:
    """Return whose program it is by its name, which may be cut to 15 bytes."""
    return next((owner for owner in owners if name.startswith(owner.programs or ("\0",))), None)
