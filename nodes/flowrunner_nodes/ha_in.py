"""Receive states and events from Home Assistant.

Without further options the node hands on every change of state, and at the very first start the present states. What
a message becomes:

- `topic` is the entity's id.
- `payload` is `{entity_id, state, attributes, last_changed, last_updated, old_state}`. States are texts, as Home
  Assistant has them: `number(payload.state)` makes a number. `old_state` is the text before, or null.
- `time` is `last_updated`.
- `meta` holds `entity_id`, `domain`, `object_id`, `origin` and, where known, `device_class`, `unit`, `name`, `area`,
  `floor`, `device` and `labels`.

**Which entities.** `entities` and `exclude` are names with `*`, `?` and `[…]`. `domains`, `device_classes`, `areas` and
`labels` narrow it down further: all that are given must hold. Areas and labels may be given by name or by id.
`unavailable` and `unknown` are left out unless `unavailable: keep`.

**Gaps.** After a reconnect or a restart of flowrunner the node looks up in Home Assistant's history what it has missed,
at most `history` long, and hands it on in time order: once, with `meta.origin` `history`, before anything newer of the
same entity. The present state of an entity that has none there has the origin `resync`. What cannot be filled, since the
recorder leaves the entity out or has lost it, is reported in the log with its seconds.

**Restarts of Home Assistant** write all values again with new times, and entities as `unavailable` until their
integration has come up. That is left out (counted as filtered) unless `restart_noise: keep`.

**Storms.** Home Assistant ends the connection of clients that do not read in time. So this node always reads; when the
journal cannot keep up, the oldest of 32,768 waiting messages are dropped (`buffer_full`).

**Events.** With `event` the node hands on events of that type instead of states: `topic` is the type, `payload` is
`{event_type, data, origin, time_fired, context}`, `time` is `time_fired`. With `trigger` it hands on what a trigger of
an automation fires on: `topic` is the node's id, `payload` holds `trigger` as automations see it. Both come only live,
and Home Assistant allows them to administrators only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    ConnectionName,
    Duration,
    NodeFailed,
    NodeOptions,
    Source,
    SourceContext,
    node_type,
    option_error,
)
from flowrunner_nodes._ha_checks import check_entity, check_name, check_trigger
from flowrunner_nodes.home_assistant import HomeAssistantConnection

if TYPE_CHECKING:
    from flowrunner_nodes._ha_events import Events
    from flowrunner_nodes._ha_following import States
    from flowrunner_nodes._ha_session import Session

EXAMPLE = """\
version: 1
flow: climate
connections:
  home:
    type: home_assistant
    url: http://homeassistant:8123
    token: ${HA_TOKEN}
nodes:
  states:
    type: ha_in
    connection: home
    entities: ["sensor.*_temperature"]
    exclude: ["sensor.cpu_temperature"]
  show:
    type: debug
    from: states
"""

_REFUSED_PAUSE = 60.0
"""Seconds before a subscription that was refused is asked for again."""
_LOST_PAUSE = 0.05


class Config(NodeOptions):
    """What to receive."""

    connection: Annotated[
        ConnectionName,
        Field(description="The connection (type `home_assistant`) to use.", examples=["home"]),
    ]
    entities: Annotated[
        list[Annotated[str, AfterValidator(check_entity)]],
        Field(description="The entities, by id or pattern; all unless given.", examples=[["sensor.*"]]),
    ] = Field(default_factory=list)
    exclude: Annotated[
        list[Annotated[str, AfterValidator(check_entity)]],
        Field(description="Entities to leave out, by id or pattern.", examples=[["sensor.*_linkquality"]]),
    ] = Field(default_factory=list)
    domains: Annotated[
        list[Annotated[str, AfterValidator(check_name)]],
        Field(description="The domains the entities must be of.", examples=[["sensor", "binary_sensor"]]),
    ] = Field(default_factory=list)
    device_classes: Annotated[
        list[Annotated[str, AfterValidator(check_name)]],
        Field(description="The device classes they must be of.", examples=[["temperature", "humidity"]]),
    ] = Field(default_factory=list)
    areas: Annotated[
        list[str], Field(description="The areas they must be in, by name or id.", examples=[["Kitchen"]])
    ] = Field(default_factory=list)
    labels: Annotated[
        list[str], Field(description="Labels of which they must have one.", examples=[["recorded"]])
    ] = Field(default_factory=list)
    event: Annotated[
        str,
        Field(
            description="The type of event; `*` for all, anything but `state_changed` comes as it is.",
            min_length=1,
            examples=["zha_event"],
        ),
    ] = "state_changed"
    trigger: Annotated[
        Any,
        AfterValidator(check_trigger),
        Field(
            description="A trigger, or a list of them, as automations have them, in place of states.",
            examples=[{"trigger": "time_pattern", "minutes": "/5"}],
        ),
    ] = None
    unavailable: Annotated[
        Literal["skip", "keep"],
        Field(description="What becomes of the states `unavailable` and `unknown`.", examples=["keep"]),
    ] = "skip"
    restart_noise: Annotated[
        Literal["skip", "keep"],
        Field(
            description="What becomes of values that Home Assistant only writes again after its restart.",
            examples=["keep"],
        ),
    ] = "skip"
    history: Annotated[
        Duration, Field(description="The longest gap to fill from the history; 0s for none.", examples=["1d"])
    ] = "1d"  # type: ignore[assignment]  # read like a user's

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.event != "state_changed" and self.trigger is not None:
            raise option_error("FR025", "`event` and `trigger` exclude each other", help="use two nodes")
        selection = ("entities", "exclude", "domains", "device_classes", "areas", "labels")
        given = [name for name in selection if getattr(self, name)]
        if given and not self.of_states:
            text = f"`{given[0]}` selects states, and this node receives something else"
            raise option_error("FR025", text, help="leave it out, or use another node for states")
        return self

    @property
    def of_states(self) -> bool:
        """Whether the node receives changes of state."""
        return self.event == "state_changed" and self.trigger is None


@node_type("ha_in", connection="home_assistant")
class HaIn(Source[Config]):
    """Follows the connection's sessions, one after the other."""

    when_journal_full = "drop_oldest"

    def __init__(self, config: Config, context: SourceContext) -> None:
        super().__init__(config, context)
        if not isinstance(context.connection, HomeAssistantConnection):
            raise NodeFailed(f"`{config.connection}` is not a connection of type `home_assistant`")
        self._connection = context.connection

    async def run(self) -> None:
        """Receive until cancelled."""
        following = self._following()
        async with asyncio.TaskGroup() as group:
            group.create_task(following.outbox.run())
            while True:
                await self._follow(following, await self._connection.session())

    async def _follow(self, following: States | Events, session: Session) -> None:
        from flowrunner_nodes._ha_link import Lost, Refused

        try:
            await following.serve(session)
        except Lost as error:
            self.context.report("degraded", str(error))
            await asyncio.sleep(_LOST_PAUSE)
        except Refused as error:
            self.context.report("failed", f"Home Assistant refuses the subscription: {error}")
            await asyncio.wait([session.lost], timeout=_REFUSED_PAUSE)

    def _following(self) -> States | Events:
        if self.config.of_states:
            from flowrunner_nodes._ha_following import States

            link = self._connection
            return States(self.config, self.context, link.registry, link.counts)
        from flowrunner_nodes._ha_events import Events

        return Events(self.config, self.context)
