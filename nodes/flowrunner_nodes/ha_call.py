"""Call an action of Home Assistant, or fire an event, with each message.

One call a message, in order; the next begins when Home Assistant has answered. A message counts as written when the
action has been carried out. `action` is `domain.service`, as in automations, with `target` and `data`; `fire_event`
is the type of an event, with `data`. Each of them is a literal, with CEL where a text begins with `=`, or CEL as a
whole. What an action returns is not used.

**What is repeated.** A call that cannot have been carried out is repeated until it is: no connection, Home Assistant
still starting up. Whether a call was carried out is not known when the connection breaks before the answer, or no
answer comes within `timeout`. It is then repeated with `idempotent: true`, and else the message fails with that reason.
Say so for actions that do the same when done twice (`light.turn_on`, `input_number.set_value`), not for `toggle`,
`increment` or a notification. Calls made since the last checkpoint are made again after a crash of flowrunner.

**What Home Assistant refuses** (no such action, invalid data, an action that failed) fails the message with Home
Assistant's words. When the user of the token lacks the permission, and `action` is a literal, all calls would fare the
same: the messages wait, the node reports it as failed, and the calls are made when the permission is there. Users who
are no administrators may call most actions, and fire no events.

**Secrets** in `data` are not shown, in no reason and on no page: members called `code`, `password`, `pin`, `token`,
`secret`, `api_key`, or like these at the end of their name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner import (
    NANOSECONDS,
    ConnectionName,
    Context,
    Limits,
    Message,
    MessageError,
    NodeFailed,
    NodeOptions,
    PositiveDuration,
    RetryLater,
    Sink,
    Value,
    node_type,
    option_error,
)
from flowrunner_nodes._ha_call_checks import (
    ACTION_HELP,
    check_action,
    check_event,
    check_mapping,
    check_target,
)
from flowrunner_nodes._ha_command import Command, command_of
from flowrunner_nodes.home_assistant import HomeAssistantConnection

if TYPE_CHECKING:
    from flowrunner_nodes._ha_session import Session

EXAMPLE = """\
version: 1
flow: panel
connections:
  broker:
    type: mqtt
    url: mqtt://mosquitto:1883
  home:
    type: home_assistant
    url: http://homeassistant:8123
    token: ${HA_TOKEN}
nodes:
  wishes:
    type: mqtt_in
    connection: broker
    topics: ["panel/light/+"]
    retained: ignore
  light:
    type: ha_call
    from: wishes
    connection: home
    action: light.turn_on
    target: { entity_id: "='light.' + topic.split('/')[2]" }
    data: { brightness_pct: =payload.brightness }
    idempotent: true
"""

_PATIENCE = 60.0
"""Seconds that a call waits for a connection, to go out with the first one; then the engine's pauses begin."""


class Config(NodeOptions):
    """What to call."""

    connection: Annotated[
        ConnectionName,
        Field(description="The connection (type `home_assistant`) to use.", examples=["home"]),
    ]
    action: Annotated[
        Annotated[Value, AfterValidator(check_action)] | None,
        Field(description="The action to call, `domain.service`.", examples=["light.turn_on"]),
    ] = None
    fire_event: Annotated[
        Annotated[Value, AfterValidator(check_event)] | None,
        Field(description="The type of event to fire, in place of an action.", examples=["panel_pressed"]),
    ] = None
    target: Annotated[
        Annotated[Value, AfterValidator(check_target)] | None,
        Field(
            description="What the action acts on: entities, devices, areas, floors or labels.",
            examples=[{"entity_id": "light.kitchen"}],
        ),
    ] = None
    data: Annotated[
        Annotated[Value, AfterValidator(check_mapping)] | None,
        Field(
            description="The data of the action or event.",
            examples=[{"brightness_pct": "=payload.brightness"}],
        ),
    ] = None
    timeout: Annotated[
        PositiveDuration,
        Field(description="How long the action may take until Home Assistant answers.", examples=["2m"]),
    ] = "30s"  # type: ignore[assignment]  # read like a user's
    idempotent: Annotated[
        bool,
        Field(
            description="Whether to repeat a call that may have been carried out, since twice does no harm.",
            examples=[True],
        ),
    ] = False

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.action is None) == (self.fire_event is None):
            raise option_error("FR025", "it needs either `action` or `fire_event`", help=ACTION_HELP)
        if self.fire_event is not None and self.target is not None:
            raise option_error("FR025", "an event has no `target`", help="put it into `data`")
        return self


@node_type("ha_call", connection="home_assistant")
class HaCall(Sink[Config]):
    """Makes one call after the other."""

    def __init__(self, config: Config, context: Context) -> None:
        super().__init__(config, context)
        if not isinstance(context.connection, HomeAssistantConnection):
            raise NodeFailed(f"`{config.connection}` is not a connection of type `home_assistant`")
        self._connection = context.connection

    def limits(self) -> Limits:
        """Return that each call is a batch: what was carried out is counted at once."""
        return Limits(max_messages=1)

    def show(self, message: Message) -> str:
        """Return the action or event with its target and data, without secrets."""
        return command_of(self.config, message).line

    async def write(self, batch: Sequence[Message]) -> None:
        """Return when Home Assistant has carried out what did not fail."""
        for index, message in enumerate(batch):
            try:
                await self._call(command_of(self.config, message))
            except MessageError as error:
                self.context.fail(message, str(error))
            except RetryLater as error:
                error.remaining = batch[index:]
                raise

    async def _call(self, command: Command) -> None:
        from flowrunner_nodes._ha_link import Lost, Refused

        session = await self._session()
        try:
            await session.call(command.type, timeout=self.config.timeout / NANOSECONDS, **command.fields)
        except Lost as error:
            if self.config.idempotent:
                raise RetryLater(f"{error}; the call is repeated") from None
            raise MessageError(
                f"nobody knows whether Home Assistant has carried out {command.name}: {error}"
            ) from None
        except Refused as error:
            raise command.refusal(error) from None

    async def _session(self) -> Session:
        """Return a session over which a command would be sent now, to a Home Assistant that has started up."""
        connection = self._connection
        if not connection.context.up:
            self.context.report("degraded", connection.context.reason or "not connected to Home Assistant")
        try:
            async with asyncio.timeout(_PATIENCE):
                session = await connection.session()
                await session.ready.wait()
        except TimeoutError:
            raise RetryLater(connection.context.reason or "Home Assistant is still starting up") from None
        if not session.is_up:
            raise RetryLater("the connection to Home Assistant was lost")
        return session
