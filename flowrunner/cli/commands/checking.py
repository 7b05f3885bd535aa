"""``flowrunner validate``, ``test`` and ``graph``: what can be known of a flow without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flowrunner.cli.commands.parameters import Paths


def validate(
    paths: Paths,
    *,
    format: Annotated[
        Literal["text", "json", "github", "sarif"], typer.Option(help="How to print what is wrong.")
    ] = "text",
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    env: Annotated[
        bool, typer.Option("--env", help="Require the variables and secrets that flows name.")
    ] = False,
    connect: Annotated[
        bool, typer.Option("--connect", help="Connect to their servers, too; implies --env.")
    ] = False,
) -> None:
    """Show every mistake in every file, offline unless told to connect.

    Ends with 0 when all flows are valid, 78 when one is not.
    """
    from flowrunner.cli.validate import validate

    raise typer.Exit(validate(paths, format=format, strict=strict, env=env, connect=connect))


def run_tests(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", show_default=False, help="Test files, their flows, or directories of them."
        ),
    ],
    *,
    name: Annotated[
        str,
        typer.Option("-k", metavar="NAME", show_default=False, help="Only tests with this in their name."),
    ] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Write what came into the expectations of tests that fail.")
    ] = False,
    format: Annotated[Literal["text", "junit"], typer.Option(help="How to print the results.")] = "text",
) -> None:
    """Run the tests of flows, offline and in virtual time.

    Tests stand in `NAME.test.yaml` beside `NAME.yaml`. Ends with 0 when all pass, 1 when one fails, 78 when a
    test or a flow is not valid.
    """
    from flowrunner.cli.test import run_tests

    raise typer.Exit(run_tests(paths, name=name, rewrite=update, format=format))


def graph(
    paths: Paths,
    *,
    format: Annotated[Literal["mermaid", "dot", "svg"], typer.Option(help="What to draw.")] = "mermaid",
    stages: Annotated[bool, typer.Option("--stages", help="Show which nodes run as one task.")] = False,
    flow: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Draw only this flow of several.")
    ] = None,
) -> None:
    """Draw flows.

    Prints to standard output; `svg` draws one flow. Ends with 78 when a flow is not valid.
    """
    from flowrunner.cli.graph import graph

    raise typer.Exit(graph(paths, format=format, stages=stages, flow=flow))
