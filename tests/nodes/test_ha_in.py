"""``ha_in`` against a scripted Home Assistant: what is delivered, what is filled, what is left out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowrunner_nodes import _ha_following, _ha_gap, _ha_hub, _ha_outbox, _ha_registry
from tests.nodes.ha_harness import Flow, running, until
from tests.servers.fake_home_assistant import START, FakeHomeAssistant


@pytest.fixture
async def home() -> AsyncIterator[FakeHomeAssistant]:
    async with FakeHomeAssistant() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ha_hub, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_ha_hub, "_STATE_PERIOD", 0.02)
    monkeypatch.setattr(_ha_gap, "PATIENCE", 0.4)
    monkeypatch.setattr(_ha_gap, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(_ha_registry, "QUIET", 0.01)
    monkeypatch.setattr(_ha_outbox, "FULL_PAUSE", 0.02)
    monkeypatch.setattr(_ha_outbox, "DISK_PAUSE", 0.02)


ATTRIBUTES = {"unit_of_measurement": "°C", "device_class": "temperature", "friendly_name": "Kitchen"}


async def test_a_change_arrives_with_payload_time_and_meta(home: FakeHomeAssistant) -> None:
    home.set("sensor.kitchen", "20.5", ATTRIBUTES, at=START)
    async with running(home, {"a": {}}) as flow:
        home.set("sensor.kitchen", "21.0", at=START + 60.123456)
        await until(lambda: len(flow["a"].saved) == 2)

    record = flow["a"].saved[1]
    assert ("sensor.kitchen", 1_772_359_260_123_456_000) == (record.topic, record.time)
    assert {
        "entity_id": "sensor.kitchen",
        "state": "21.0",
        "attributes": ATTRIBUTES,
        "last_changed": "2026-03-01T10:01:00.123456+00:00",
        "last_updated": "2026-03-01T10:01:00.123456+00:00",
        "old_state": "20.5",
    } == flow["a"].payloads[1]
    assert {
        "entity_id": "sensor.kitchen",
        "domain": "sensor",
        "object_id": "kitchen",
        "device_class": "temperature",
        "unit": "°C",
        "name": "Kitchen",
        "origin": "live",
    } == record.meta
    assert ["resync", "live"] == flow["a"].origins
