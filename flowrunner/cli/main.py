"""The command ``flowrunner``: its commands and options, and what ends a command that fails.

This module imports nothing heavy, so that ``flowrunner --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from flowrunner.cli import importing
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

app.add_typer(importing.app, name="import")

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", show_default=False, help="Flow files, or directories of them."),
]
HttpHost = Annotated[
    str | None,
    typer.Option(metavar="HOST", show_default=False, help="Address to listen on. [default: 127.0.0.1]"),
]
HttpPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        show_default=False,
        help="Port to listen on; 0 takes a free one. [default: 8080]",
    ),
]
NodeTypeName = Annotated[
    str | None, typer.Argument(metavar="[TYPE]", show_default=False, help="A node type, such as `throttle`.")
]


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


@app.command()
def run(
    paths: Paths,
    *,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default=False,
            help="Journal, checkpoints, dead letters, last good flows. [default: .flowrunner]",
        ),
    ] = None,
    http_host: HttpHost = None,
    http_port: HttpPort = None,
    log_format: Annotated[
        Literal["auto", "json", "console"] | None,
        typer.Option(show_default=False, help="`auto`: console on a terminal, else JSON. [default: auto]"),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Option(show_default=False, help="Least level logged. [default: info]"),
    ] = None,
    journal_max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            show_default=False,
            help="What the journal of one flow may take on disk. [default: 1GiB]",
        ),
    ] = None,
    journal_retention: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", show_default=False, help="How long processed records are kept. [default: 24h]"
        ),
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Time between two checkpoints. [default: 10s]"),
    ] = None,
    shutdown_grace: Annotated[
        str | None,
        typer.Option(metavar="TIME", show_default=False, help="Time from SIGTERM to the end. [default: 25s]"),
    ] = None,
    reload_poll: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", show_default=False, help="How often the flow files are looked at. [default: 1s]"
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default=False, help="First part of MQTT client ids. [default: flowrunner]"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all sources have ended.")] = False,
) -> None:
    """Run flows, and load them again when their files change.

    Every option but `--once` can also be set in the environment, as FLOWRUNNER_STATE_DIR and so on; the token
    of the HTTP API only there, as FLOWRUNNER_API_TOKEN. Ends with 0 after SIGTERM or Ctrl-C, and with 78 when no
    valid flow is there to start.
    """
    from flowrunner.cli.run import run

    given = {
        "state_dir": state_dir,
        "http_host": http_host,
        "http_port": http_port,
        "log_format": log_format,
        "log_level": log_level,
        "journal_max_bytes": journal_max_bytes,
        "journal_retention": journal_retention,
        "checkpoint_every": checkpoint_every,
        "shutdown_grace": shutdown_grace,
        "reload_poll": reload_poll,
        "instance": instance,
    }
    raise typer.Exit(run(paths, _given(given), once=once))


@app.command()
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
) -> None:
    """Show every mistake in every file, offline.

    Ends with 0 when all flows are valid, 78 when one is not.
    """
    from flowrunner.cli.validate import validate

    raise typer.Exit(validate(paths, format=format, strict=strict, env=env))


@app.command("test")
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


@app.command()
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


@app.command()
def nodes(type: NodeTypeName = None) -> None:
    """List the installed node types, or explain one."""
    from flowrunner.cli.nodes import nodes

    raise typer.Exit(nodes(type))


@app.command()
def schema(
    type: NodeTypeName = None,
    *,
    write: Annotated[
        Path | None, typer.Option(metavar="DIR", show_default=False, help="Write the schema files into DIR.")
    ] = None,
    docs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", show_default=False, help="Write the reference pages into DIR."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; end with 1 when a file in DIR differs.")
    ] = False,
) -> None:
    """Print the JSON Schema of flow files, or of one node type.

    Editors use it for completion and checks. `--write` makes the files for flows, connections and tests.
    """
    from flowrunner.cli.schema import schema

    raise typer.Exit(schema(type, write=write, docs=docs, check=check))


@app.command()
def demo(*, http_host: HttpHost = None, http_port: HttpPort = None) -> None:
    """Run a simulated home and the live page, with nothing to set up.

    An MQTT broker, twenty sensors, a flow and a SQLite database, all in this process.
    """
    from flowrunner.cli.demo import demo

    raise typer.Exit(demo(_given({"http_host": http_host, "http_port": http_port})))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that stand on the command line."""
    return {name: value for name, value in settings.items() if value is not None}


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
