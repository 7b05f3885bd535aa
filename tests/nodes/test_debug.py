from __future__ import annotations

from typing import Any, cast

import pytest

from flowrunner_nodes.debug import Debug
from tests.nodes.harness import START, RecordingLog, make_sink, message, write_all


async def shown(payload: Any, **given: Any) -> tuple[list[tuple[str, str, dict[str, Any]]], list[str]]:
    node = make_sink(Debug, **given)
    reasons = await write_all(node, [message(payload, topic="home/t", qos=1)])
    return cast(RecordingLog, node.context.log).lines, reasons


async def test_a_message_is_one_line_with_topic_time_and_payload() -> None:
    lines, _ = await shown({"t": 20.5})

    facts = {"flow": "flow", "node": "node", "topic": "home/t", "time": START, "payload": '{"t":20.5}'}
    assert [("info", "message", facts)] == lines


async def test_meta_is_shown_with_the_whole_message() -> None:
    lines, _ = await shown(1, what="message")

    assert {"qos": 1} == lines[0][2]["meta"]


@pytest.mark.parametrize("level", ["debug", "info", "warning"])
async def test_the_level_can_be_chosen(level: str) -> None:
    lines, _ = await shown(1, level=level)

    assert level == lines[0][0]


async def test_a_long_payload_is_cut() -> None:
    lines, _ = await shown("x" * 2000)

    assert '"' + "x" * 1023 + "…" == lines[0][2]["payload"]


async def test_a_control_character_is_escaped() -> None:
    lines, _ = await shown("\x1b[31m\n")

    assert '"\\u001b[31m\\n"' == lines[0][2]["payload"]


async def test_a_payload_that_is_not_json_fails_the_message() -> None:
    lines, reasons = await shown("\ud800")

    assert [] == lines
    assert "surrogates not allowed" in reasons[0]
