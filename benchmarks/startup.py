"""CPU seconds that short commands take, beside those of an empty Python program: the best of several runs.

Limits: ``--help`` 0.3 s, ``validate`` of one flow 0.5 s.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

FLOW = """\
version: 1
flow: climate
connections:
  broker: { type: mqtt, url: "mqtt://localhost:1883" }
  tsdb: { type: influxdb, url: "http://localhost:8086", org: home, token: "${TOKEN:-none}" }
nodes:
  zigbee: { type: mqtt_in, connection: broker, topics: ["zigbee2mqtt/+"] }
  valid: { type: filter, from: zigbee, where: payload.temperature > -40.0 && payload.temperature < 80.0 }
  calm: { type: throttle, from: valid, key: topic, every: 10s, emit: last }
  per_minute:
    type: aggregate
    from: calm
    key: topic
    window: { type: tumbling, size: 1m }
    fields: { mean: time_weighted_mean(payload.temperature), max: max(payload.temperature) }
  store: { type: influxdb_out, from: per_minute, connection: tsdb, bucket: home, measurement: climate }
"""
RUNS = 9


def cpu_seconds(*command: str) -> float:
    """Return the CPU time of the command's fastest run; its compiled modules are cached by the first."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for _ in range(RUNS):
        before = os.times()
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)
        after = os.times()
        times.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    return min(times)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/pycache"
        flow = Path(folder, "climate.yaml")
        flow.write_text(FLOW)
        empty = cpu_seconds("-c", "pass")
        print(f"python -c pass        {empty:.2f} s")
        for name, arguments in (("--help", ["--help"]), ("validate", ["validate", str(flow)])):
            seconds = cpu_seconds("-m", "flowrunner", *arguments)
            print(f"flowrunner {name:<10} {seconds:.2f} s  x{seconds / empty:.0f}")


if __name__ == "__main__":
    main()
