"""`layout: home_assistant` beside the integration itself: a real Home Assistant writes, and so do we."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flowrunner import Message
from flowrunner_nodes._ha_layout import HomeAssistantEncoder
from flowrunner_nodes._ha_layout_fields import LeftOut
from flowrunner_nodes._ha_layout_options import HomeAssistantOptions
from tests.nodes.ha_harness import Journal, running, until
from tests.servers.fake_influx import TOKEN, FakeInflux
from tests.servers.home_assistant import HomeAssistant

pytestmark = [pytest.mark.server, pytest.mark.timeout(180)]

TIME = (",time=8,", ",time_=8,")
"""2025.4.4 wrote a field that InfluxDB keeps for itself; 2026.11 does not."""

OPTIONS = {
    "default_measurement": "state",
    "tags": {"instance": "test"},
    "tags_attributes": ["friendly_name"],
    "ignore_attributes": ["icon"],
    "component_config_glob": {"input_number.p*": {"override_measurement": "power"}},
    "component_config_domain": {"light": {"ignore_attributes": ["supported_features"]}},
    "include": {
        "domains": ["input_number", "sensor", "light", "group", "automation", "script", "climate", "lock"]
    },
    "exclude": {"entity_globs": ["sensor.left_*"], "entities": ["sensor.backup_backup_manager_state"]},
}

ENTITIES = """
template:
  - sensor:
      - {{name: Half, unit_of_measurement: W, device_class: power, state: "{{{{ states('input_number.target') | float / 2 }}}}"}}
light:
  - platform: template
    lights:
      lamp:
        friendly_name: Lamp
        value_template: "{{{{ states('input_number.target') | float > 20 }}}}"
        hs_template: "{{{{ (states('input_number.target') | float, 50) }}}}"
        turn_on: []
        turn_off: []
        set_hs: []
group:
  both: {{name: Both, entities: [light.lamp, input_boolean.lamp]}}
automation:
  - alias: Follow
    id: follow
    triggers: [{{trigger: state, entity_id: input_number.target}}]
    actions: []
script:
  nothing: {{sequence: []}}
climate:
  - {{platform: generic_thermostat, name: Room, heater: input_boolean.lamp, target_sensor: sensor.half, min_temp: 5}}
influxdb:
  api_version: 2
  host: 127.0.0.1
  port: {port}
  ssl: false
  token: {token}
  organization: home
  bucket: home
  {options}
"""


async def live(server: HomeAssistant) -> None:
    """Change what there is to change."""
    for number in (21.5, 12, 30):
        await server.act("input_number.set_value", entity_id="input_number.target", value=number)
    await server.act("input_number.set_value", entity_id="input_number.power", value=1_234.5)
    await server.act("input_boolean.toggle", entity_id="input_boolean.lamp")
    await server.act("script.nothing")
    await server.act("climate.set_hvac_mode", entity_id="climate.room", hvac_mode="heat")
    await server.set(
        "sensor.text", 'a, "b" = \\', friendly_name="Text, with = all", unit_of_measurement="", n="12 V"
    )
    await server.set(
        "sensor.words", "1_000", list=[1, "x", None], value="7", time=8, unit_of_measurement="a b,c=d"
    )
    await server.set("sensor.nothing", "nan", none=None)
    await server.set("sensor.gone", "unavailable")
    await server.set("sensor.left_out", "5")
    await server.set("lock.front", "locked")
    await server.set("sensor.last", "1")


def encoded(journal: Journal, precision: str) -> list[str]:
    subject, lines = HomeAssistantEncoder(HomeAssistantOptions.model_validate(OPTIONS), precision), []
    for record, payload in zip(journal.saved, journal.payloads, strict=True):
        try:
            lines.append(subject.line(Message(record.topic, payload, record.time or 0)))
        except LeftOut:
            continue
    return lines


async def test_the_same_lines_as_the_integration_itself(tmp_path: Path) -> None:
    async with FakeInflux(token=TOKEN) as influx:
        options = {**OPTIONS, "precision": "us"}
        extra = ENTITIES.format(
            port=influx.url.rpartition(":")[2], token=TOKEN, options="\n  ".join(map(_entry, options.items()))
        )
        server = await HomeAssistant(tmp_path / "ha", configuration=extra).start()
        try:
            async with running(None, {"a": {}}, url=server.url, token=server.token) as flow:
                await until(lambda: flow["a"].saved)
                since = max(record.time or 0 for record in flow["a"].saved)
                await live(server)
                await until(lambda: any("entity_id=last" in line for line in influx.stored), 60)
                await until(lambda: any(record.topic == "sensor.last" for record in flow["a"].saved))
        finally:
            server.stop()

    theirs = [line.replace(*TIME) for line in influx.stored if since // 1_000 < _time(line)]
    ours = [line for line in encoded(flow["a"], "us") if since // 1_000 < _time(line)]
    assert sorted(theirs) == sorted(ours)
    assert 30 <= len(ours)


def _time(line: str) -> int:
    return int(line.rpartition(" ")[2] or 0)


def _entry(option: tuple[str, Any]) -> str:
    return f"{option[0]}: {json.dumps(option[1])}"
