"""The command ``flowrunner``: its commands, and what ends a command that fails.

This module imports nothing heavy, so that ``flowrunner --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from flowrunner.cli.commands import (
    checking,
    dead_letters,
    importing,
    operating,
    planning,
    reference,
    run,
    watching,
)
from flowrunner.cli.exits import EX_SOFTWARE, complain
from flowrunner.errors import FlowrunnerError

app = typer.Typer(
    name="flowrunner",
    help="Run flow graphs written in YAML: Home Assistant and MQTT in, InfluxDB out, nothing lost silently.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich doubles the time of `--help`
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(run.run)
app.command()(checking.validate)
app.command("test")(checking.run_tests)
app.command()(checking.graph)
app.command()(planning.plan)
app.command()(planning.history)
app.command()(reference.nodes)
app.command()(reference.schema)
app.add_typer(importing.app, name="import")
app.add_typer(dead_letters.app, name="dead-letters")
app.command()(watching.tap)
app.command()(watching.top)
app.command()(operating.dashboard)
app.command()(operating.doctor)
app.command()(run.demo)
app.command()(run.health)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"flowrunner {version('flowrunner-engine')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Take the options that stand before the command."""
    del version  # its callback has done the work


def main() -> NoReturn:
    """Run the command that the arguments name and exit; never shows a traceback unless asked to."""
    os.environ.setdefault(
        "PYDANTIC_DISABLE_PLUGINS", "__all__"
    )  # it looks for them in every installed package
    code = 0
    try:
        app(prog_name="flowrunner")
    except FlowrunnerError as error:
        code = _failed(error, str(error), code=1)
    except Exception as error:
        code = _failed(error, f"internal: {type(error).__name__}: {error}", help=_BUG, code=EX_SOFTWARE)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else code
    _flush()
    sys.exit(code)


_BUG = "this is a bug in flowrunner; report it with the output of the same command under FLOWRUNNER_DEBUG=1"


def _failed(error: Exception, problem: str, *, help: str | None = None, code: int) -> int:
    if os.environ.get("FLOWRUNNER_DEBUG"):
        import traceback

        traceback.print_exception(error)
    return complain(problem, help=help, code=code)


def _flush() -> None:
    """Write out what is buffered; a reader that has gone away (`| head`) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
