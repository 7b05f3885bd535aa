"""An MQTT broker inside this process, for the demonstration only."""

from __future__ import annotations

import asyncio
import logging

from amqtt.broker import Broker

from flowrunner.clock import Clock
from flowrunner.demo.home import Home
from flowrunner.message import NANOSECONDS

TICK = 0.2
"""Seconds between two looks at what the sensors publish."""


async def run_broker(port: int, clock: Clock) -> None:
    """Serve MQTT 3.1.1 on the loopback interface and publish what the home reports, until cancelled."""
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.CRITICAL)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    home = Home(clock.now() / NANOSECONDS)
    try:
        while True:
            for topic, payload in home.step(clock.now() / NANOSECONDS):
                await broker.internal_message_broadcast(topic, payload, 1)
            await asyncio.sleep(TICK)
    finally:
        await broker.shutdown()
