"""``flowrunner dead-letters``: list, show, replay and purge what is in the state directory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from flowrunner.cli.exits import complain
from flowrunner.clock import SystemClock
from flowrunner.errors import FlowrunnerError
from flowrunner.runtime.letters.facts import facts, letter_id, parse_id, parse_since, when
from flowrunner.runtime.letters.file import LetterFile, letter_files
from flowrunner.runtime.letters.table import Kept, Selection

_ALL = 2**62
_LOOK = 0.2
_WIDEST = 40

type Found = list[tuple[LetterFile, Kept]]


class Wanted(msgspec.Struct, frozen=True):
    """What the arguments of a command mean."""

    state_dir: Path
    ids: Sequence[str] = ()
    flow: str | None = None
    node: str | None = None
    reason: str | None = None
    since: str | None = None
    every: bool = False
    limit: int = _ALL

    @property
    def is_anything(self) -> bool:
        """Whether something is named: nothing is replayed or purged by leaving everything out."""
        return bool(self.every or self.ids or self.flow or self.node or self.reason or self.since)


def list_letters(wanted: Wanted, *, format: Literal["text", "json"]) -> int:
    """Print the newest letters and return the exit code."""
    found = sorted(_find(wanted), key=lambda one: one[1].letter.created, reverse=True)[: wanted.limit]
    if format == "json":
        _print_json([facts(file.flow, kept) for file, kept in found])
    elif found:
        _print_table([_row(file.flow, kept) for file, kept in found])
    else:
        sys.stderr.write("no dead letters\n")
    return 0


def show(wanted: Wanted, *, format: Literal["text", "json"]) -> int:
    """Print one letter and return the exit code."""
    (file, kept), *_ = _find(wanted)
    told = facts(file.flow, kept)
    if format == "json":
        _print_json(told)
        return 0
    for name in ("payload", "meta", "data"):
        told[name] = None if told[name] is None else _json(told[name]).decode()
    for name, value in told.items():
        if value is not None:
            sys.stdout.write(f"{name:<10} {_safe(str(value))}\n")
    return 0


def replay(wanted: Wanted, *, dry_run: bool, wait: float) -> int:
    """Ask for letters to be replayed, wait for what comes of it, and return the exit code."""
    if not wanted.is_anything:
        return _name_something("replay")
    found = _find(wanted)
    if dry_run:
        return _tell(found, "would be replayed")
    for file, letters in _by_file(found).items():
        file.want([kept.number for kept in letters])
    left = _wait_for(found, wait)
    refused = [(file, kept) for file, kept in left if kept.refused is not None]
    for file, kept in refused:
        sys.stderr.write(f"{letter_id(file.flow, kept.number)} is refused: {_safe(str(kept.refused))}\n")
    waiting = len(left) - len(refused)
    if replayed := len(found) - len(left):
        sys.stdout.write(f"replayed: {_count(replayed)}\n")
    if waiting:
        sys.stdout.write(f"will be replayed when their flow runs: {_count(waiting)}\n")
    if not found:
        sys.stdout.write("no dead letters\n")
    return 1 if refused else 0


def purge(wanted: Wanted, *, dry_run: bool, yes: bool) -> int:
    """Delete letters, when that is meant, and return the exit code."""
    if not wanted.is_anything:
        return _name_something("purge")
    found = _find(wanted)
    if not found:
        sys.stdout.write("no dead letters\n")
        return 0
    if dry_run:
        return _tell(found, "would be purged")
    if not yes and not _agreed(len(found)):
        return complain("nothing is purged", help="answer `y`, or give --yes", code=1)
    purged = sum(file.purge(letters) for file, letters in _by_file(found).items())
    sys.stdout.write(f"purged: {_count(purged)}\n")
    return 0


def _find(wanted: Wanted) -> Found:
    """Return the letters that are meant. Raises :class:`FlowrunnerError` when a named one is not there."""
    files = _files(wanted)
    since = None if wanted.since is None else parse_since(wanted.since, SystemClock().now())
    conditions = Selection(
        node=wanted.node, reason=wanted.reason, since=since, newest=True, limit=wanted.limit
    )
    if not wanted.ids:
        return [(file, kept) for file in files.values() for kept in file.read(conditions)]
    found: Found = []
    for text in dict.fromkeys(wanted.ids):
        flow, number = parse_id(text)
        chosen = msgspec.structs.replace(conditions, numbers=[number])
        letters = files[flow].read(chosen) if flow in files else []
        if not letters:
            raise FlowrunnerError(f"there is no dead letter {text} in {wanted.state_dir}")
        found += [(files[flow], kept) for kept in letters]
    return found


def _files(wanted: Wanted) -> Mapping[str, LetterFile]:
    if not wanted.state_dir.is_dir():
        raise FlowrunnerError(f"there is no state directory {wanted.state_dir}: name it with --state-dir")
    files = letter_files(wanted.state_dir)
    if wanted.flow is None:
        return files
    if wanted.flow not in files:
        raise FlowrunnerError(f"flow `{wanted.flow}` has no state in {wanted.state_dir}")
    return {wanted.flow: files[wanted.flow]}


def _wait_for(found: Found, seconds: float) -> Found:
    """Return the letters that are still there, refused or waiting, when all are settled or time is up."""
    until = time.monotonic() + seconds
    while True:
        left = [
            (file, kept)
            for file, letters in _by_file(found).items()
            for kept in file.read(Selection(numbers=[one.number for one in letters], limit=_ALL))
        ]
        if time.monotonic() >= until or not any(kept.wanted for _, kept in left):
            return left
        time.sleep(_LOOK)


def _by_file(found: Found) -> dict[LetterFile, list[Kept]]:
    files: dict[LetterFile, list[Kept]] = {}
    for file, kept in found:
        files.setdefault(file, []).append(kept)
    return files


def _name_something(command: str) -> int:
    return complain(
        f"`dead-letters {command}` needs to know which", help="name IDs, give conditions, or say --all"
    )


def _agreed(count: int) -> bool:
    sys.stderr.write(f"Delete {_count(count)} for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _tell(found: Found, what: str) -> int:
    for file, kept in found:
        sys.stdout.write(f"{letter_id(file.flow, kept.number)}\n")
    sys.stdout.write(f"{what}: {_count(len(found))}\n")
    return 0


def _count(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number} dead letters"


def _row(flow: str, kept: Kept) -> list[str]:
    letter = kept.letter
    reason = letter.reason if kept.refused is None else f"{letter.reason} (replay refused: {kept.refused})"
    if kept.wanted:
        reason += " (to be replayed)"
    shown = [letter_id(flow, kept.number), when(letter.created), letter.node, str(letter.tried)]
    return [*shown, _short(letter.topic, _WIDEST), _safe(reason)]


def _print_table(rows: list[list[str]]) -> None:
    rows = [["ID", "FAILED AT", "NODE", "TRIED", "TOPIC", "REASON"], *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        left = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        reason = row[-1] if not sys.stdout.isatty() else _short(row[-1], max(20, _columns() - len(left) - 2))
        sys.stdout.write(f"{left}  {reason}".rstrip() + "\n")


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except OSError:
        return 80


def _short(text: str, width: int) -> str:
    text = _safe(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _safe(text: str) -> str:
    """Return a text without anything that a terminal would obey: it comes from outside."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _print_json(value: Any) -> None:
    sys.stdout.write(msgspec.json.format(_json(value), indent=2).decode() + "\n")
