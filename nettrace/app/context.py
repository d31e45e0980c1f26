"""
Where state comes from: this machine, a lab, or snapshot files.

Lives here: the Context that every use case works on.
Not here: reading itself (nettrace.collect).
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from nettrace.app.plugins import Plugins, load_plugins
from nettrace.app.recovery import recover
from nettrace.collect.discover import Handle, discover
from nettrace.collect.kube_api import ApiSource
from nettrace.collect.reader import Reader
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube
from nettrace.model.object_source import ObjectSource
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.parse.snapshot_file import decode_snapshot
from nettrace.parse.snapshot_join import joined

__all__ = ["Context", "is_unread", "open_context"]

#: How often plugins are asked what more they want to see.
_ASKED = 3


class Context:
    """
    A snapshot that grows as it is asked, and the way to read more of it.

    ``label`` is ``this machine``, ``lab NAME`` or ``file NAME``.  ``handles`` lead to the
    namespaces of a live context and are empty otherwise.
    """

    def __init__(
        self, label: str, snapshot: Snapshot, plugins: Plugins, reader: Reader | None = None
    ) -> None:
        self.label = label
        self.snapshot = snapshot
        self.plugins = plugins
        self.asked: set[SectionKey] = set()
        self.remarks: tuple[str, ...] = ()  # what happened while it was opened
        #: Told of what is about to be read.  What it raises ends the reading: that is how one cancels.
        self.on_read: Callable[[Sequence[SectionKey]], None] = _quietly
        self._reader = reader

    @property
    def live(self) -> bool:
        """Can this context be probed and changed?"""
        return self._reader is not None

    @property
    def handles(self) -> dict[str, Handle]:
        """Namespace name -> how this machine reaches it."""
        return {handle.name: handle for handle in self._reader.handles} if self._reader else {}

    def path(self, netns: str) -> str:
        """Return the path by which this machine enters a namespace."""
        handle = self.handles.get(netns)
        if handle is None:
            raise UserError(
                f"namespace {netns} cannot be entered: {self.label} is not live",
                where=netns,
                hint="probes and repairs need the node itself, or --lab",
            )
        return handle.path

    def read(self, keys: Iterable[SectionKey]) -> None:
        """Read sections into the snapshot.  What a file does not hold becomes Missing(FAILED)."""
        wanted = list(dict.fromkeys(keys))
        self.on_read(wanted)
        self.asked.update(wanted)
        transits = [key for key in wanted if key.name == "relays"]
        if transits:
            self._ask_plugins(transits)
            wanted = [key for key in wanted if key.name != "relays"]
        if self._reader is not None:
            self.snapshot = self._reader.read(wanted, self.snapshot)
            return
        for key in wanted:
            if is_unread(self.snapshot.section(key)):
                absent = Missing(MissingKind.FAILED, f"{self.label} does not hold it")
                self.snapshot = self.snapshot.with_section(key, absent)

    def _ask_plugins(self, keys: Sequence[SectionKey]) -> None:
        """Have the plugins say what programs behind TUN devices do, once what that takes is read."""
        places = [key.netns for key in keys if key.netns in self.snapshot.namespaces]
        self.read_unread([SectionKey(netns, name) for netns in places for name in ("links", "sockets")])
        self.read_for_plugins()
        for netns in places:
            known = Known(self.plugins.transit(self.snapshot, netns))
            self.snapshot = self.snapshot.with_section(SectionKey(netns, "relays"), known)

    def read_for_plugins(
        self, keeps: Callable[[SectionKey], bool] = lambda key: True
    ) -> tuple[SectionKey, ...]:
        """
        Read what the plugins want to see to say what is owed, as far as *keeps* says, and return it.

        They are asked again once that is read: what is there may be a reason to look further.
        """
        wanted: tuple[SectionKey, ...] = ()
        for _ in range(_ASKED):
            more = [key for key in self.plugins.sections(self.snapshot) if keeps(key)]
            if set(more) <= set(wanted):
                break
            wanted = tuple(dict.fromkeys((*wanted, *more)))
            self.read_unread(more)
        return wanted

    def read_unread(self, keys: Iterable[SectionKey]) -> None:
        """Read those of *keys* that nobody has tried to read yet."""
        unread = [key for key in keys if is_unread(self.snapshot.section(key))]
        if unread:
            self.read(unread)

    def read_all(self) -> None:
        """Read everything there is to read."""
        self.on_read(())
        if self._reader is not None:
            self.snapshot = self._reader.read_all(self.snapshot)

    def again(self) -> "Context":
        """Return a fresh context of the same source, with nothing read yet."""
        snapshot = self._reader.skeleton() if self._reader is not None else self.snapshot
        fresh = Context(self.label, snapshot, self.plugins, self._reader)
        fresh.on_read = self.on_read
        return fresh

    def take_objects(self, objects: ObjectSource) -> None:
        """Have the Kubernetes objects of *objects*, if it was opened without a word of where they are."""
        if self._reader is not None and self._reader.take_objects(*_places(objects)):
            self.snapshot = self._reader.skeleton()
            self.asked.clear()

    def close(self) -> None:
        """End the readers' worker threads."""
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _places(objects: ObjectSource | None) -> tuple[Path | None, ApiSource | None]:
    """Return the directory and the API server that *objects* names."""
    if objects is None:
        return None, None
    file = Path(objects.kubeconfig) if objects.kubeconfig else None
    return (
        Path(objects.manifests) if objects.manifests is not None else None,
        ApiSource(file, objects.context) if objects.is_api else None,
    )


def _quietly(keys: Sequence[SectionKey]) -> None:
    """Nobody wants to know."""


def open_context(
    *,
    lab: str | None = None,
    from_files: Sequence[Path] = (),
    objects: ObjectSource | None = None,
) -> Context:
    """
    Open the source that the command line names.

    *lab*: a lab's name, "" for the only one there is, None for this machine.  *from_files*:
    snapshot files, one per node, joined into one cluster.  *objects*: where the Kubernetes
    objects come from; what an API server does not give is Missing, and told in ``remarks``.
    """
    manifests, api = _places(objects)
    plugins = load_plugins()
    if from_files:
        snapshot = joined([decode_snapshot(_bytes(path), str(path)) for path in from_files])
        if objects is not None:
            raise UserError(
                "--manifests or --kubeconfig with --from: a snapshot brings its own objects",
                hint="take the snapshot with them instead",
            )
        label = "file " + ", ".join(path.name for path in from_files)
        return Context(label, snapshot, plugins)
    remarks = recover()
    name = None
    if lab is not None:
        from nettrace.lab.store import find  # noqa: PLC0415  (the lab is not needed on a node)

        name = find(lab or None).name
    if manifests is not None and api is not None:
        raise UserError("--manifests and --kubeconfig are two sources of the same objects", hint="give one")
    reader = Reader(discover(name), lab=name, manifests=manifests, api=api)
    label = f"lab {name}" if name else "this machine"
    context = Context(label, reader.skeleton(), plugins, reader)
    told = reader.handles[0].remarks if reader.handles else ()
    context.remarks = (*remarks, *told, *(_lacking(context.snapshot.kube) if api is not None else ()))
    return context


def _lacking(kube: Kube) -> tuple[str, ...]:
    """Say what the API server did not give, and why."""
    sections = ((name, getattr(kube, name)) for name in Kube.__struct_fields__ if name != "origin")
    return tuple(
        f"no {name.replace('_', ' ')} from {kube.origin}: {section.reason}"
        for name, section in sections
        if isinstance(section, Missing)
    )


def is_unread(section: Known[Any] | Missing) -> bool:
    """Has nobody tried to read it yet?"""
    return isinstance(section, Missing) and section.kind is MissingKind.NOT_READ


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the snapshot: {error.strerror}",
            where=str(path),
            hint="give a readable file to --from",
        ) from error
