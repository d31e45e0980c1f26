"""
BPF of a node: its programs, its maps, and the entries of the maps that somebody asks for.

Lives here: which maps are a node's, and where they are pinned.
Not here: bpf(2) (bpf), programs on hooks (programs, cgroups), what entries mean (plugins).
"""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec.structs import replace

from nettrace.collect.bpf import entries, map_ids, map_info, pinned_map, program_info
from nettrace.collect.failure import as_section
from nettrace.model.bpf import BpfMap, BpfProgram, BpfState
from nettrace.model.section import Known
from nettrace.model.snapshot import maps_called

__all__ = ["read_bpf", "read_maps"]

_PINNED = Path("/sys/fs/bpf")
_MOST_PINS = 4096


def read_bpf(programs: Iterable[BpfProgram], *, alone: bool) -> BpfState:
    """
    Return the state of a node that runs *programs* on its hooks.

    *alone*: no other node shares this kernel, so all its maps are the node's.  OSError: EPERM without
    CAP_SYS_ADMIN.
    """
    own = tuple({(p.hook, p.id): p for p in programs}.values())
    try:
        numbers = sorted(set(map_ids()) if alone else _used(own))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            return BpfState()  # a kernel without BPF
        raise
    pins = dict(_pins())
    maps = [replace(one, pinned=pins.get(one.id, "")) for one in map(map_info, numbers) if one is not None]
    return BpfState(programs=own, maps=tuple(maps), byteorder=sys.byteorder)


def read_maps(state: BpfState, names: Iterable[str]) -> BpfState:
    """Return the state with the entries of the maps called *names*."""
    read = {
        one.id: replace(one, entries=as_section(lambda one=one: entries(one.id)))  # type: ignore[misc]
        for name in names
        for one in maps_called(state, name)
    }
    return replace(state, maps=tuple(read.get(one.id, one) for one in state.maps))


def _used(programs: Iterable[BpfProgram]) -> set[int]:
    """Return the maps that programs use, and those of programs that these go on to (tail calls)."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [program.id for program in programs]
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        info = program_info(number)
        for ident in info.maps if info is not None else ():
            if ident in found:
                continue
            found.add(ident)
            one = map_info(ident)
            if one is not None and one.type == "prog_array":
                waiting.extend(_called(one))
    return found


def _called(calls: BpfMap) -> Iterator[int]:
    section = as_section(lambda: entries(calls.id))
    for entry in section.value if isinstance(section, Known) else ():
        yield int.from_bytes(bytes.fromhex(entry.value), sys.byteorder)


def _pins() -> Iterator[tuple[int, str]]:
    """Yield the id of each map that has a name below /sys/fs/bpf, and that name."""
    count = 0
    for place, _, names in os.walk(_PINNED):
        for name in names:
            count += 1
            if count > _MOST_PINS:
                return
            path = f"{place}/{name}"
            number = pinned_map(path)
            if number is not None:
                yield number, path
