"""``flowrunner plan``: what a reload would do."""

from __future__ import annotations

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
