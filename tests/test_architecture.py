"""The bones: what imports what, and what every file owes its reader."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import nettrace

ROOT = Path(nettrace.__file__).parent.parent
PURE = ("model", "parse", "walk", "kube", "diagnose", "align", "render", "plugin_api")

#: What no pure package may bring in.  os and time are in every interpreter from its start,
#: random and what it brings are msgspec's own doing; the import contracts tell who asks for them.
IMPURE = {"lightkube", "nftables", "pyroute2", "pyshark", "scapy", "socket", "subprocess", "textual"}

HEAVY = IMPURE - {"socket", "subprocess"}

MAX_LINES = 600

SOURCES = sorted(
    path
    for folder in ("nettrace", "plugins", "tests", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def modules_after(code: str) -> set[str]:
    """Run *code* in a fresh interpreter and return the top-level names of what it imported."""
    program = (
        f"{code}\nimport sys, json\njson.dump(sorted({{m.split('.')[0] for m in sys.modules}}), sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_bring_in_nothing_that_does_io(package: str) -> None:
    """Importing every module of a pure package loads no library that reads or writes the world."""
    name = f"nettrace.{package}"
    found = importlib.import_module(name)
    names = [name, *(m.name for m in pkgutil.walk_packages(found.__path__, f"{name}."))]
    loaded = modules_after("\n".join(f"import {module}" for module in names))
    assert not loaded & IMPURE


def test_help_loads_nothing_heavy() -> None:
    """`nettrace --help` starts without the packet, netlink, terminal and cluster libraries."""
    code = (
        "from nettrace.cli.main import main\n"
        "import sys\n"
        "sys.argv = ['nettrace', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    loaded = modules_after(code)
    assert "click" in loaded
    assert not loaded & HEAVY
    assert not loaded & {"rich", "yaml"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_hold(path: Path) -> None:
    """Every file has a docstring, `__all__` where it offers something, and at most 600 lines."""
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(tree)
    exported = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and "__all__"
        in [
            t.id for t in getattr(node, "targets", [getattr(node, "target", None)]) if isinstance(t, ast.Name)
        ]
    ]
    if ROOT / "tests" in path.parents or not _defines(tree):
        return
    assert exported, "no __all__"  # that it is sorted is ruff's RUF022


def _defines(tree: ast.Module) -> bool:
    """Does the module define anything, beside its docstring?"""
    return any(not isinstance(node, ast.Expr) for node in tree.body)
