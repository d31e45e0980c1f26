"""
Transcripts in Markdown: read, run for real, compared, brought up to date.

Lives here: what a fenced ``console`` block means, for README.md and docs/.

* ``$ COMMAND`` is run by bash, as root, in an empty directory; the blocks of a page run in order.
  It has to exit with 0, or with N if ``# exit N`` ends the line.
* The lines below are what it prints, standard error among it.  Compared are the words; where a line
  breaks is left to the terminal, and times, counts of draws, process ids and plan ids (VOLATILE)
  differ from run to run.  ``...`` stands for anything: lines that were left out, or words.
* The name given to ``lab up --name`` is replaced, in commands and output, by a free one of the same
  length, so that several runs stand side by side.  The lab is taken down at the end in any case.

Not here: which pages there are (scripts/docs.py).
"""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import unified_diff
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Command",
    "Played",
    "blocks",
    "commands",
    "difference",
    "environment",
    "free_name",
    "play",
    "rewritten",
]

ROOT = Path(__file__).resolve().parent.parent
LABS = Path("/run/nettrace/labs")

#: What differs from run to run, and what stands for it in a comparison.
VOLATILE = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(Z|[+-]\d\d:\d\d)?", "TIME"),
    (r"\b[0-9a-f]{8}(-\d+)?\b", "ID"),  # of a plan; `-2` when it is applied again
    (r"\b\d+(\.\d+)? (ms|s)\b", r"N \2"),
    (r"\b\d+ of \d+ steps\b", "N of N steps"),  # as many as the branches have that were drawn
    (r"\b\d+ owed flows\b", "N owed flows"),  # with those like connections that are established just now
    (r", \d+ times\b", ", N times"),  # with those that were sent again
    (r"\b\d+ of (\d\d+)\b", r"N of \1"),  # of at least ten connections
    (r"(probed [^()]*)\([^()]*\)", r"\1(WHO)"),  # of 24 connections, not surely by everybody
    (r"(?<! of) \d+(?=[,)])", ""),  # (hostnames-0 7, hostnames-1)
    (r"\[\d+\]", "[N]"),  # a rule's counter
    (r"\(\d+\)", "(N)"),  # a process
    (r"[\d,]+ bytes\b", "N bytes"),
)

_FENCE = re.compile(r"^(```+)(\w*)$")
_EXIT = re.compile(r"\s+# exit (\d+)$")
_LAB = re.compile(r"\blab up .*--name (\S+)")
_IDENTITY = re.compile(r"\b[0-9a-f]{8}\b")
_CUT = "..."

#: ``timeout in N of 24, connected in N of 24``: in the order in which they came.
_OUTCOMES = re.compile(r"\w+ in N of \d+(?:,\s+\w+ in N of \d+)+")


class Command(NamedTuple):
    """A command of a transcript: its line in the file (from 1), and the lines shown below it."""

    line: int
    text: str
    code: int
    shown: tuple[str, ...]


class Played(NamedTuple):
    """A command that was run, its exit code and its output, with the names of the page."""

    command: Command
    code: int
    printed: tuple[str, ...]


# --- reading ---------------------------------------------------------------------------------


def blocks(page: str) -> Iterator[tuple[str, int, list[str]]]:
    """Yield (language, line of its first line from 1, lines) of every fenced block."""
    fence = None
    for number, line in enumerate(page.splitlines(), 1):
        found = _FENCE.match(line)
        if fence is None and found:
            fence, language, start, body = found[1], found[2], number + 1, list[str]()
        elif fence is not None and line == fence:
            yield language, start, body
            fence = None
        elif fence is not None:
            body.append(line)


def commands(page: str) -> list[Command]:
    """Return the commands of all ``console`` blocks in order."""
    found: list[Command] = []
    for language, start, body in blocks(page):
        if language != "console":
            continue
        for number, line in enumerate(body, start):
            if line.startswith("$ "):
                ending = _EXIT.search(line)
                text = _EXIT.sub("", line)[2:]
                found.append(Command(number, text, int(ending[1]) if ending else 0, ()))
            elif found and found[-1].line >= start:
                found[-1] = found[-1]._replace(shown=(*found[-1].shown, line))
            elif line:
                raise ValueError(f"line {number}: output before the first command of its block")
    return found


# --- running ---------------------------------------------------------------------------------


def environment(directory: Path) -> dict[str, str]:
    """Return what commands run with: 80 columns, no colours, a state directory of their own."""
    path = f"{ROOT / '.venv/bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
    return {
        "PATH": path,
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "80",
        "NETTRACE_STATE": str(directory / ".state"),
    }


def play(page: str, directory: Path, *, names: Mapping[str, str] | None = None) -> Iterator[Played]:
    """
    Run the commands of *page* one after another in the empty *directory*.

    *names*: lab of the page -> its real name; free ones are drawn if it is None.
    """
    found = commands(page)
    labs = {match[1] for command in found if (match := _LAB.search(command.text))}
    given = names if names is not None else {name: free_name(len(name)) for name in sorted(labs)}
    back = {real: name for name, real in given.items()}
    identities: dict[str, str] = {}
    env = environment(directory)
    ours: set[str] = set()
    try:
        for command in found:
            if (match := _LAB.search(command.text)) and not (LABS / given[match[1]]).exists():
                ours.add(given[match[1]])
            text = _replaced(command.text, {**given, **identities})
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", text],
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            printed = _replaced(done.stdout.decode(), back)
            identities |= zip(_identities(command.shown), _identities([printed]), strict=False)
            yield Played(command, done.returncode, tuple(printed.splitlines()))
    finally:
        for real in ours:
            if (LABS / real).exists():
                down = ["nettrace", "lab", "down", real]
                subprocess.run(down, env=env, check=False, capture_output=True, timeout=60)


def free_name(length: int) -> str:
    """Draw the name of a lab that is not there."""
    while True:
        name = "q" + secrets.token_hex(length)[: length - 1]
        if not (LABS / name).exists():
            return name


def _replaced(text: str, words: Mapping[str, str]) -> str:
    """Replace whole words."""
    if not words:
        return text
    either = "|".join(re.escape(word) for word in words)
    return re.sub(rf"\b({either})\b", lambda match: words[match[0]], text)


def _identities(lines: Iterable[str]) -> list[str]:
    """Return the different plan ids in the order in which they are met."""
    return list(dict.fromkeys(_IDENTITY.findall("\n".join(lines))))


# --- comparing -------------------------------------------------------------------------------


def _steady(text: str) -> str:
    for pattern, word in VOLATILE:
        text = re.sub(pattern, word, text)
    return _OUTCOMES.sub(lambda match: ", ".join(sorted(re.split(r",\s+", match[0]))), text)


def _same(shown: Iterable[str], printed: Iterable[str]) -> bool:
    """Do the words of *shown* stand for those of *printed*?  ``...`` is any number of words."""
    wanted = _steady("\n".join(shown)).split()
    words = _steady("\n".join(printed)).split()
    if _CUT not in wanted:
        return wanted == words
    runs: list[list[str]] = [[]]
    for word in wanted:
        if word == _CUT:
            runs.append([])
        else:
            runs[-1].append(word)
    first, *middle, last = runs
    if len(words) < len(first) + len(last) or words[: len(first)] != first:
        return False
    at, end = len(first), len(words) - len(last)
    if words[end:] != last:
        return False
    for run in middle:
        while words[at : at + len(run)] != run:
            at += 1
            if at + len(run) > end:
                return False
        at += len(run)
    return at <= end


def difference(played: Played) -> str:
    """Say how what happened differs from what the page shows; "" if it does not."""
    command = played.command
    head = f"line {command.line}: $ {command.text}\n"
    if played.code != command.code:
        return f"{head}exit {played.code}, the page says {command.code}\n" + "\n".join(played.printed)
    if _same(command.shown, played.printed):
        return ""
    shown = [_steady(line) for line in command.shown]
    printed = [_steady(line) for line in played.printed]
    return head + "\n".join(unified_diff(shown, printed, "the page", "this run", lineterm="", n=1))


# --- bringing up to date ---------------------------------------------------------------------


def rewritten(page: str, run: Iterable[Played]) -> str:
    """
    Return *page* with the output of *run* where that differs, cut where it was cut.

    A part between cuts keeps its number of lines.  ValueError if a part is nowhere any more, or if a
    command ended with another code.
    """
    lines = page.splitlines()
    for played in sorted(run, key=lambda one: -one.command.line):
        command = played.command
        if not difference(played):
            continue
        if played.code != command.code:
            raise ValueError(difference(played))
        start = command.line  # counted from 1: the index of the line after the command
        lines[start : start + len(command.shown)] = _cut_alike(command, played.printed)
    return "\n".join(lines) + "\n"


def _cut_alike(command: Command, printed: tuple[str, ...]) -> list[str]:
    """Return *printed* with the cuts of what is shown; blank lines at the end stay with the page."""
    shown = list(command.shown)
    tail: list[str] = []
    while shown and not shown[-1]:
        tail.append(shown.pop())
    parts: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == _CUT:
            parts.append([])
        else:
            parts[-1].append(line)
    if len(parts) == 1:
        return [*_kept(parts[0], list(printed)), *tail]
    first, *middle, last = parts
    result, at = _kept(first, list(printed[: len(first)])), len(first)
    end = len(printed) - len(last)
    for part in middle:
        while at < end and not _same(part[:1], printed[at : at + 1]):
            at += 1
        if at >= end:
            raise ValueError(f"line {command.line}: {part[0]!r} is not printed any more")
        result += [_CUT, *_kept(part, list(printed[at : at + len(part)]))]
        at += len(part)
    return [*result, _CUT, *_kept(last, list(printed[max(end, at) :])), *tail]


def _kept(old: list[str], new: list[str]) -> list[str]:
    """Return *new*, with an old line where that has a cut in it and still holds."""
    pairs = zip(old, new, strict=False)
    kept = [was if f" {_CUT}" in was and _same([was], [now]) else now for was, now in pairs]
    return kept + new[len(kept) :]
