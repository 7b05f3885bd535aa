"""``flowrunner tap`` and ``top``: what look at a running flowrunner."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        show_default=False,
        help="The running flowrunner, also in FLOWRUNNER_URL. [default: http://127.0.0.1:8080]",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        show_default=False,
        help="Its API token; better in FLOWRUNNER_API_TOKEN, where no list of processes shows it.",
    ),
]


def tap(
    node: Annotated[
        str,
        typer.Argument(
            metavar="FLOW.NODE[.PORT]",
            show_default=False,
            help="What leaves a node, or one port of it; for a sink, what comes to it.",
        ),
    ],
    *,
    where: Annotated[
        str | None,
        typer.Option(metavar="CEL", show_default=False, help="Only messages for which it is true."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="N", help="Only every Nth message.")
    ] = 1,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", show_default=False, help="End after N messages.")
    ] = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why",
            help="Follow sampled messages from their sources: what each node made of them, and why.",
        ),
    ] = False,
    format: Annotated[Literal["pretty", "json"], typer.Option(help="How to print.")] = "pretty",
    url: Url = None,
    token: Token = None,
) -> None:
    """Show the messages that pass a node of a running flow.

    Never slows the flow: at most 200 messages a second are shown, and it says how many others there were. Secrets
    of the flow are masked, long values are cut. Ends with 0 after Ctrl-C or `--limit`.
    """
    from flowrunner.cli import tap as work

    wanted = work.Wanted(node, where=where, sample=sample, limit=limit, why=why, format=format)
    raise typer.Exit(work.tap(wanted, url=url, token=token))


def top(
    *,
    sort: Annotated[
        Literal["flow", "in", "out", "busy", "depth", "held", "errors", "dropped"],
        typer.Option(help="The column to sort by; `flow` is the order of the files."),
    ] = "flow",
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    format: Annotated[Literal["text", "json"], typer.Option(help="How to print.")] = "text",
    url: Url = None,
    token: Token = None,
) -> None:
    """Show a live table of all nodes: rates, load, channels, errors, drops.

    On a terminal, the first letters of the columns sort, `r` turns the order around, `q` ends. `--format json`
    prints one object a second, or one with `--once`.
    """
    from flowrunner.cli import top as work

    raise typer.Exit(work.top(sort=sort, once=once, format=format, url=url, token=token))
