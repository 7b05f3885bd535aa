"""``flowrunner demo``: a broker, a simulated home, a flow, a database and the live page, all in this process."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from flowrunner.admin.server import listen
from flowrunner.cli.run import run
from flowrunner.clock import SystemClock
from flowrunner.demo.broker import run_broker

FOLDER = Path("flowrunner-demo")
_TEXT = """\
  running   an MQTT broker on {broker}, twenty simulated sensors, the flow `climate`
  look at   {page}
  points    go to {database} (SQLite, table `points`)
  edit      {flow}: write 30.0 for 110.0, save, and the humidity is filtered out
  stop      with Ctrl-C; the state stays in {folder}/state
"""


def demo(given: Mapping[str, Any]) -> int:
    """Run the demonstration until Ctrl-C; ``given`` are settings of ``flowrunner run``."""
    flow = FOLDER / "flows" / "climate.yaml"
    flow.parent.mkdir(parents=True, exist_ok=True)
    if not flow.exists():
        with as_file(files("flowrunner.demo") / "climate.yaml") as example:
            shutil.copyfile(example, flow)
    port = _free_port()
    host, http_port = given.get("http_host", "127.0.0.1"), given.get("http_port", 8080) or _free_port()
    database = FOLDER / "climate.sqlite"
    os.environ |= {"DEMO_BROKER": f"mqtt://127.0.0.1:{port}", "DEMO_DATABASE": str(database)}
    settings = {"state_dir": FOLDER / "state", "log_level": "warning", **given, "http_port": http_port}
    page = f"http://{host}:{http_port}/"
    sys.stdout.write(
        _TEXT.format(broker=f"127.0.0.1:{port}", page=page, database=database, flow=flow, folder=FOLDER)
    )
    sys.stdout.flush()
    return run([flow.parent], settings, beside=lambda: run_broker(port, SystemClock()))


def _free_port() -> int:
    with listen("127.0.0.1", 0) as probe:
        return int(probe.getsockname()[1])
