"""
Options that several commands share: where state comes from, which packet.

Lives here: the decorators, and what they hand to a command.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from nettrace.cli.terminal import say

if TYPE_CHECKING:
    from nettrace.app.context import Context
    from nettrace.app.remember import Question
    from nettrace.model.object_source import ObjectSource

__all__ = ["PacketOptions", "Source", "duration", "lab_option", "packet_options", "source_options"]

Command: TypeAlias = Callable[..., Any]

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Source(NamedTuple):
    """Where state comes from."""

    lab: str | None
    from_files: tuple[Path, ...]
    manifests: Path | None
    kubeconfig: str | None = None
    kube_context: str | None = None

    @property
    def objects(self) -> "ObjectSource | None":
        """Where Kubernetes objects come from, seen from any directory; None if that was not named."""
        if self.manifests is None and self.kubeconfig is None and self.kube_context is None:
            return None
        from nettrace.model.object_source import ObjectSource

        return ObjectSource(
            manifests=str(self.manifests.resolve()) if self.manifests is not None else None,
            kubeconfig=str(Path(self.kubeconfig).resolve()) if self.kubeconfig else self.kubeconfig,
            context=self.kube_context,
        )

    def open(self) -> "Context":
        """Open it, and tell what had to be put right for it; UserError if it is not there."""
        from nettrace.app.context import open_context

        context = open_context(lab=self.lab, from_files=self.from_files, objects=self.objects)
        for remark in context.remarks:
            say(f"note: {remark}")
        return context


class PacketOptions(NamedTuple):
    """What the first packet is to look like."""

    sport: int | None
    size: int | None
    mark: int
    ttl: int
    df: bool
    at: str | None
    goal: str

    @classmethod
    def plain(cls) -> "PacketOptions":
        """Return what the options are where none is given."""
        return cls(sport=None, size=None, mark=0, ttl=64, df=True, at=None, goal="")

    def question(self, source: str, target: str, objects: "ObjectSource | None") -> "Question":
        """Return the question that these options ask."""
        from nettrace.app.remember import Question

        return Question(source=source, target=target, objects=objects, **self._asdict())


def lab_option(command: Command) -> Command:
    """Add ``--lab [NAME]``: None without it, "" without a name."""
    return click.option(
        "--lab",
        is_flag=False,
        flag_value="",
        default=None,
        metavar="[NAME]",
        help="A lab; the only one if unnamed.",
    )(command)


def source_options(command: Command) -> Command:
    """
    Add ``--lab``, ``--from``, ``--manifests``, ``--kubeconfig`` and ``--context``.

    The command gets them as ``source``.
    """

    @wraps(command)
    def wrapped(
        *args: Any,
        lab: str | None,
        from_files: tuple[Path, ...],
        manifests: Path | None,
        kubeconfig: str | None,
        kube_context: str | None,
        **kwargs: Any,
    ) -> Any:
        if lab is not None and from_files:
            raise click.UsageError("--lab and --from name two different sources", click.get_current_context())
        source = Source(lab, from_files, manifests, kubeconfig, kube_context)
        return command(*args, source=source, **kwargs)

    file = click.Path(dir_okay=False, path_type=Path)
    folder = click.Path(path_type=Path)
    wrapped = click.option(
        *("--context", "kube_context"), metavar="NAME", help="Which context of the kubeconfig."
    )(wrapped)
    wrapped = click.option(
        "--kubeconfig",
        is_flag=False,
        flag_value="",
        default=None,
        metavar="[FILE]",
        help="Kubernetes objects from the API server; as kubectl finds it if unnamed.",
    )(wrapped)
    wrapped = click.option(
        "--manifests", type=folder, metavar="DIR", help="Kubernetes objects from files (YAML or JSON)."
    )(wrapped)
    wrapped = click.option(
        "--from",
        "from_files",
        type=file,
        multiple=True,
        metavar="FILE",
        help="A snapshot; one for each node.",
    )(wrapped)
    return lab_option(wrapped)


def packet_options(command: Command) -> Command:
    """Add ``--sport --size --mark --ttl --df --at --goal``; the command gets them as ``packet``."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = PacketOptions(**{name: kwargs.pop(name) for name in PacketOptions._fields})
        return command(*args, packet=given, **kwargs)

    port = click.IntRange(1, 65535)
    options = [
        click.option("--sport", type=port, help="Source port; the kernel's choice otherwise."),
        click.option("--size", type=click.IntRange(20, 65535), help="Bytes of the first IP packet."),
        click.option(
            "--mark", type=_Mark(), default=0, help="The socket's mark (SO_MARK), as 0x4000 or 16384."
        ),
        click.option(
            "--ttl", type=click.IntRange(1, 255), default=64, show_default=True, help="Time to live."
        ),
        click.option("--df/--no-df", default=True, show_default=True, help="The don't-fragment bit."),
        click.option(
            "--at",
            metavar="NETNS/DEVICE",
            help="It arrives there as a frame; SRC is the address it comes from.",
        ),
        click.option(
            "--goal",
            type=click.Choice(["owed", "connected"]),
            default="owed",
            callback=_goal,
            help="What to hold it against: what is owed to it, or that it gets through, policies or not.",
        ),
    ]
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def _goal(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Nothing is stated where it is what is owed."""
    return "" if value == "owed" else value


class _Mark(click.ParamType[int]):
    """A 32-bit number, decimal or with 0x."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        try:
            number = value if isinstance(value, int) else int(value, 0)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        if not 0 <= number < 1 << 32:
            self.fail(f"{value!r} is no mark of 32 bits", param, ctx)
        return number


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Read ``60s``, ``2m``, ``1h`` or bare seconds; a callback for click."""
    if value is None:
        return None
    number, unit = (value[:-1], value[-1]) if value and value[-1].isalpha() else (value, "")
    if unit not in _UNITS or not number.replace(".", "", 1).isdecimal() or float(number) <= 0:
        raise click.BadParameter(f"{value!r} is no duration such as 60s or 2m", ctx, param)
    return float(number) * _UNITS[unit]
