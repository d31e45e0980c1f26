"""Plugins: loaded like a third party's, refused by name where they do not fit, asked as one."""

import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import nettrace
from nettrace.app.plugins import Plugins, load_plugins
from nettrace.diagnose.cause import Cause
from nettrace.diagnose.causes import CAUSES
from nettrace.model.errors import UserError
from nettrace.model.owed import OwedRoute
from nettrace.model.section import SectionKey
from nettrace.plugin_api import Topology, hookimpl
from nettrace.plugin_api.manager import hook_names, make_manager
from tests.diagnose.worlds import cluster, docker_host


class Stranger:
    """A third party's plugin."""

    @hookimpl
    def nettrace_topologies(self) -> Sequence[Topology]:
        """One network."""
        return (Topology(name="ring", summary="a ring", builder="stranger.ring:build"),)


class Twin:
    """A plugin that brings a cause the core has."""

    @hookimpl
    def nettrace_causes(self) -> Sequence[Cause]:
        """The core's own."""
        return CAUSES[:1]


class Misspelt:
    """A plugin with a hook that does not exist."""

    @hookimpl
    def nettrace_owe(self) -> None:
        """Never called."""


class Renamed:
    """A plugin whose marker names a hook that does not exist."""

    @hookimpl(specname="nettrace_owe")
    def owe(self) -> None:
        """Never called."""


class Greedy:
    """A plugin that wants an argument no caller gives."""

    @hookimpl
    def nettrace_owes(self, snapshot: Any, everything: Any) -> Sequence[Any]:
        """Never called."""
        return ()


def plugins(*offered: object) -> Plugins:
    """These plugins, by their class names."""
    return Plugins(make_manager((type(p).__name__.lower(), p) for p in offered))


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (Misspelt(), "plugin misspelt implements hooks that do not exist: nettrace_owe"),
        (Renamed(), "plugin renamed does not fit this nettrace: unknown hook 'nettrace_owe'"),
        (Greedy(), "plugin greedy does not fit this nettrace: "),
    ],
)
def test_what_fits_no_hook_is_refused_by_name(plugin: object, words: str) -> None:
    """An unknown hook, or one that asks for what it will not get, names the plugin and the next step."""
    with pytest.raises(UserError) as caught:
        plugins(plugin)
    assert caught.value.what.startswith(words)
    assert caught.value.hint


def test_two_plugins_of_one_name() -> None:
    """A name belongs to one plugin."""
    with pytest.raises(UserError, match="plugin stranger does not fit"):
        plugins(Stranger(), Stranger())


def test_two_causes_of_one_id() -> None:
    """A cause's id belongs to one cause."""
    with pytest.raises(UserError, match=f"two causes are called {CAUSES[0].id}"):
        plugins(Twin()).causes()


def test_the_installed_plugins() -> None:
    """They are found by their entry points, and their causes join the core's."""
    loaded = load_plugins()
    assert {"calico", "docker", "flannel"} <= {*loaded.names}
    ids = [cause.id for cause in loaded.causes()]
    assert ids == sorted(ids)
    assert {"docker-dnat-missing", "flannel-fdb-missing", "ip-forward-off"} <= set(ids)
    assert {"docker", "flannel-vxlan"} <= {one.name for one in loaded.topologies()}


def test_all_are_asked() -> None:
    """Sections, owed state, detection and names come from all plugins together."""
    loaded = load_plugins()
    world = cluster()
    assert SectionKey("", "kube/nodes") in loaded.sections(world.snapshot)
    assert {item.owner for item in loaded.owes(world.snapshot, "node-a")} == {"flanneld"}
    assert [found.name for found in loaded.detect(world.snapshot)] == ["flannel"]
    assert [found.name for found in loaded.detect(docker_host().snapshot)] == ["docker"]
    assert loaded.name(world.snapshot, "node-a", "links/cni0") == "the bridge of flannel's pods"
    assert loaded.name(world.snapshot, "node-a", "links/nothing") is None
    assert [topology.name for topology in plugins(Stranger()).topologies()] == ["ring"]


def test_a_plugin_that_cannot_be_imported() -> None:
    """Whatever a plugin's module raises becomes an error that names it."""
    point = EntryPoint(name="gone", value="nettrace_plugins.gone:plugin", group="nettrace")
    with pytest.raises(UserError, match="plugin gone cannot be loaded: ModuleNotFoundError") as caught:
        load_plugins([point])
    assert caught.value.where == "nettrace_plugins.gone:plugin"


def test_the_hooks_are_those_of_the_design() -> None:
    """detect, sections, name, owes, causes, delegate, topologies, transit: no more and no less."""
    assert hook_names() == [
        f"nettrace_{name}"
        for name in (
            "causes",
            "delegate",
            "detect",
            "kinds",
            "map_words",
            "maps",
            "name",
            "owes",
            "owners",
            "sections",
            "service_table",
            "topologies",
            "transit",
        )
    ]


def test_the_example_of_the_documentation_works() -> None:
    """The plugin in docs/plugins.md owes what it says, and its cause compiles; test_example has its lab."""
    text = (Path(nettrace.__file__).parent.parent / "docs" / "plugins.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        if "nettrace.lab" not in block:
            exec(block, names)  # noqa: S102  (the project's own page)
    world = cluster()
    loaded = plugins(names["plugin"])
    assert SectionKey("", "kube/nodes") in loaded.sections(world.snapshot)
    (owed,) = loaded.owes(world.snapshot, "node-a")
    assert isinstance(owed, OwedRoute)
    assert owed.route.dst == "10.244.2.0/24"
    assert loaded.owes(world.snapshot, "node-z") == ()
    assert callable(names["_candidates"])
