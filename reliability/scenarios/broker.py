"""Brokers that end, forget, or have another client of our name."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from pathlib import Path

from reliability.plant import Plant, running
from reliability.scenario import Outcome, scenario
from reliability.trial import RATE, WARM_UP, disturbance, endure, judge_at_rest, outcome, publishing, watching
from reliability.watch import events
from tests.servers.mqtt_peer import CONNECT, packet, read_packet, text

CLIENT_ID = "flowrunner-climate-broker"
_TAKE_OVERS = 5


@scenario("broker: restart with persistence", "A broker that saves its state comes back with all it had.")
async def restart(folder: Path) -> Outcome:
    return await endure(Plant(folder, rate=RATE), disturbance("broker: SIGTERM and start", 2.0))


@scenario(
    "broker: kill -9 with persistence",
    "A broker that is killed loses at most what it had not saved; flowrunner loses nothing.",
    tells_loss=True,
)
async def kill(folder: Path) -> Outcome:
    return await endure(Plant(folder, rate=RATE), disturbance("broker: kill -9", 2.0))


@scenario("broker: held up", "A broker that stands still is waited for.")
async def hold_up(folder: Path) -> Outcome:
    return await endure(Plant(folder, rate=RATE), disturbance("broker: SIGSTOP, SIGCONT", 8.0))


@scenario(
    "broker: restart without persistence",
    "A lost session is noticed and counted; no acknowledgement of the old one goes to the new one.",
    tells_loss=True,
)
async def forget(folder: Path) -> Outcome:
    plant = Plant(folder, rate=RATE, persistence=False)
    async with running(plant), watching(plant):
        async with publishing(plant):
            await asyncio.sleep(WARM_UP)
            began = time.monotonic()
            await _restart_while_acks_wait(plant)
            seconds = await plant.fresh()
            # What is published between its start and our subscription, a broker without the session keeps for nobody.
            plant.excused.append((began, time.monotonic()))
            _, text = await plant.get("/metrics")
        judged = await judge_at_rest(plant)
    assert events(text, "session_lost") == 1, "the lost session was not counted"
    assert events(text, "stale_acks") > 0, "no acknowledgement was held back"
    return outcome(judged, seconds)


async def _restart_while_acks_wait(plant: Plant) -> None:
    """Restart the broker while flowrunner cannot write down what it has, and so owes acknowledgements."""
    assert plant.flowrunner.process is not None
    pid = plant.flowrunner.process.pid
    unlimited = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
    await asyncio.sleep(1)
    await plant.broker.restart(signal.SIGKILL)
    await asyncio.sleep(0.5)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


@scenario(
    "broker: another client with the same id",
    "A client that takes over the session again and again costs time and no message.",
    seconds=150,
)
async def take_over(folder: Path) -> Outcome:
    async def fault(plant: Plant) -> None:
        for _ in range(_TAKE_OVERS):
            reader, writer = await asyncio.open_connection("127.0.0.1", plant.broker.port)
            writer.write(packet(CONNECT, text("MQTT") + bytes([4, 0]) + b"\x00\x3c" + text(CLIENT_ID)))
            await read_packet(reader)
            await asyncio.sleep(0.7)
            writer.close()

    return await endure(Plant(folder, rate=RATE), fault)
