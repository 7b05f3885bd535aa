"""``flowrunner top``: a live table of the nodes of a running flowrunner."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flowrunner.cli.api import Api, ApiError
from flowrunner.cli.exits import complain
from flowrunner.cli.keys import Keys

type Column = Literal["flow", "in", "out", "busy", "depth", "held", "errors", "dropped"]

_KEYS: dict[str, Column] = {
    "f": "flow",
    "i": "in",
    "o": "out",
    "b": "busy",
    "c": "depth",
    "h": "held",
    "e": "errors",
    "d": "dropped",
}


class Row(msgspec.Struct, frozen=True):
    """One node: rates a second over the last second, the others as they are now or in all."""

    flow: str
    node: str
    type: str
    status: str
    received: float
    emitted: float
    busy: float
    """Share of the time in which the node works, in percent."""
    depth: int
    capacity: int
    held: int
    errors: int
    dropped: int
    """Messages dropped, whatever the reason."""
    dead_lettered: int
    reason: str | None = None

    def key(self, column: Column) -> float:
        """Return what a column sorts by; the largest comes first."""
        values = {
            "flow": 0.0,
            "in": self.received,
            "out": self.emitted,
            "busy": self.busy,
            "depth": self.depth / max(self.capacity, 1),
            "held": float(self.held),
            "errors": float(self.errors),
            "dropped": float(self.dropped + self.dead_lettered),
        }
        return -values[column]


class Look(msgspec.Struct, frozen=True):
    """What was seen at one moment."""

    time: float
    ready: bool
    flows: dict[str, dict[str, Any]]
    rows: list[Row]


def top(
    *, sort: Column, once: bool, format: Literal["text", "json"], url: str | None, token: str | None
) -> int:
    """Show the table until ``q`` or Ctrl-C, with ``once`` a single one; return the exit code."""
    try:
        looks = look(Api(url, token))
        if format == "json":
            return _print_json(looks, once=once)
        if once or not sys.stdout.isatty():
            return _print_once(looks, sort)
        return _live(looks, sort)
    except ApiError as error:
        return complain(str(error), help=error.help, code=1)
    except KeyboardInterrupt:
        return 0


def look(api: Api) -> Iterator[Look]:
    """Return a look at each second but the first, which has nothing to compare with."""
    before: dict[str, Any] | None = None
    for now in api.lines("/api/v1/events"):
        if before is not None:
            yield Look(now["time"], now["ready"], now["flows"], rows(before, now))
        before = now
    raise ApiError(f"{api.url} has ended the stream")


def rows(before: dict[str, Any], now: dict[str, Any]) -> list[Row]:
    """Return the nodes of all flows, from two snapshots."""
    seconds = max(0.001, now["time"] - before["time"])
    return [
        _row(name, node, count, before["flows"].get(name, {}).get("nodes", {}).get(node, count), seconds)
        for name, flow in now["flows"].items()
        for node, count in flow["nodes"].items()
    ]


def _row(flow: str, node: str, now: dict[str, Any], before: dict[str, Any], seconds: float) -> Row:
    return Row(
        flow=flow,
        node=node,
        type=now["type"],
        status=now["status"],
        received=max(0, now["received"] - before["received"]) / seconds,
        emitted=max(0, _sent(now) - _sent(before)) / seconds,
        busy=max(0.0, now["busy"] - before["busy"]) / seconds * 100,
        depth=now["depth"],
        capacity=now["capacity"],
        held=now["held"],
        errors=now["errors"],
        dropped=sum(now["dropped"].values()),
        dead_lettered=now["dead_lettered"],
        reason=now["reason"],
    )


def _sent(node: dict[str, Any]) -> int:
    """Return what left a node: by its ports, or into the world."""
    return int(sum(node["emitted"].values()) + node["written"])


def _print_json(looks: Iterator[Look], *, once: bool) -> int:
    for seen in looks:
        lag = {name: flow["lag"] for name, flow in seen.flows.items()}
        told = {"time": seen.time, "ready": seen.ready, "lag": lag, "nodes": msgspec.to_builtins(seen.rows)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        if once:
            break
    return 0


def _print_once(looks: Iterator[Look], sort: Column) -> int:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table(next(looks), sort))
    return 0


def _live(looks: Iterator[Look], sort: Column) -> int:
    turned = False
    with Keys(sys.stdin) as keys, Live(auto_refresh=False, screen=True) as live:
        for seen in looks:
            for key in keys.pressed():
                if key == "q":
                    return 0
                turned = not turned if key == "r" else turned
                sort = _KEYS.get(key, sort)
            live.update(table(seen, sort, turned=turned), refresh=True)
    return 0


def table(seen: Look, sort: Column, *, turned: bool = False) -> Table:
    """Return the table; what a person should look at is in colour."""
    made = Table(title=_title(seen), title_justify="left", box=None, pad_edge=False, header_style="bold")
    names = ["flow", "node", "type", "in/s", "out/s", "busy", "channel", "held", "errors", "dropped", "dead"]
    sorted_by = {"in": "in/s", "out": "out/s", "depth": "channel"}.get(sort, sort)
    for name in names:
        mark = (" ▲" if turned else " ▼") if name == sorted_by and sort != "flow" else ""
        made.add_column(
            name + mark, justify="left" if name in ("flow", "node", "type") else "right", no_wrap=True
        )
    chosen = sorted(seen.rows, key=lambda row: row.key(sort))
    for row in reversed(chosen) if turned else chosen:
        made.add_row(*_cells(row))
    return made


def _title(seen: Look) -> Text:
    text = Text("ready" if seen.ready else "not ready", style="green" if seen.ready else "bold red")
    for name, flow in seen.flows.items():
        lag = flow["lag"]
        text.append(f"   {name}", style="bold default")
        text.append(f" {flow['status']}", style="green" if flow["status"] == "running" else "bold red")
        text.append(f" lag {lag:.1f} s", style="bold red" if lag > 10 else "yellow" if lag > 1 else "dim")
    return text


def _cells(row: Row) -> list[Text]:
    style = {"running": "", "failed": "bold red", "degraded": "yellow"}.get(row.status, "dim")
    channel = f"{row.depth}/{row.capacity}" if row.capacity else ""
    return [
        Text(row.flow, style="dim"),
        Text(row.node, style=style),
        Text(row.type, style="dim"),
        Text(rate(row.received)),
        Text(rate(row.emitted)),
        Text(f"{row.busy:.1f} %" if row.busy >= 0.05 else "", style="yellow" if row.busy > 50 else ""),
        Text(
            channel, style="bold red" if row.depth >= row.capacity > 0 else "yellow" if row.depth else "dim"
        ),
        Text(_count(row.held)),
        Text(_count(row.errors), style="red"),
        Text(_count(row.dropped), style="bold red"),
        Text(_count(row.dead_lettered), style="red"),
    ]


def rate(per_second: float) -> str:
    """Return a rate in few characters; nothing for none."""
    if per_second <= 0:
        return ""
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
