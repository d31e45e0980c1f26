"""
Programs of BPF on the devices of a lab: real ones, with names and maps, which let everything pass.

Lives here: loading them and hanging them on tc.  They stand for a data path that nobody can look
into: what nettrace sees of them is what it sees of any.
Not here: which there are (topologies), bpf(2) itself (nettrace.observe.bpf).
"""

from nettrace.collect.netns import in_netns
from nettrace.lab.blueprint import Opaque
from nettrace.lab.tools import netns_path
from nettrace.model.errors import UserError
from nettrace.model.section import Known
from nettrace.observe.bpf import Assembler, Bpf, BpfError

__all__ = ["hang"]

#: enum bpf_map_type, and BPF_F_NO_PREALLOC, without which there is no trie.
_TYPES = {"hash": (1, 0), "lru_hash": (9, 0), "lpm_trie": (11, 1)}
#: TC_H_MAKE(TC_H_CLSACT, ...) as pyroute2 takes it.
_PARENTS = {"ingress": "ffff:fff2", "egress": "ffff:fff3"}
_OK = 0  # TC_ACT_OK


def hang(netns: str, opaque: Opaque) -> None:
    """
    Put a node's programs on its devices, in place of those that it had.

    The kernel keeps them, and their maps, as long as the devices are there.  UserError where it does
    not take them.
    """
    try:
        with Bpf() as made:
            maps: dict[str, int] = {}
            for one in opaque.maps:
                kind, flags = _TYPES[one.type]
                held = made.map(
                    kind, one.key_size, one.value_size, one.max_entries, name=one.name, flags=flags
                )
                for entry in one.entries.value if isinstance(one.entries, Known) else ():
                    made.put(held, bytes.fromhex(entry.key), bytes.fromhex(entry.value))
                maps[one.name] = held
            loaded = {}
            for name in {program.name for program in opaque.programs}:
                loaded[name] = made.program("sched_cls", _passing(tuple(maps.values())), name)
            hooks = [(one.device, one.side, one.name, loaded[one.name]) for one in opaque.programs]
            in_netns(netns_path(netns), _attach, hooks)
    except (BpfError, OSError) as error:
        raise UserError(
            f"this kernel takes no programs of BPF for the lab: {error}",
            where=netns,
            hint="CONFIG_BPF_SYSCALL and CONFIG_NET_CLS_BPF are needed, and root",
        ) from error


def _passing(maps: tuple[int, ...]) -> bytes:
    """A program that uses maps without looking into them, and lets the packet pass."""
    code = Assembler()
    for descriptor in maps:
        code.map(1, descriptor)
    code.set(0, _OK)
    code.exit()
    return code.assemble()


def _attach(hooks: list[tuple[str, str, str, int]]) -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415  (a fifth of a second, and most labs have no programs)
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with IPRoute() as route:
            done: dict[str, int] = {}
            for device, side, name, descriptor in hooks:
                if device not in done:
                    index = done[device] = route.link_lookup(ifname=device)[0]
                    if any(q.get_attr("TCA_KIND") == "clsact" for q in route.get_qdiscs(index=index)):
                        route.tc("del", "clsact", index)
                    route.tc("add", "clsact", index)
                route.tc(
                    "add-filter",
                    "bpf",
                    done[device],
                    ":1",
                    fd=descriptor,
                    name=f"{name}-{device}",
                    parent=_PARENTS[side],
                    direct_action=True,
                )
    except NetlinkError as error:
        raise OSError(error.code, str(error.args[-1])) from error
