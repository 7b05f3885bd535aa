"""``flowrunner plan`` and ``history``: what a reload would do, and what reloads have done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

_SIDE = "A flow file, a directory of them, or a git revision such as HEAD~1:flows."


def plan(
    old: Annotated[str, typer.Argument(metavar="OLD", show_default=False, help=_SIDE)],
    new: Annotated[str, typer.Argument(metavar="NEW", show_default=False, help=_SIDE)],
    *,
    format: Annotated[
        Literal["text", "json", "markdown"],
        typer.Option(help="How to print; `markdown` suits a comment on a pull request."),
    ] = "text",
) -> None:
    """Show what a reload would keep, restart, lose.

    Runs nothing. Variables are taken from the environment for both. Ends with 78 when NEW has mistakes.
    """
    from flowrunner.cli.plan import plan

    raise typer.Exit(plan(old, new, format=format))


def history(
    flow: Annotated[
        str | None, typer.Argument(metavar="[FLOW]", show_default=False, help="Only this flow.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="The newest N.")] = 20,
    format: Annotated[Literal["text", "json"], typer.Option(help="How to print.")] = "text",
    state_dir: Annotated[
        Path,
        typer.Option(
            envvar="FLOWRUNNER_STATE_DIR",
            metavar="DIR",
            show_default=False,
            show_envvar=False,
            help="The state directory of `flowrunner run`. [default: .flowrunner]",
        ),
    ] = Path(".flowrunner"),
) -> None:
    """Show which versions of flows were applied or refused, the newest first.

    Reads the catalog in the state directory, or the one that FLOWRUNNER_CATALOG_URL names. Works beside a
    running flowrunner and without one.
    """
    from flowrunner.cli.history import history

    raise typer.Exit(history(flow, limit=limit, format=format, state_dir=state_dir))
