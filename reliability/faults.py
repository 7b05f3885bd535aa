"""Run every scenario once and print what came of it: ``python -m reliability.faults [-k WORD] [--out FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from reliability.scenario import Result, all_scenarios, run

_TITLE = "# Every fault scenario once"
_HEAD = """\
| scenario | promise | lost | duplicated | dead-lettered | recovered in | verdict |
|---|---|--:|--:|--:|--:|---|"""


def row(result: Result) -> str:
    """Return a result as a row of the table."""
    outcome = result.outcome
    if outcome is None:
        numbers = ["", "", "", ""]
    else:
        recovered = "" if outcome.recovered_in is None else f"{outcome.recovered_in:.1f} s"
        lost = f"{outcome.lost} (told)" if outcome.lost and result.scenario.tells_loss else str(outcome.lost)
        numbers = [lost, str(outcome.duplicated), str(outcome.dead_lettered), recovered]
    verdict = "kept" if result.failure is None else "**broken**"
    return f"| {' | '.join([result.scenario.name, result.scenario.promise, *numbers, verdict])} |"


def table(results: Iterable[Result]) -> str:
    """Return all results as a Markdown table, with the reasons of failures below."""
    results = list(results)
    failures = [f"- **{r.scenario.name}**: {r.failure}" for r in results if r.failure is not None]
    return "\n".join([_HEAD, *map(row, results), *([""] if failures else []), *failures]) + "\n"


async def _run(word: str) -> list[Result]:
    results = []
    for item in all_scenarios():
        if word in item.name:
            print(f"{item.name} … ", end="", file=sys.stderr, flush=True)
            result = await run(item)
            told = "kept" if result.failure is None else result.failure
            print(f"{told} ({result.seconds:.1f} s)", file=sys.stderr, flush=True)
            results.append(result)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 when all promises were kept."""
    parser = argparse.ArgumentParser(prog="reliability.faults", description="Run every fault scenario once.")
    parser.add_argument("-k", default="", metavar="WORD", help="only scenarios with WORD in their name")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    options = parser.parse_args(arguments)
    results = asyncio.run(_run(options.k))
    text = table(results)
    print(text, end="")
    if options.out is not None:
        options.out.write_text(f"{_TITLE}\n\n{text}")
    return 0 if results and all(result.failure is None for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
