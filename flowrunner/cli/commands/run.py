"""``flowrunner run`` and ``demo``, which go on until they are stopped, and ``health``, which asks whether they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flowrunner.cli.commands.parameters import HttpHost, HttpPort, Paths, given


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
    dead_letters_max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            show_default=False,
            help="What the dead letters of one flow may take; the oldest give way. [default: 64MiB]",
        ),
    ] = None,
    dead_letters_retention: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", show_default=False, help="How long dead letters are kept. [default: 30d]"
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
    once_valid: Annotated[
        bool,
        typer.Option("--once-valid", help="End when the flows have started: 0, or 78 if one is not valid."),
    ] = False,
    strict_start: Annotated[
        bool,
        typer.Option("--strict-start", help="Start and reload only what has all its connections up."),
    ] = False,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            show_default=False,
            help="Without any valid flow: wait for one, or end with 78. [default: --wait in Kubernetes]",
        ),
    ] = None,
) -> None:
    """Run flows, and load them again when their files change.

    Every option with a value can also be set in the environment, as FLOWRUNNER_STATE_DIR and so on; what
    has a secret only there: FLOWRUNNER_API_TOKEN and FLOWRUNNER_CATALOG_URL. Ends with 0 after SIGTERM or
    Ctrl-C, and with 78 when no valid flow is there to start.
    """
    from flowrunner.cli.mode import Mode, in_kubernetes
    from flowrunner.cli.run import run

    mode = Mode(once, once_valid, strict_start, in_kubernetes() if wait is None else wait)

    settings = {
        "state_dir": state_dir,
        "http_host": http_host,
        "http_port": http_port,
        "log_format": log_format,
        "log_level": log_level,
        "journal_max_bytes": journal_max_bytes,
        "journal_retention": journal_retention,
        "dead_letters_max_bytes": dead_letters_max_bytes,
        "dead_letters_retention": dead_letters_retention,
        "checkpoint_every": checkpoint_every,
        "shutdown_grace": shutdown_grace,
        "reload_poll": reload_poll,
        "instance": instance,
    }
    raise typer.Exit(run(paths, given(settings), mode=mode))


def demo(*, http_host: HttpHost = None, http_port: HttpPort = None) -> None:
    """Run a simulated home and the live page, with nothing to set up.

    An MQTT broker, twenty sensors, a flow and a SQLite database, all in this process.
    """
    from flowrunner.cli.demo import demo

    raise typer.Exit(demo(given({"http_host": http_host, "http_port": http_port})))


def health(
    *,
    ready: Annotated[
        bool, typer.Option("--ready", help="Whether all runs as it should, and not only the process.")
    ] = False,
    http_host: Annotated[
        str,
        typer.Option(
            envvar="FLOWRUNNER_HTTP_HOST",
            metavar="HOST",
            show_envvar=False,
            help="Address that it listens on.",
        ),
    ] = "127.0.0.1",
    http_port: Annotated[
        int,
        typer.Option(
            envvar="FLOWRUNNER_HTTP_PORT",
            metavar="PORT",
            min=1,
            max=65535,
            show_envvar=False,
            help="Port that it listens on.",
        ),
    ] = 8080,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How long to wait for the answer.")
    ] = 3.0,
) -> None:
    """Ask the flowrunner on this machine whether it is well.

    Ends with 0, or with 1 and the reasons: for the health check of a container, which has no other client.
    """
    from flowrunner.cli.health import health

    raise typer.Exit(health(http_host, http_port, ready=ready, seconds=timeout))
