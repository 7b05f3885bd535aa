"""What `flowrunner doctor` says of a broker: connection, login, and the right to subscribe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from flowrunner import Finding
from flowrunner_nodes._mqtt_client import MqttClient
from flowrunner_nodes._mqtt_packets import Publish
from flowrunner_nodes._mqtt_settings import LinkError, Settings, Subscription

_REFUSED = 128


class _Nobody:
    """Takes nothing in: what the broker sends goes to the session of the flow as well."""

    def receive(self, publishes: list[Publish]) -> None: ...
    def pass_over(self, publishes: list[Publish]) -> None: ...
    def acknowledged(self, body: bytes) -> None: ...
    def drained(self) -> None: ...


async def check_mqtt(settings: Settings, filters: Sequence[str]) -> Iterable[Finding]:
    """Return the findings, from a session of our own that ends with the check.

    A shared subscription would take messages away from those who share it, and is not tried.
    """
    own = msgspec.structs.replace(settings, client_id=f"{settings.client_id}-doctor", session_expiry=0)
    client = MqttClient(own, _Nobody())
    try:
        await client.open()
        version = "5" if client.version5 else "3.1.1"
        found = [Finding("ok", "broker", f"MQTT {version}, login accepted")]
        return found + [await _topic(client, each) for each in filters if not each.startswith("$share/")]
    except LinkError as error:
        help = "correct the connection" if error.operator else "look at `url`, the name service and firewalls"
        return [Finding("error", "broker", error.reason, help)]
    finally:
        client.close()


async def _topic(client: MqttClient, filter: str) -> Finding:
    granted = await client.add(Subscription(filter, 0, 1, retained=False))
    if granted < _REFUSED:
        return Finding("ok", f"topic {filter}", "the broker grants the subscription")
    text = f"the broker refuses the subscription (code {granted})"
    return Finding("error", f"topic {filter}", text, "let its access list allow the user to read the topic")
