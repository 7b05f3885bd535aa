"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that stand on the command line."""
    return {name: value for name, value in settings.items() if value is not None}
