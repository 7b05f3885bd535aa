"""``flowrunner dead-letters``: what could not be delivered, and why; try it again, or delete it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Look at messages that could not be processed, replay or purge them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

StateDir = Annotated[
    Path,
    typer.Option(
        envvar="FLOWRUNNER_STATE_DIR",
        metavar="DIR",
        show_default=False,
        show_envvar=False,
        help="The state directory of `flowrunner run`. [default: .flowrunner]",
    ),
]
Flow = Annotated[
    str | None, typer.Option(metavar="NAME", show_default=False, help="Only those of this flow.")
]
NodeId = Annotated[
    str | None, typer.Option(metavar="ID", show_default=False, help="Only those that failed at this node.")
]
Reason = Annotated[
    str | None,
    typer.Option(metavar="TEXT", show_default=False, help="Only those with this text in their reason."),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", show_default=False, help="Only those since: `2h` ago, or 2026-03-01T10:00:00Z."
    ),
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", show_default=False, help="Dead letters, as `list` names them."),
]
Every = Annotated[bool, typer.Option("--all", help="Mean all, where neither IDs nor conditions are given.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Format = Annotated[Literal["text", "json"], typer.Option(help="How to print.")]
DEFAULT_DIR = Path(".flowrunner")


@app.callback()
def dead_letters() -> None:
    """Look at messages that could not be processed, replay or purge them.

    Works beside a running flowrunner and without one. Flows with `delivery: memory` have theirs in the process
    only: ask its HTTP API.
    """


@app.command("list")
def list_letters(
    *,
    state_dir: StateDir = DEFAULT_DIR,
    flow: Flow = None,
    node: NodeId = None,
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="The newest N of each flow.")] = 50,
    format: Format = "text",
) -> None:
    """List dead letters, the newest first."""
    from flowrunner.cli import dead_letters as work

    wanted = work.Wanted(state_dir, flow=flow, node=node, reason=reason, since=since, limit=limit)
    raise typer.Exit(work.list_letters(wanted, format=format))


@app.command()
def show(
    id: Annotated[
        str, typer.Argument(metavar="ID", show_default=False, help="A dead letter, as `list` names it.")
    ],
    *,
    state_dir: StateDir = DEFAULT_DIR,
    format: Format = "text",
) -> None:
    """Show one dead letter: the message, where it failed, and why in full."""
    from flowrunner.cli import dead_letters as work

    raise typer.Exit(work.show(work.Wanted(state_dir, ids=[id]), format=format))


@app.command()
def replay(
    ids: Ids = None,
    *,
    state_dir: StateDir = DEFAULT_DIR,
    flow: Flow = None,
    node: NodeId = None,
    reason: Reason = None,
    since: Since = None,
    every: Every = False,
    dry_run: DryRun = False,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait for a running flow to take them."),
    ] = 3.0,
) -> None:
    """Put messages in front of the node that failed them once more.

    A running flow takes them within a second, another one when it is started. Ends with 1 when one is refused.
    """
    from flowrunner.cli import dead_letters as work

    wanted = work.Wanted(
        state_dir, ids=ids or [], flow=flow, node=node, reason=reason, since=since, every=every
    )
    raise typer.Exit(work.replay(wanted, dry_run=dry_run, wait=wait))


@app.command()
def purge(
    ids: Ids = None,
    *,
    state_dir: StateDir = DEFAULT_DIR,
    flow: Flow = None,
    node: NodeId = None,
    reason: Reason = None,
    since: Since = None,
    every: Every = False,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete dead letters for good."""
    from flowrunner.cli import dead_letters as work

    wanted = work.Wanted(
        state_dir, ids=ids or [], flow=flow, node=node, reason=reason, since=since, every=every
    )
    raise typer.Exit(work.purge(wanted, dry_run=dry_run, yes=yes))
