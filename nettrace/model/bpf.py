"""
BPF on a node: programs on the hooks of the packet's path, and the maps that they share.

Lives here: the types, and how a program is named in a sentence.
Not here: what a program does, which nobody can tell from outside; what a map's bytes mean (plugins).
"""

from collections.abc import Iterable

from msgspec import Struct

from nettrace.model.section import NOT_READ, Section

__all__ = ["BpfEntry", "BpfMap", "BpfProgram", "BpfState", "MapRef", "short_name", "what_was_found"]

#: BPF_OBJ_NAME_LEN without the closing zero: the kernel keeps no more of a name.
NAME_LENGTH = 15


def short_name(name: str) -> str:
    """Return what the kernel keeps of the name of a map or a program."""
    return name[:NAME_LENGTH]


class MapRef(Struct, frozen=True, order=True):
    """A map that a program uses: the kernel's id for it, and its name."""

    id: int
    name: str = ""


class BpfProgram(Struct, frozen=True, kw_only=True):
    """
    One program on one hook.

    ``hook`` is ``xdp generic``, ``tc ingress``, ``tcx egress``, ``netkit peer``, or on cgroups
    ``connect4``, ``sendmsg6``, ``egress`` ..., ``netfilter ip forward`` at a hook of netfilter; "" for one
    that is loaded and not seen anywhere.
    ``tag`` is a digest of its instructions.  ``cgroup`` is the path of a cgroup whose processes it is
    run for, "" on devices.  ``priority`` is its place at a netfilter hook.  Not ``placed``: it hangs at that
    hook in some namespace of the machine, and the kernel does not say in which.
    """

    hook: str
    id: int
    name: str = ""
    tag: str = ""
    maps: tuple[MapRef, ...] = ()
    cgroup: str = ""
    priority: int = 0
    placed: bool = True

    def __str__(self) -> str:
        return " ".join(word for word in (self.hook, self.name or "BPF", f"(id {self.id})") if word)


class BpfEntry(Struct, frozen=True):
    """One entry of a map: key and value, in hexadecimal, as they lie in memory."""

    key: str
    value: str


class BpfMap(Struct, frozen=True, kw_only=True):
    """
    One map.  Sizes are in bytes, ``type`` is the kernel's word (``hash``, ``lpm_trie``).

    ``pinned`` is where it has a name below a BPF file system, "" if nowhere that could be seen.
    """

    id: int
    name: str
    type: str
    key_size: int
    value_size: int
    max_entries: int
    pinned: str = ""
    entries: Section[tuple[BpfEntry, ...]] = NOT_READ


class BpfState(Struct, frozen=True, kw_only=True):
    """
    The programs that a node's devices and cgroups run, and the maps of the node.

    On a machine of one node these are all maps; where several nodes share a kernel, those that the
    node's own programs use, directly or through programs that they call.  ``byteorder`` is that of the
    machine, in which most numbers in maps are.
    """

    programs: tuple[BpfProgram, ...] = ()
    maps: tuple[BpfMap, ...] = ()
    byteorder: str = "little"


def what_was_found(programs: Iterable[BpfProgram]) -> str:
    """Say what is known of programs beside name and id: ``tag 6deef7357e7b4530, maps conns (id 7)``."""
    found = []
    for program in programs:
        maps = ", ".join(f"{ref.name or 'a map'} (id {ref.id})" for ref in program.maps)
        words = [f"tag {program.tag}" if program.tag else "", f"maps {maps}" if maps else "no maps"]
        found.append(f"program {program.id} has {' and '.join(word for word in words if word)}")
    return "; ".join(found)
