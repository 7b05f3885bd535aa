"""``ha_call`` against a scriptable Home Assistant: what is called, what is repeated, what fails and with which words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError

from flowrunner import Context, Message, MessageError, NodeFailed, RetryLater
from flowrunner_nodes import _ha_hub, ha_call
from flowrunner_nodes.ha_call import HaCall
from tests.nodes.ha_harness import Flow, running, until
from tests.nodes.harness import RecordingLog, SetClock, message, options, write_all
from tests.servers.fake_home_assistant import Client, FakeHomeAssistant, Refusal

LIGHT = {"action": "light.turn_on", "target": {"entity_id": "=payload.entity"}}
KITCHEN = {"entity": "light.kitchen"}


class ActingHome(FakeHomeAssistant):
    """Carries out actions; ``refusals`` and ``breaks`` say what goes wrong, by action or type of event."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[dict[str, Any]] = []
        self.refusals: dict[str, tuple[str, str]] = {}
        self.breaks: set[str] = set()
        """What is carried out, and then the connection breaks before the answer."""

    def _run(self, client: Client, number: int, command: dict[str, Any]) -> Any:
        if command["type"] not in {"call_service", "fire_event"}:
            return super()._run(client, number, command)
        name = command.get("event_type") or f"{command['domain']}.{command['service']}"
        if refusal := self.refusals.get(name):
            raise Refusal(*refusal)
        self.done.append({name: value for name, value in command.items() if name != "id"})
        if name in self.breaks:
            self.breaks.remove(name)
            self.cut()
        return {"context": {"id": "01"}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_ha_hub, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(ha_call, "_PATIENCE", 0.2)
    yield
    _ha_hub._refused.clear()


def sink_of(flow: Flow, **given: Any) -> HaCall:
    context = Context("flow", "call", log=RecordingLog(), clock=SetClock(), connection=flow.connection)
    return HaCall(options(HaCall, connection="home", **given), context)


@asynccontextmanager
async def calling(**given: Any) -> AsyncIterator[tuple[ActingHome, HaCall, Flow]]:
    """Run a sink on a connection that is up."""
    home = ActingHome()
    async with home, running(home, {}) as flow:
        yield home, sink_of(flow, **given), flow


async def refused(node: HaCall, *messages: Message) -> RetryLater:
    """Return how a write is put off; nothing may have ended with it but what came before."""
    with pytest.raises(RetryLater) as caught:
        await node.write(messages)
    assert [] == node.context.failures
    return caught.value


# What is called


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            {"action": "light.turn_on", "target": {"entity_id": "light.kitchen"}, "data": {"brightness": 10}},
            {
                "domain": "light",
                "service": "turn_on",
                "target": {"entity_id": "light.kitchen"},
                "service_data": {"brightness": 10},
            },
            id="literals",
        ),
        pytest.param(
            {"action": "light.turn_on", "target": {"area_id": ["hall", "=payload.area"]}},
            {"domain": "light", "service": "turn_on", "target": {"area_id": ["hall", "bath"]}},
            id="CEL inside",
        ),
        pytest.param(
            {"action": "=payload.action", "target": "=payload.target", "data": "=payload.data"},
            {
                "domain": "scene",
                "service": "turn_on",
                "target": {"label_id": "night"},
                "service_data": {"transition": 2.5},
            },
            id="CEL as a whole",
        ),
        pytest.param(
            {"action": "homeassistant.check_config"},
            {"domain": "homeassistant", "service": "check_config"},
            id="nothing but an action",
        ),
    ],
)
async def test_an_action_is_called_with_target_and_data(
    given: dict[str, Any], expected: dict[str, Any]
) -> None:
    payload = {
        "area": "bath",
        "action": "scene.turn_on",
        "target": {"label_id": "night"},
        "data": {"transition": 2.5},
    }
    async with calling(**given) as (home, node, _):
        assert [] == await write_all(node, [message(payload)])

    assert [{"type": "call_service", **expected}] == home.done


@pytest.mark.parametrize("name", ["panel_pressed", "='panel_' + payload.what"], ids=["literal", "CEL"])
async def test_an_event_is_fired_with_data(name: str) -> None:
    async with calling(fire_event=name, data={"times": "=payload.times"}) as (home, node, _):
        assert [] == await write_all(node, [message({"what": "pressed", "times": 2})])

    fired = {"type": "fire_event", "event_type": "panel_pressed", "event_data": {"times": 2}}
    assert [fired] == home.done


async def test_messages_are_called_one_after_the_other_in_their_order() -> None:
    async with calling(**LIGHT) as (home, node, _):
        assert 1 == node.limits().max_messages
        assert [] == await write_all(node, [message({"entity": f"light.a{n}"}) for n in range(50)])

    assert [f"light.a{n}" for n in range(50)] == [each["target"]["entity_id"] for each in home.done]


async def test_the_next_call_waits_for_the_answer_to_the_one_before() -> None:
    async with calling(**LIGHT) as (home, node, _):
        home.deaf.add("call_service")
        writing = asyncio.create_task(node.write([message(KITCHEN), message(KITCHEN)]))
        await until(lambda: home.commands("call_service"))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

        assert 1 == len(home.commands("call_service"))


# What a message says wrongly


@pytest.mark.parametrize(
    ("given", "payload", "reason"),
    [
        pytest.param(LIGHT, {}, "`target`: `payload.entity`: there is no field `entity`", id="no such field"),
        pytest.param(
            {"action": "=payload"},
            "Turn on!",
            "`action` must be an action, domain.service, got 'Turn on!'",
            id="no action",
        ),
        pytest.param(
            {"action": "=payload"}, 1, "`action` must be an action, domain.service, got 1", id="no text"
        ),
        pytest.param(
            {"fire_event": "=payload"}, "", "`fire_event` must be the type of an event, got ''", id="no event"
        ),
        pytest.param(
            {"action": "a.b", "data": "=payload"}, [1], "`data` must be a mapping, got a list", id="a list"
        ),
        pytest.param(
            {"action": "a.b", "data": {"x": "=payload"}},
            "\ud800",
            "`data` has a text that is not valid Unicode",
            id="half a character",
        ),
        pytest.param(
            {"action": "a.b", "data": {"x": "=payload"}},
            "x" * 2**22,
            "`data` has 4194312 bytes; Home Assistant takes at most 4193280",
            id="too long for Home Assistant",
        ),
    ],
)
async def test_what_cannot_be_asked_for_fails_alone(given: dict[str, Any], payload: Any, reason: str) -> None:
    async with calling(**given) as (home, node, _):
        assert [reason] == await write_all(node, [message(payload)])

    assert [] == home.done
    with pytest.raises(MessageError) as caught:
        node.show(message(payload))
    assert reason == str(caught.value)


async def test_data_that_is_nested_beyond_reason_fails_and_leaves_the_connection_up() -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    async with calling(action="a.b", data={"x": "=payload"}) as (home, node, _):
        reasons = await write_all(node, [message(deep), message(1)])

    assert ["`data` is nested more than 100 levels deep"] == reasons
    assert (1, 1) == (home.connects, len(home.done))


# What Home Assistant refuses


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        pytest.param(
            ("not_found", "Service light.turn_on not found."),
            "Service light.turn_on not found. (not_found)",
            id="not found",
        ),
        pytest.param(
            ("invalid_format", "expected int @ data['brightness']"),
            "expected int @ data['brightness'] (invalid_format)",
            id="invalid data",
        ),
        pytest.param(
            ("home_assistant_error", "The lamp is away"),
            "The lamp is away (home_assistant_error)",
            id="failed",
        ),
        pytest.param(("unknown_error", ""), "(unknown_error)", id="no words"),
    ],
)
async def test_a_refused_call_fails_with_the_words_of_home_assistant(
    refusal: tuple[str, str], reason: str
) -> None:
    async with calling(**LIGHT, idempotent=True) as (home, node, _):
        home.refusals["light.turn_on"] = refusal
        assert [f"Home Assistant refuses light.turn_on: {reason}"] == await write_all(
            node, [message(KITCHEN)]
        )
        home.refusals.clear()
        assert [] == await write_all(node, [message(KITCHEN)])


UNAUTHORIZED = [
    pytest.param(("unauthorized", "Unauthorized"), id="as such"),
    pytest.param(("home_assistant_error", "Unauthorized"), id="as an error in the action"),
]


@pytest.mark.parametrize("refusal", UNAUTHORIZED)
@pytest.mark.parametrize("given", [LIGHT, {"fire_event": "panel"}], ids=["action", "event"])
async def test_a_permission_that_lacks_keeps_the_messages_until_a_person_has_acted(
    given: dict[str, Any], refusal: tuple[str, str]
) -> None:
    async with calling(**given) as (home, node, _):
        home.refusals = {"light.turn_on": refusal, "panel": refusal}
        error = await refused(node, message(KITCHEN), message(KITCHEN))

        assert error.operator
        assert error.reason.endswith("; give the user of the token the permission")
        assert 2 == len(error.remaining or ())
        home.refusals.clear()
        assert [] == await write_all(node, error.remaining or ())


@pytest.mark.parametrize("refusal", UNAUTHORIZED)
async def test_an_action_that_a_message_chose_and_may_not_be_called_fails_that_message(
    refusal: tuple[str, str],
) -> None:
    async with calling(action="=payload") as (home, node, _):
        home.refusals["homeassistant.restart"] = refusal
        reasons = await write_all(node, [message("homeassistant.restart"), message("light.toggle")])

    expected = f"Home Assistant refuses homeassistant.restart: Unauthorized ({refusal[0]})"
    assert [expected] == reasons
    assert 1 == len(home.done)


# What is repeated


async def test_without_a_connection_nothing_is_sent_and_the_call_waits() -> None:
    home = ActingHome()
    async with home, running(home, {}) as flow:
        node = sink_of(flow, **LIGHT)
        await home.stop()
        await until(lambda: not flow.context.up)
        error = await refused(node, message(KITCHEN))

        assert not error.operator
        assert error.reason.startswith("cannot connect to 127.0.0.1:")
        assert "degraded" == node.context.status
        writing = asyncio.create_task(write_all(node, error.remaining or ()))
        await home.start()
        assert [] == await writing
    assert 1 == len(home.done)


async def test_a_refused_token_is_the_reason_for_which_calls_wait() -> None:
    home = ActingHome()
    home.token = "another"
    async with home, running(home, {}, up=False) as flow:
        await until(lambda: flow.context.status == "failed")
        error = await refused(sink_of(flow, **LIGHT), message(KITCHEN))

    assert "refuse" in error.reason
    assert "a-good-token" not in error.reason


async def test_nothing_is_called_before_home_assistant_has_started_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_ha_hub, "_STATE_PERIOD", 0.02)
    home = ActingHome()
    home.config_state = "STARTING"
    async with home, running(home, {}) as flow:
        node = sink_of(flow, **LIGHT)
        error = await refused(node, message(KITCHEN))
        assert "Home Assistant is still starting up" == error.reason
        assert [] == home.done
        home.config_state = "RUNNING"
        assert [] == await write_all(node, error.remaining or ())


async def test_a_session_that_has_just_gone_is_not_used() -> None:
    async with calling(**LIGHT) as (home, node, flow):
        session = await flow.connection.session()
        await until(session.ready.is_set)
        home.cut()
        await until(lambda: not session.is_up)  # the hub may not know yet
        flow.connection.session = lambda: asyncio.sleep(0, session)  # type: ignore[method-assign]
        error = await refused(node, message(KITCHEN))

    assert "the connection to Home Assistant was lost" == error.reason
    assert [] == home.done


@pytest.mark.parametrize("fault", ["breaks", "deaf"])
async def test_an_unknown_outcome_fails_the_message_that_must_not_be_repeated(fault: str) -> None:
    async with calling(action="light.toggle", timeout="200ms") as (home, node, _):
        if fault == "breaks":
            home.breaks.add("light.toggle")
        else:
            home.deaf.add("call_service")
        (reason,) = await write_all(node, [message()])

        home.deaf.clear()
        assert [] == await write_all(node, [message()])
    why = {"breaks": "the connection was closed", "deaf": "no answer to call_service within 0 s"}[fault]
    assert f"nobody knows whether Home Assistant has carried out light.toggle: {why}" == reason
    assert 2 == len(home.commands("call_service"))


@pytest.mark.parametrize("fault", ["breaks", "deaf"])
async def test_an_unknown_outcome_is_repeated_where_that_does_no_harm(fault: str) -> None:
    async with calling(**LIGHT, timeout="200ms", idempotent=True) as (home, node, _):
        if fault == "breaks":
            home.breaks.add("light.turn_on")
        else:
            home.deaf.add("call_service")
        error = await refused(node, message(KITCHEN), message({"entity": "light.bath"}))

        assert error.reason.endswith("; the call is repeated")
        assert not error.operator
        home.deaf.clear()
        assert [] == await write_all(node, error.remaining or ())
    called = [each["target"]["entity_id"] for each in home.commands("call_service")]
    assert ["light.kitchen", "light.kitchen", "light.bath"] == called


async def test_what_ended_before_a_pause_is_not_called_again() -> None:
    async with calling(action="=payload", idempotent=True) as (home, node, _):
        messages = [message("light.turn_on"), message("nothing"), message("light.turn_off")]
        home.breaks.add("light.turn_off")
        with pytest.raises(RetryLater) as caught:
            await node.write(messages)

    assert messages[2:] == caught.value.remaining
    assert [messages[1]] == [failed for failed, _ in node.context.failures]


# What is shown


SECRETS = {
    "code": "4711",
    "user_code": 815,
    "nested": [{"Password": "hunter2"}],
    "pin": "",
    "code_format": "number",
    "token": None,
}


def shown(payload: Any = None, **given: Any) -> str:
    flow = Flow({"url": "http://127.0.0.1:1", "token": "a-good-token"}, {}, {})
    return sink_of(flow, **given).show(message(payload))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        pytest.param(
            {"action": "light.turn_on", "target": {"entity_id": "=payload"}, "data": {"effect": "a\nb"}},
            'light.turn_on {"target":{"entity_id":"light.hall"},"data":{"effect":"a\\nb"}}',
            id="action",
        ),
        pytest.param({"action": "script.good_night"}, "script.good_night {}", id="nothing but an action"),
        pytest.param({"fire_event": "pressed", "data": {"n": 1}}, 'pressed {"data":{"n":1}}', id="event"),
        pytest.param(
            {"action": "lock.unlock", "data": SECRETS},
            'lock.unlock {"data":{"code":"***","user_code":"***","nested":[{"Password":"***"}],"pin":"",'
            '"code_format":"number","token":null}}',
            id="secrets",
        ),
    ],
)
def test_a_call_is_shown_as_one_line_without_its_secrets(given: dict[str, Any], line: str) -> None:
    assert line == shown("light.hall", **given)


async def test_a_refusal_that_cites_a_secret_is_told_without_it() -> None:
    async with calling(action="lock.unlock", data=SECRETS) as (home, node, _):
        home.refusals["lock.unlock"] = ("invalid_format", "expected a number, got '4711' for user 815")
        (reason,) = await write_all(node, [message()])

    assert "expected a number, got '***' for user ***" in reason


async def test_a_command_that_home_assistant_cites_as_a_whole_is_left_out() -> None:
    async with calling(action="lock.unlock", data=SECRETS) as (home, node, _):
        words = "Templates are not supported here. Got {'id': 3, 'type': 'call_service', 'code': '47..."
        home.refusals["lock.unlock"] = ("invalid_format", words)
        reasons = await write_all(node, [message()])

    expected = "Home Assistant refuses lock.unlock: Templates are not supported here (invalid_format)"
    assert [expected] == reasons


# What is refused at load


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param({}, "it needs either `action` or `fire_event`", id="neither"),
        pytest.param({"action": "a.b", "fire_event": "c"}, "it needs either", id="both"),
        pytest.param({"fire_event": "c", "target": {}}, "an event has no `target`", id="event with a target"),
        pytest.param({"action": "turn_on"}, "must be an action", id="action without a domain"),
        pytest.param({"action": "light/turn_on"}, "must be an action", id="as in the REST API"),
        pytest.param({"action": 1}, "must be an action", id="a number"),
        pytest.param({"fire_event": ""}, "must be the type of an event", id="empty event"),
        pytest.param({"action": "a.b", "data": [1]}, "must be a mapping", id="data that is a list"),
        pytest.param({"action": "a.b", "target": "light.a"}, "must be a mapping", id="target that is a name"),
        pytest.param(
            {"action": "a.b", "target": {"entity": "light.a"}}, "cannot have `entity`", id="misspelt target"
        ),
        pytest.param({"action": "a.b", "timeout": "0s"}, "must be more than zero", id="no time at all"),
    ],
)
def test_options_that_cannot_work_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        options(HaCall, connection="home", **given)


def test_a_connection_of_another_type_is_refused() -> None:
    context = Context("flow", "call", log=RecordingLog(), clock=SetClock())
    with pytest.raises(NodeFailed, match="`home` is not a connection of type `home_assistant`"):
        HaCall(options(HaCall, connection="home", action="a.b"), context)
