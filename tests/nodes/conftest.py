"""Servers that the tests of several node types share, each started once a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.servers.home_assistant import HomeAssistant


@pytest.fixture(scope="session")
def home_assistant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HomeAssistant]:
    """Return a real Home Assistant that has come up; tests leave it running."""
    server = HomeAssistant(tmp_path_factory.mktemp("home-assistant"))
    try:
        yield asyncio.run(server.start())
    finally:
        server.stop()
