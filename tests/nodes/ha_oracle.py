"""What a real Home Assistant wrote: states as its WebSocket told them, and the lines of its `influxdb` integration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowrunner import Message

FOLDER = Path(__file__).parents[1] / "data" / "ha_influxdb_lines"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_LINE = re.compile(r"(?<= \d{19})\n")


def captured_lines(name: str = "2025.4.4") -> list[str]:
    """Return the lines of a capture; one may contain line breaks, which 2025.4.4 wrote as they were."""
    text = (FOLDER / f"{name}.lines").read_text()
    return [line.strip("\n") for line in _END_OF_LINE.split(text) if line.strip("\n")]


def captured_messages(name: str = "2025.4.4") -> list[Message]:
    """Return the state changes of a capture as `ha_in` sends them, without removals."""
    lines = (FOLDER / f"{name}.events.jsonl").read_text().splitlines()
    events = [json.loads(line)["data"] for line in lines]
    return [as_message(event["new_state"]) for event in events if event["new_state"] is not None]


def as_message(state: Mapping[str, Any]) -> Message:
    """Return the message for a state as the WebSocket API shows it."""
    updated = datetime.fromisoformat(state["last_updated"]) - _EPOCH
    time = updated // timedelta(microseconds=1) * 1_000
    names = ("entity_id", "state", "attributes", "last_changed", "last_updated")
    payload = {name: state[name] for name in names} | {"old_state": None}
    return Message(state["entity_id"], payload, time, {"entity_id": state["entity_id"]})
