"""``flowrunner import``: other programs' configuration as flows."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flowrunner.cli.exits import EX_CONFIG, complain

app = typer.Typer(
    help="Convert the configuration of other programs into flows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def programs() -> None:
    """Convert the configuration of other programs into flows."""


@app.command("ha-influxdb")
def ha_influxdb(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="The configuration.yaml, or a package.")
    ],
    *,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Where `!secret` looks. [default: secrets.yaml beside FILE]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write a new file, not to standard output."),
    ] = None,
) -> None:
    """Make a flow of Home Assistant's `influxdb:` section.

    What is different is listed on standard error. No secret is written: the flow has variables in their place. Ends with
    78 when the section cannot be understood.
    """
    raise typer.Exit(import_ha_influxdb(file, secrets=secrets, out=out))


def import_ha_influxdb(file: Path, *, secrets: Path | None, out: Path | None) -> int:
    """Write the flow and return the exit code."""
    from flowrunner.importing.errors import CannotImport
    from flowrunner.importing.ha_influxdb import read_integration
    from flowrunner.importing.ha_influxdb_flow import differences, flow_text
    from flowrunner.importing.ha_yaml import Section

    if not file.is_file():
        return complain(f"there is no file {file}", help="name the configuration.yaml of Home Assistant")
    try:
        section = Section(file, secrets=secrets, environment=os.environ).read("influxdb")
        integration = read_integration(section)
    except CannotImport as error:
        return complain(str(error), help=error.help, code=EX_CONFIG)
    text = flow_text(integration)
    if out is None:
        sys.stdout.write(text)
    elif (failure := _write_new(out, text)) is not None:
        return complain(f"cannot write {out}: {failure}", help="name a file that does not exist yet")
    for number, difference in enumerate(differences(integration), 1):
        sys.stderr.write(f"{number}. {difference}\n")
    return 0


def _write_new(file: Path, text: str) -> str | None:
    """Write a file that is not there yet, and return why not."""
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        return error.strerror or str(error)
    return None
