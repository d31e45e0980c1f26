"""
bpf(2), the part that reads: which programs are attached, what the kernel knows of programs and maps.

Lives here: the system call, ids and infos, the entries of a map.
Not here: where programs hang (programs, cgroups), a node's whole state (bpf_state), loading any
(nettrace.observe.bpf).
Source: include/uapi/linux/bpf.h, kernel/bpf/syscall.c.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from nettrace.model.bpf import BpfEntry, BpfMap, BpfProgram, MapRef

__all__ = [
    "HookLink",
    "Info",
    "attached",
    "described",
    "entries",
    "hook_links",
    "map_ids",
    "map_info",
    "pinned_map",
    "program_ids",
    "program_info",
]

#: The number of bpf(2) by machine.
_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}

# enum bpf_cmd
_LOOKUP, _NEXT_KEY, _OBJECT_GET, _PROG_NEXT_ID, _MAP_NEXT_ID = 1, 4, 7, 11, 12
_PROG_BY_ID, _MAP_BY_ID, _INFO, _QUERY, _LOOKUP_BATCH = 13, 14, 15, 16, 24
_LINK_BY_ID, _LINK_NEXT_ID = 30, 31

_NETFILTER_LINK = 10  # enum bpf_link_type

_QUERY_EFFECTIVE = 1
_READ_ONLY = 8  # BPF_F_RDONLY
_ATTR = 144  # bytes of union bpf_attr that are used here; what is larger than the kernel's must be 0

#: enum bpf_map_type, the kernel's names in lower case.
_MAP_TYPES = dict(
    enumerate(
        (
            "unspec",
            "hash",
            "array",
            "prog_array",
            "perf_event_array",
            "percpu_hash",
            "percpu_array",
            "stack_trace",
            "cgroup_array",
            "lru_hash",
            "lru_percpu_hash",
            "lpm_trie",
            "array_of_maps",
            "hash_of_maps",
            "devmap",
            "sockmap",
            "cpumap",
            "xskmap",
            "sockhash",
            "cgroup_storage",
            "reuseport_sockarray",
            "percpu_cgroup_storage",
            "queue",
            "stack",
            "sk_storage",
            "devmap_hash",
            "struct_ops",
            "ringbuf",
            "inode_storage",
            "task_storage",
            "bloom_filter",
            "user_ringbuf",
            "cgrp_storage",
            "arena",
        )
    )
)
#: Types whose entries bpf(2) reads by key, one value a key.
_READABLE = ("hash", "array", "lru_hash", "lpm_trie", "prog_array")

#: Entries of one map that are read at most; the largest connection tables have more.
MOST = 1 << 16
_BATCH = 1024

_libc = ctypes.CDLL(None, use_errno=True)


class Info(Struct, frozen=True):
    """What the kernel says of a loaded program; ``type`` is a number of enum bpf_prog_type."""

    id: int
    type: int
    name: str
    tag: str
    maps: tuple[int, ...]


class HookLink(Struct, frozen=True):
    """
    A program at a netfilter hook of some namespace, by the kernel's numbers.

    ``family`` is NFPROTO_IPV4 or _IPV6, ``hook`` of enum nf_inet_hooks, ``program`` its id.
    """

    program: int
    family: int
    hook: int
    priority: int


def _bpf(command: int, block: "ctypes.Array[ctypes.c_char]") -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"the number of bpf(2) on {os.uname().machine} is not known")
    result = int(_libc.syscall(number, command, block, len(block)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _block(layout: str, *values: int) -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(struct.pack(layout, *values), _ATTR)


def attached(target: int, attach_type: int, *, effective: bool = False) -> tuple[int, ...]:
    """
    Return the ids of the programs on a device (its index) or a cgroup (a descriptor).

    With *effective* those of the cgroups above too.  OSError: EINVAL where the kernel has no such
    attach type, EPERM without the right to ask.
    """
    room = 64
    while True:
        ids = ctypes.create_string_buffer(room * 4)
        flags = _QUERY_EFFECTIVE if effective else 0
        block = _block("=IIIIQI", target, attach_type, flags, 0, ctypes.addressof(ids), room)
        try:
            _bpf(_QUERY, block)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            room = struct.unpack_from("=I", block.raw, 24)[0] + 8
            continue
        count = struct.unpack_from("=I", block.raw, 24)[0]
        return struct.unpack_from(f"={count}I", ids.raw)


def _ids(command: int) -> Iterator[int]:
    last = 0
    while True:
        block = _block("=III", last, 0, 0)
        try:
            _bpf(command, block)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        last = struct.unpack_from("=I", block.raw, 4)[0]
        yield last


def program_ids() -> Iterator[int]:
    """Yield the ids of all loaded programs.  OSError: EPERM without CAP_SYS_ADMIN."""
    return _ids(_PROG_NEXT_ID)


def map_ids() -> Iterator[int]:
    """Yield the ids of all maps.  OSError: EPERM without CAP_SYS_ADMIN."""
    return _ids(_MAP_NEXT_ID)


def hook_links() -> tuple[HookLink, ...]:
    """
    Return the programs that links hold at netfilter hooks, of all namespaces of the machine.

    OSError: EPERM without CAP_SYS_ADMIN.
    """
    found = []
    try:
        numbers = tuple(_ids(_LINK_NEXT_ID))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            return ()  # a kernel without BPF, or older than links
        raise
    for number in numbers:
        try:
            descriptor = _bpf(_LINK_BY_ID, _block("=III", number, 0, 0))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EAGAIN):
                continue  # it went away meanwhile, or is not attached yet (bpf_link_by_id)
            raise
        try:
            info = ctypes.create_string_buffer(128)
            _bpf(_INFO, _block("=IIQ", descriptor, len(info), ctypes.addressof(info)))
        finally:
            os.close(descriptor)
        kind, _, program, family, hook, priority = struct.unpack_from("=III4xIIi", info.raw)
        if kind == _NETFILTER_LINK:
            found.append(HookLink(program, family, hook, priority))
    return tuple(found)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode(errors="replace")


def program_info(number: int) -> Info | None:
    """Return what the kernel says of a program; None if it is not there any more."""
    try:
        descriptor = _bpf(_PROG_BY_ID, _block("=III", number, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    try:
        room = 256
        maps = ctypes.create_string_buffer(room * 4)
        info = ctypes.create_string_buffer(128)
        struct.pack_into("=IQ", info, 52, room, ctypes.addressof(maps))
        _bpf(_INFO, _block("=IIQ", descriptor, len(info), ctypes.addressof(info)))
    finally:
        os.close(descriptor)
    kind, own, tag = struct.unpack_from("=II8s", info.raw)
    used = min(struct.unpack_from("=I", info.raw, 52)[0], room)
    return Info(own, kind, _text(info.raw[64:80]), tag.hex(), struct.unpack_from(f"={used}I", maps.raw))


def described(hook: str, number: int, *, called: str = "", cgroup: str = "") -> BpfProgram:
    """
    Return the program with the id *number*, which was seen on *hook*.

    *called* is a name that it was attached by, which may be longer than the kernel's own.  One that is
    not there any more, or may not be asked about, keeps its id.
    """
    try:
        info = program_info(number)
    except OSError:
        info = None
    if info is None:
        return BpfProgram(hook=hook, id=number, name=called, cgroup=cgroup)
    name = called if called.startswith(info.name) else info.name
    return BpfProgram(
        hook=hook,
        id=number,
        name=name,
        tag=info.tag,
        maps=tuple(MapRef(ident, _map_name(ident)) for ident in info.maps),
        cgroup=cgroup,
    )


def _map_name(number: int) -> str:
    try:
        found = map_info(number)
    except OSError:
        return ""
    return found.name if found is not None else ""


def map_info(number: int) -> BpfMap | None:
    """Return a map without its entries; None if it is not there any more."""
    try:
        descriptor = _bpf(_MAP_BY_ID, _block("=III", number, 0, 0))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    try:
        return _info_of(descriptor)
    finally:
        os.close(descriptor)


def pinned_map(path: str) -> int | None:
    """Return the id of the map that has a name in a BPF file system; None for what is no map."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    try:
        descriptor = _bpf(_OBJECT_GET, _block("=QII", ctypes.addressof(name), 0, _READ_ONLY))
    except OSError:
        return None
    try:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()) != "anon_inode:bpf-map":
            return None
        return _info_of(descriptor).id
    finally:
        os.close(descriptor)


def _info_of(descriptor: int) -> BpfMap:
    info = ctypes.create_string_buffer(128)
    _bpf(_INFO, _block("=IIQ", descriptor, len(info), ctypes.addressof(info)))
    kind, number, key, value, most = struct.unpack_from("=IIIII", info.raw)
    return BpfMap(
        id=number,
        name=_text(info.raw[24:40]),
        type=_MAP_TYPES.get(kind, f"type {kind}"),
        key_size=key,
        value_size=value,
        max_entries=most,
    )


def entries(number: int) -> tuple[BpfEntry, ...]:
    """
    Return the entries of a map; reading makes none of them younger.

    OSError from the kernel, ValueError for a type that cannot be read so and for more than 65,536
    entries.
    """
    descriptor = _bpf(_MAP_BY_ID, _block("=III", number, 0, 0))
    try:
        told = _info_of(descriptor)
        if told.type not in _READABLE:
            raise ValueError(f"a map of type {told.type} cannot be read")
        try:
            found = _by_batches(descriptor, told)
        except OSError as error:
            # ENOTSUPP (524) and EINVAL: this type of map, or this kernel, has no batches
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, 524):
                raise
            found = _one_by_one(descriptor, told)
    finally:
        os.close(descriptor)
    return tuple(sorted(found, key=lambda entry: entry.key))


def _checked(found: list[BpfEntry]) -> list[BpfEntry]:
    if len(found) > MOST:
        raise ValueError(f"it has more than {MOST} entries, which are not read")
    return found


def _by_batches(descriptor: int, told: BpfMap) -> list[BpfEntry]:
    keys = ctypes.create_string_buffer(told.key_size * _BATCH)
    values = ctypes.create_string_buffer(told.value_size * _BATCH)
    # a cursor of the kernel's own: 4 bytes for hashes, a key for tries
    cursor = ctypes.create_string_buffer(max(told.key_size, 4))
    found: list[BpfEntry] = []
    start = 0
    while True:
        addresses = (ctypes.addressof(cursor), ctypes.addressof(keys), ctypes.addressof(values))
        block = _block("=QQQQIIQQ", start, *addresses, _BATCH, descriptor, 0, 0)
        last = False
        try:
            _bpf(_LOOKUP_BATCH, block)
        except OSError as error:
            if error.errno == errno.ENOSPC and not found:
                return _one_by_one(descriptor, told)  # one bucket has more than a batch
            if error.errno != errno.ENOENT:
                raise
            last = True
        count = struct.unpack_from("=I", block.raw, 32)[0]
        for at in range(count):
            key = keys.raw[at * told.key_size : (at + 1) * told.key_size]
            value = values.raw[at * told.value_size : (at + 1) * told.value_size]
            found.append(BpfEntry(key.hex(), value.hex()))
        _checked(found)
        if last or not count:
            return found
        start = ctypes.addressof(cursor)


def _one_by_one(descriptor: int, told: BpfMap) -> list[BpfEntry]:
    key = ctypes.create_string_buffer(told.key_size)
    following = ctypes.create_string_buffer(told.key_size)
    value = ctypes.create_string_buffer(told.value_size)
    found: list[BpfEntry] = []
    at = 0
    while True:
        try:
            _bpf(_NEXT_KEY, _block("=I4xQQ", descriptor, at, ctypes.addressof(following)))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return found
            raise
        ctypes.memmove(key, following, told.key_size)
        at = ctypes.addressof(key)
        try:
            _bpf(_LOOKUP, _block("=I4xQQQ", descriptor, at, ctypes.addressof(value), 0))
        except OSError as error:
            if error.errno != errno.ENOENT:  # deleted meanwhile, or an empty slot of programs
                raise
        else:
            found.append(BpfEntry(key.raw.hex(), value.raw.hex()))
        _checked(found)
