"""``flowrunner dashboard`` and ``doctor``: what an operator needs around flows that run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flowrunner.cli.commands.parameters import given


def dashboard(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATH|FLOW]",
            show_default=False,
            help="Flow files, or a flow of the directory `flows`; without it, a dashboard of all that run.",
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default=False, help="Write dashboards and alert rules into DIR; else print."
        ),
    ] = None,
    query: Annotated[
        Literal["flux", "influxql"], typer.Option(help="The language for what is written into InfluxDB.")
    ] = "flux",
    max_lag: Annotated[str, typer.Option(metavar="TIME", help="Alert when a flow is further behind.")] = "5m",
    max_silence: Annotated[
        str, typer.Option(metavar="TIME", help="Alert when a source has brought nothing for longer.")
    ] = "1h",
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 when a file in DIR differs.")
    ] = False,
) -> None:
    """Make a Grafana dashboard and Prometheus alert rules.

    That of a flow has a panel for each field that the flow writes into InfluxDB. Ends with 78 when a flow is not valid.
    """
    from flowrunner.cli.dashboard import dashboard, read_limits

    limits = read_limits(max_lag, max_silence)
    if isinstance(limits, int):
        raise typer.Exit(limits)
    raise typer.Exit(dashboard(wanted, out=out, language=query, limits=limits, check=check))


def doctor(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", show_default=False, help="Flow files, or directories of them."),
    ] = None,
    *,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default=False, help="The state directory of `run`. [default: .flowrunner]"
        ),
    ] = None,
    format: Annotated[Literal["text", "json"], typer.Option(help="How to print.")] = "text",
) -> None:
    """Check the machine, the state directory, flows and the servers that they need.

    Writes nothing anywhere but an empty file in the state directory, and never shows a secret. Ends with 1 when
    something is wrong.
    """
    from flowrunner.cli.doctor import doctor

    given_here = given({"state_dir": state_dir})
    raise typer.Exit(doctor(paths or [], given_here, format=format))
