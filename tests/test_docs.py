"""README.md and docs/ say what is: transcripts are run, pictures drawn, words looked up."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from nettrace.cli.codes import ExitCode
from nettrace.cli.main import root
from nettrace.model.step import Stage, Verdict
from nettrace.model.walk import Outcome
from nettrace.parse.target import parse_target
from nettrace.render.schema import KINDS, schema
from scripts.docs import PAGES, causes_table
from scripts.pictures import PICTURES, draw
from scripts.transcripts import ROOT, blocks, commands, difference, environment, play, rewritten

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="building a lab needs root")

UP_TO_DATE = "`.venv/bin/python -m scripts.docs` brings the pages up to date"

TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in PAGES}
LINKED = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_SCHEMA = re.compile(r"<!-- schema: (\w+) (\w+) -->\n\n((?:\|.*\n)+)")


# --- what is run and drawn -------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize("page", [name for name, text in TEXTS.items() if commands(text)])
def test_transcripts_are_real(page: str, tmp_path: Path) -> None:
    """Every command of a page exits as the page says, and prints what the page shows."""
    told = [difference(played) for played in play(TEXTS[page], tmp_path)]
    assert not any(told), "\n\n".join([f"{page}: {UP_TO_DATE}", *filter(None, told)])


@needs_root
def test_pictures_are_what_is_drawn_today() -> None:
    """Each picture in docs/pictures is, to the byte, what nettrace draws of a lab, and a page shows it."""
    kept = {path.name: path.read_text() for path in (ROOT / "docs/pictures").iterdir()}
    assert kept.keys() == PICTURES.keys()
    assert draw() == kept, UP_TO_DATE
    assert all(any(f"pictures/{name})" in text for text in TEXTS.values()) for name in PICTURES)


# --- what is looked up -----------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    """Every link between the pages leads to a file that is there, and to a heading that it has."""
    lost = []
    for path in LINKED:
        for target in _LINK.findall(path.read_text()):
            file, _, heading = target.partition("#")
            there = (path.parent / file).resolve() if file else path
            if "://" not in target and (not there.exists() or (heading and heading not in _headings(there))):
                lost.append(f"{path.relative_to(ROOT)}: {target}")
    assert not lost


def _headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _lines(text: str) -> Iterator[str]:
    """Every nettrace command line in a page: of its blocks, and in running text."""
    for _, _, body in blocks(text):
        yield from (line.removeprefix("$ ") for line in body if re.match(r"(\$ )?nettrace ", line))
    yield from re.findall(r"^    (nettrace .*)$", text, re.MULTILINE)
    yield from (code for code in _CODE.findall(text) if code.startswith("nettrace "))


def _options(command: click.Command) -> set[str]:
    return {"--help", "-h"}.union(*((*param.opts, *param.secondary_opts) for param in command.params))


def _wrong(line: str) -> str:
    """Say what is wrong with a command line; "" if nothing is."""
    command: click.Command = root
    context = click.Context(root)
    for word in shlex.split(line, comments=True)[1:]:
        if word in ("--", "|", ">"):
            break
        if word.startswith("-"):
            if word not in _options(command):
                return f"{line}: there is no {word}"
        elif isinstance(command, click.Group):
            found = command.get_command(context, word)
            if found is None:
                return f"{line}: there is no {word}"
            command = found
    return ""


@pytest.mark.parametrize("page", TEXTS)
def test_commands_and_options_exist(page: str) -> None:
    """Every nettrace command line that a page names has a command, and the command its options."""
    wrong = [_wrong(line) for line in _lines(TEXTS[page])]
    assert not any(wrong)


def test_options_in_running_text_exist() -> None:
    """An option that is named by itself is one of some command."""
    known = set[str]()
    waiting: list[click.Command] = [root]
    while waiting:
        command = waiting.pop()
        known |= _options(command)
        if isinstance(command, click.Group):
            context = click.Context(command)
            inside = (command.get_command(context, name) for name in command.list_commands(context))
            waiting += [found for found in inside if found is not None]
    for page in ("README.md", "docs/usage.md", "docs/json.md", "docs/lab.md"):
        named = {code.split()[0] for code in _CODE.findall(TEXTS[page]) if re.match(r"--\w", code)}
        assert named <= known, page


def test_make_targets_exist() -> None:
    """What a page wants to be made is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in TEXTS.items():
        assert set(re.findall(r"\bmake ([a-z]+)(?= *[`#])", text)) <= targets, page


def test_the_table_of_causes_is_that_of_explain() -> None:
    """README.md lists exactly the causes that are known, in the words of `nettrace explain`."""
    assert causes_table() in TEXTS["README.md"], UP_TO_DATE


def _table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    section = TEXTS[page].split(f"\n## {heading}\n")[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table, f"{page}: no table below {heading}"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[0].splitlines()]
    return cells[2:]


def test_targets_in_the_readme_are_targets() -> None:
    """Every example of a target can be read as one."""
    examples = [code for row in _table("README.md", "Targets") for code in _CODE.findall(row[0])]
    assert len(examples) >= 7
    for example in examples:
        parse_target(example)


@pytest.mark.parametrize("page", ["README.md", "docs/json.md", "docs/usage.md"])
def test_exit_codes_are_all_there(page: str) -> None:
    """The tables of exit codes have each code once."""
    heading = "Errors and exit codes" if page.endswith("usage.md") else "Exit codes"
    codes = [int(row[0]) for row in _table(page, heading) if row[0].isdigit()]
    assert codes == [code.value for code in ExitCode]


def test_verdicts_and_outcomes_are_all_there() -> None:
    """docs/verdicts.md defines each verdict and each outcome once, and docs/json.md names each stage."""
    text = TEXTS["docs/verdicts.md"]
    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert sorted(named) == sorted([*(v.value for v in Verdict), *(o.value for o in Outcome)])
    stages = next(line for line in TEXTS["docs/json.md"].splitlines() if line.startswith("| `stage` |"))
    assert {*_CODE.findall(stages)} - {"stage"} == {stage.value for stage in Stage}


def _fields(table: str) -> list[str]:
    return [code for row in table.splitlines()[2:] for code in _CODE.findall(row.split("|")[1])]


def test_json_fields_are_those_of_the_schemas() -> None:
    """Each table of docs/json.md has exactly the fields of its object; every kind is there."""
    text = TEXTS["docs/json.md"]
    tables = _SCHEMA.findall(text)
    for kind, name, table in tables:
        wanted: dict[str, Any] = schema(kind)["$defs"][name]["properties"]
        assert sorted(_fields(table)) == sorted(wanted), f"{kind} {name}"
    kinds = re.findall(r"^\| `([A-Z]\w+)` \|", text, re.MULTILINE)
    assert sorted(kinds) == sorted(KINDS)
    assert {kind for kind, _, _ in tables} == set(KINDS) - {"Finding"}  # its fields are a Walk's findings


def test_numbers_of_tests_are_not_exaggerated() -> None:
    """README.md claims no more cases than there are."""
    from tests.acceptance.faults import FAULTS
    from tests.kernel.test_walk import CASES

    claimed = re.search(r"More than (\d+) small networks", TEXTS["README.md"])
    assert claimed
    assert len(CASES) > int(claimed[1])
    assert "Fourteen faults" in TEXTS["README.md"]
    assert len(FAULTS) >= 14


def test_pages_named_in_the_code_exist() -> None:
    """A page that a docstring sends its reader to is there."""
    for path in (ROOT / "nettrace").rglob("*.py"):
        for page in re.findall(r"(?<![\w/] )\bdocs/[a-z]+\.md", path.read_text()):
            assert (ROOT / page).exists() or page == "docs/specification.md", f"{path}: {page}"


# --- the reader of transcripts itself --------------------------------------------------------

PAGE = """
```console
$ seq 4
1
...
4
$ echo 'a  b in 12 ms'; exit 3  # exit 3
a b in 7 ms
```
"""


def _played(page: str, directory: Path) -> list[str]:
    return [difference(played) for played in play(page, directory)]


def test_a_true_transcript_is_believed(tmp_path: Path) -> None:
    """Cuts, blanks and times may differ, and exit codes are read."""
    assert _played(PAGE, tmp_path) == ["", ""]


@pytest.mark.parametrize(
    ("was", "becomes", "told"),
    [
        ("\n1\n", "\n2\n", "+1"),
        ("\n4\n", "\n5\n", "-5"),
        ("...\n", "", "+2"),
        ("  # exit 3", "", "exit 3, the page says 0"),
        ("a b in", "a in", "-a in N ms"),
    ],
)
def test_a_false_transcript_is_noticed(was: str, becomes: str, told: str, tmp_path: Path) -> None:
    """A wrong line, a missing cut and a wrong exit code are told, with the line of the command."""
    said = [words for words in _played(PAGE.replace(was, becomes), tmp_path) if words]
    assert len(said) == 1
    assert said[0].startswith("line ")
    assert told in said[0]


def test_rewriting_keeps_cuts_and_what_still_holds(tmp_path: Path) -> None:
    """What is printed now takes the place of what is wrong; the rest stays as it is."""
    old = PAGE.replace("\n4\n", "\n9\n")
    assert rewritten(old, play(old, tmp_path)) == PAGE


def test_commands_of_a_page_do_not_see_the_machines_journal(tmp_path: Path) -> None:
    """The state directory of a run is its own."""
    assert environment(tmp_path)["NETTRACE_STATE"].startswith(str(tmp_path))
