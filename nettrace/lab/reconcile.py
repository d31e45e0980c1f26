"""
A lab that is up, brought to other objects: what the controllers of a cluster would do.

Lives here: ``apply`` (objects added, changed, deleted), and a difference carried out: pods come
and go, processes start anew, kube-proxy and the policy controllers write their chains again on
every node.
Not here: in what two blueprints differ (nettrace.lab.difference), which objects make which pods
and rules (nettrace.lab.cluster, topologies).

As on a real node each agent writes only what is its own: chains called KUBE-*, or as the network
system says.  What somebody else did to the node (``lab break``, a person) stays, unless it is in a
chain that is written again.
"""

import shutil
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from nettrace.collect.netns import in_netns
from nettrace.lab import store
from nettrace.lab.blueprint import Blueprint, Options
from nettrace.lab.build import set_sysctls, start_all, write_files
from nettrace.lab.cluster.documents import Document, name_of, read_directory
from nettrace.lab.difference import Difference, difference, end_of, port_of
from nettrace.lab.ipvs import change_servers
from nettrace.lab.processes import end_all, is_running, left_by, living_in
from nettrace.lab.programs import hang
from nettrace.lab.proxy import program_native
from nettrace.lab.reprogram import reprogrammed
from nettrace.lab.tools import (
    bridge_batch,
    ip_batch,
    iptables_backend,
    need_tools,
    netns_path,
    restore_rules,
    restore_sets,
    run,
)
from nettrace.lab.topologies import clusters, describer
from nettrace.lab.topologies.kubernetes import DECLARED
from nettrace.model.errors import UserError
from nettrace.model.lab import LabRecord
from nettrace.parse.manifests import kube_from_documents, parse_documents

__all__ = ["Applied", "apply", "blueprint_of", "merged"]

_POLICIES = "networkpolicies.yaml"
#: Kinds that come from the lab's options and cannot be changed in one that is up.
_FIXED = ("Node", "KubeProxyConfiguration", "ServiceCIDR")


class Applied(Struct, frozen=True, kw_only=True):
    """What ``apply`` did: (title, ``created``, ``configured``, ``unchanged`` or ``deleted``)."""

    record: LabRecord
    objects: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def apply(
    record: LabRecord,
    path: Path,
    *,
    delete: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Applied:
    """
    Bring a lab to the objects in *path*, a manifest or a directory of them.

    Objects of the same kind, namespace and name are replaced, others added; with *delete* those
    are removed.  UserError, with nothing changed, for objects that the lab cannot do, and for one
    to delete that is not there.
    """
    say = progress or (lambda _: None)
    if record.manifests is None:
        raise UserError(
            f"the lab {record.name!r} is no cluster: {record.topology}",
            hint=f"use one of {', '.join(clusters())}",
        )
    given = read_directory(path)
    with store.locked(record.name) as lock:
        record = store.read(record.name)
        manifests = Path(record.manifests or "")
        declared = list(read_directory(Path(record.root) / DECLARED))
        extra = manifests / _POLICIES
        if extra.exists():
            declared = merged(declared, read_directory(extra))[0]
        wanted, done = merged(declared, given, delete=delete)
        old = store.read_blueprint(record)
        if old.attachments:
            raise UserError(
                f"the pods of the lab {record.name!r} are made by CNI plugins, and stay as they are",
                hint=f"lab down {record.name}, and lab up {record.topology} --manifests DIR",
            )
        new = blueprint_of(record, wanted)
        need_tools({daemon.argv[0] for daemon in new.daemons if "/" not in daemon.argv[0]})
        broken_off = store.pending_blueprint(record)
        if broken_off is not None:
            say("finishes what an earlier change left half done")
            _rewire(record, old, broken_off, difference(old, broken_off, _running(record)), lock, again=True)
            old = broken_off
        store.write_blueprint(record, new, pending=True)
        record = _carry_out(record, old, new, difference(old, new, _running(record)), lock, say)
        extra.unlink(missing_ok=True)
    return Applied(record=record, objects=done, notes=new.notes)


def blueprint_of(record: LabRecord, declared: Sequence[Document]) -> Blueprint:
    """Return what the lab is to be with *declared* as its objects; pods stay where they are."""
    options = Options(
        nodes=int(record.options["nodes"]),
        pod_cidr=record.options["pod_cidr"],
        service_cidr=record.options["service_cidr"],
        node_net=record.options["node_net"],
        proxy=record.options.get("proxy", ""),
        declared=tuple(declared),
        before=tuple(read_directory(Path(record.manifests or ""))),
    )
    return describer(record.topology)(record.name, Path(record.root), options)


def merged(
    declared: Sequence[Document], given: Sequence[Document], *, delete: bool = False
) -> tuple[list[Document], tuple[tuple[str, str], ...]]:
    """
    Return the objects with *given* put in or, to *delete*, taken out, and what became of each.

    UserError for a kind that a lab cannot change while it is up, and one to delete that is not there.
    """
    held = {_key(document): document for document in declared}
    done = []
    for document in given:
        key = _key(document)
        if key[0] in _FIXED:
            raise UserError(
                f"a {key[0]} cannot be changed in a lab that is up", hint="build another lab with --manifests"
            )
        title = f"{key[0].lower()}/{key[1]}/{key[2]}"
        if delete:
            if key not in held:
                raise UserError(f"there is no {title} to delete", hint="see declared.yaml of the lab")
            del held[key]
            done.append((title, "deleted"))
        else:
            before = held.get(key)
            word = "created" if before is None else "unchanged" if before == document else "configured"
            held[key] = document
            done.append((title, word))
    if not held:
        raise UserError("this would delete the last object", hint="take the lab down: nettrace lab down")
    return list(held.values()), tuple(done)


def _key(document: Document) -> tuple[str, str, str]:
    return str(document.get("kind")), *name_of(document)


def _running(record: LabRecord) -> frozenset[tuple[str, str]]:
    """(namespace, name) of the lab's processes that are alive."""
    return frozenset((one.netns, one.name) for one in record.processes if is_running(one))


def _carry_out(
    record: LabRecord,
    old: Blueprint,
    new: Blueprint,
    wanted: Difference,
    lock: int,
    say: Callable[[str], None],
) -> LabRecord:
    """Do it.  The record names everything that may be there before it is."""
    root = Path(record.root)
    both = {entry.netns: entry for entry in (*old.namespaces, *new.namespaces)}
    store.write(replace(record, namespaces=tuple(both.values())))
    for name in wanted.dropped:
        (root / name).unlink(missing_ok=True)
    write_files(root, wanted.files)
    ending = {(daemon.netns, daemon.name) for daemon in wanted.ended}
    say(f"{len(wanted.gone)} namespaces go, {len(wanted.made)} come; {len(wanted.started)} processes start")
    ended = [process for process in record.processes if (process.netns, process.name) in ending]
    end_all(ended)
    for netns in wanted.gone:
        pod = next((entry.pod for entry in old.namespaces if entry.netns == netns), None)
        if pod is not None and all(entry.pod != pod for entry in new.namespaces):
            shutil.rmtree(root / "pods" / pod, ignore_errors=True)
    _rewire(record, old, new, wanted, lock)
    for netns, opaque in new.programs.items():
        hang(netns, opaque)
    objects = [text for name, text in new.files.items() if name.startswith("manifests/")]
    documents = [document for text in objects for document in parse_documents(text, "the lab's manifests")]
    kube = kube_from_documents(documents, "the lab's manifests")
    with ThreadPoolExecutor(8, thread_name_prefix="lab") as pool:
        tasks = [pool.submit(_program, netns, old, new, lock) for netns in new.rules]
        for node in new.namespaces:
            if node.role == "node":
                tasks.append(pool.submit(program_native, node.netns, kube, node.name, lock=lock))
        for future in tasks:
            future.result()
        started = start_all(wanted.started, root, pool)
    for entry in new.namespaces:
        if entry.netns in wanted.made:
            in_netns(netns_path(entry.netns), _announce, entry.addresses[0])
    processes = (*(process for process in record.processes if process not in ended), *started)
    record = replace(
        record,
        namespaces=new.namespaces,
        processes=processes,
        pids=tuple(process.pid for process in processes),
    )
    store.write_blueprint(record, new)
    store.write(record)
    return record


def _unplug(old: Blueprint, new: Blueprint, doomed: Sequence[str], lock: int) -> None:
    """
    Delete the veths that lead into namespaces which go, from the ends that stay.

    The kernel empties a deleted namespace later, in a worker (cleanup_net(), net/core/net_namespace.c);
    until then a device of the same name cannot be made.
    """
    ends = {f" netns {netns}" for netns in doomed}
    for stage in (*old.wiring, *new.wiring):
        for netns, lines in stage.items():
            ports = [f"link del {port_of(line)}" for line in lines if end_of(line) in ends]
            if ports and netns not in doomed and Path(netns_path(netns)).exists():
                ip_batch(netns, ports, lock=lock, force=True)


def _rewire(
    record: LabRecord, old: Blueprint, new: Blueprint, wanted: Difference, lock: int, *, again: bool = False
) -> None:
    """
    Bring namespaces, devices, addresses and routes from one blueprint to the other.

    *again*: it may have been done in part, and what is done already is no error.
    """
    doomed = [netns for netns in (*wanted.gone, *wanted.made) if Path(netns_path(netns)).exists()]
    inodes = {Path(netns_path(netns)).stat().st_ino for netns in doomed}
    if inodes:
        end_all(living_in(inodes))
        _unplug(old, new, doomed, lock)
        ip_batch(None, [f"netns del {netns}" for netns in dict.fromkeys(doomed)], lock=lock)
    if again:
        for daemon in (*wanted.ended, *wanted.started):
            end_all(left_by(daemon, Path(record.root)))
    for netns, lines in wanted.undone.items():
        ip_batch(netns, lines, lock=lock, force=True)
    if wanted.made:
        ip_batch(None, [f"netns add {netns}" for netns in wanted.made], lock=lock)
        for netns in wanted.made:
            set_sysctls(netns, new.sysctls.get(netns, {}))
    for stage in wanted.wiring:
        for netns, lines in stage.items():
            ip_batch(netns, lines, lock=lock, force=again)
    for netns, values in wanted.device_sysctls.items():
        set_sysctls(netns, values)
    for netns, lines in wanted.fdb.items():
        if again:
            bridge_batch(netns, [line.replace("fdb add", "fdb replace", 1) for line in lines], lock=lock)
        else:
            bridge_batch(netns, lines, lock=lock)


def _announce(address: str) -> None:
    """Send a gratuitous ARP, as the CNI plugins do: the address may have been another pod's a moment ago."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("eth0", 0x0806))
        mac, own = sock.getsockname()[4], socket.inet_aton(address)
        kind = bytes.fromhex("0001080006040001")  # Ethernet, IPv4, request
        sock.send(b"\xff" * 6 + mac + b"\x08\x06" + kind + mac + own + bytes(6) + own)


def _program(netns: str, old: Blueprint, new: Blueprint, lock: int) -> None:
    """Write the agents' chains and sets of one node, and take away those that are no longer wanted."""
    restore_sets(netns, new.sets.get(netns, ""), lock=lock)
    there = in_netns(netns_path(netns), run, [f"iptables-{iptables_backend()}-save"], lock=lock)
    change_servers(netns, old.servers.get(netns, ""), new.servers.get(netns, ""), lock=lock)
    text = reprogrammed(old.rules.get(netns, ""), new.rules[netns], there, new.agents)
    restore_rules(netns, text, lock=lock)
    stale = _names(old.sets.get(netns, "")) - _names(new.sets.get(netns, ""))
    restore_sets(netns, "".join(f"destroy {name}\n" for name in sorted(stale)), lock=lock)


def _names(sets: str) -> set[str]:
    return {line.split()[1] for line in sets.splitlines() if line.startswith("create ")}
