"""`influxdb_out` against a server that answers in every way there is."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest

from flowrunner import Message, RetryLater
from flowrunner_nodes.influxdb import InfluxdbConnection
from tests.nodes.harness import RecordingLog
from tests.nodes.influx_harness import START, connected, deliver, lines, readings, sink
from tests.servers.fake_influx import TOKEN, FakeInflux, Hang, Reply, Reset


@pytest.fixture
async def server() -> AsyncIterator[FakeInflux]:
    async with FakeInflux() as fake:
        yield fake


@pytest.fixture
async def connection(server: FakeInflux) -> AsyncIterator[InfluxdbConnection]:
    async with connected(server.url) as opened:
        yield opened


def values(*bad: int) -> Callable[[str], str | None]:
    """Return a judge that finds fault with the lines of these values."""
    faulty = {f" value={value} " for value in bad}
    return lambda line: f"bad value in {line}" if any(part in line for part in faulty) else None


async def test_a_batch_becomes_one_compressed_request_of_version_2(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    await deliver(sink(connection), readings(3))

    (request,) = server.writes
    assert request.lines == tuple(lines([0, 1, 2]))
    assert (request.method, request.path) == ("POST", "/api/v2/write")
    assert request.query == {"org": "home", "bucket": "home", "precision": "ns"}
    assert request.headers["authorization"] == f"Token {TOKEN}"
    assert request.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("given", "path", "query", "authorization"),
    [
        pytest.param(
            {"version": 1},
            "/write",
            {"db": "home", "precision": "u"},
            f"Token {TOKEN}",
            id="version 1 with a token",
        ),
        pytest.param(
            {"version": 1, "token": None, "username": "u", "password": TOKEN},
            "/write",
            {"db": "home", "precision": "u"},
            "Basic dTpjYW5hcnktNWYxZC1uZXZlci1zaG93LXRoaXM=",
            id="version 1 with a user",
        ),
        pytest.param(
            {"version": 3},
            "/api/v3/write_lp",
            {"db": "home", "precision": "microsecond"},
            f"Bearer {TOKEN}",
            id="version 3",
        ),
    ],
)
async def test_the_other_versions_have_endpoints_of_their_own(
    server: FakeInflux, given: dict[str, Any], path: str, query: dict[str, str], authorization: str
) -> None:
    server.always = Reply(204)
    async with connected(server.url, **given) as connection:
        await deliver(sink(connection, precision="us"), readings(1))

    (request,) = server.writes
    assert (request.path, request.query) == (path, query)
    assert request.headers["authorization"] == authorization
    assert request.lines == (f"climate,sensor=kitchen value=0 {START // 1000}",)


async def test_nothing_is_compressed_or_signed_unless_asked_for(server: FakeInflux) -> None:
    server.always = Reply(204)
    async with connected(server.url, token=None, compression="none") as connection:
        await deliver(sink(connection), readings(1))

    (request,) = server.writes
    assert "authorization" not in request.headers
    assert request.headers["content-encoding"] == "identity"
    assert request.lines == tuple(lines([0]))


@pytest.mark.parametrize(
    ("fault", "reason", "after"),
    [
        pytest.param(Reply(503), "InfluxDB answered 503", None, id="unavailable"),
        pytest.param(
            Reply(503, '{"code":"unavailable","message":"busy"}', {"Retry-After": "7"}),
            "InfluxDB answered 503: busy",
            7.0,
            id="Retry-After in seconds",
        ),
        pytest.param(Reply(429, "", {"Retry-After": "99999999"}), "InfluxDB answered 429", 600.0, id="huge"),
        pytest.param(Reply(429, "", {"Retry-After": "-5"}), "InfluxDB answered 429", None, id="negative"),
        pytest.param(Reply(429, "", {"Retry-After": "soon"}), "InfluxDB answered 429", None, id="garbage"),
        pytest.param(
            Reply(
                502,
                "<html>\n<b>Bad\x00gateway</b>",
                {"Retry-After": "Sun, 01 Mar 2026 10:00:30 GMT", "Date": "Sun, 01 Mar 2026 10:00:00 GMT"},
            ),
            "InfluxDB answered 502: <html> <b>Bad gateway</b>",
            30.0,
            id="a date, by the server's clock",
        ),
        pytest.param(
            Reply(500, "x" * 100_000, {"Retry-After": "Sun, 01 Mar 2026 10:01:00 GMT"}),
            "InfluxDB answered 500: " + "x" * 300 + "…",
            60.0,
            id="a date, by our clock, and a long body",
        ),
        pytest.param(Reply(408), "InfluxDB answered 408", None, id="request timeout"),
    ],
)
async def test_a_busy_server_is_asked_again(
    server: FakeInflux, connection: InfluxdbConnection, fault: Reply, reason: str, after: float | None
) -> None:
    server.script.append(fault)

    delivery = await deliver(sink(connection), readings(2))

    (retry,) = delivery.retries
    assert (retry.reason, retry.after, retry.operator) == (reason, after, False)
    assert server.stored == lines([0, 1])
    assert delivery.failures == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        pytest.param(Reply(401, '{"message":"unauthorized access"}'), "check the `token`", id="wrong token"),
        pytest.param(Reply(403), "give the token of the connection the right", id="forbidden"),
        pytest.param(
            Reply(404, '{"message":"bucket \\"home\\" not found"}'), "create the bucket", id="no bucket"
        ),
        pytest.param(Reply(405), "check the `url` and `version`", id="not an InfluxDB"),
        pytest.param(
            Reply(400, "Client sent an HTTP request to an HTTPS server.\n"),
            "check the `url`",
            id="http to https",
        ),
        pytest.param(
            Reply(400, "<html><h1>400 Bad Request</h1></html>"), "check the `url`", id="a proxy's page"
        ),
    ],
)
async def test_a_mistake_of_the_operator_keeps_the_data(
    server: FakeInflux, connection: InfluxdbConnection, fault: Reply, says: str
) -> None:
    server.script += [fault, fault]

    delivery = await deliver(sink(connection), readings(2))

    assert [(says in retry.reason, retry.operator) for retry in delivery.retries] == [(True, True)] * 2
    assert server.stored == lines([0, 1])


async def test_a_bucket_that_is_made_later_gets_everything(server: FakeInflux) -> None:
    async with connected(server.url) as connection:
        node = sink(connection, bucket="later")
        with pytest.raises(RetryLater) as later:
            await deliver(node, readings(2), attempts=1)
        server.buckets.add("later")
        await node.write(list(later.value.remaining or ()))

    assert 'bucket "later" not found' in later.value.reason
    assert server.stored == lines([0, 1])


async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(server: FakeInflux) -> None:
    async with FakeInflux() as thief, connected(server.url) as connection:
        server.script.append(Reply(307, "", {"Location": f"{thief.url}/api/v2/write?org=home&bucket=home"}))

        delivery = await deliver(sink(connection), readings(1))

        (retry,) = delivery.retries
        assert retry.operator
        assert thief.url in retry.reason
        assert thief.requests == []
    assert server.stored == lines([0])


async def test_the_proxy_of_the_environment_is_not_used(
    server: FakeInflux, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeInflux() as proxy, connected(server.url) as connection:
        monkeypatch.setenv("http_proxy", proxy.url)
        await deliver(sink(connection), readings(1))

        assert proxy.requests == []
    assert server.stored == lines([0])


@pytest.mark.parametrize("after_commit", [False, True], ids=["before the commit", "after the commit"])
async def test_a_cut_connection_is_answered_by_sending_the_same_points_again(
    server: FakeInflux, connection: InfluxdbConnection, after_commit: bool
) -> None:
    server.script.append(Reset(after_commit))

    delivery = await deliver(sink(connection), readings(3))

    assert len(delivery.retries) == 1
    assert server.url in delivery.retries[0].reason
    assert len(server.points) == 3
    assert set(server.stored) == set(lines([0, 1, 2]))


async def test_a_server_that_is_not_there_is_a_reason_to_come_again() -> None:
    async with FakeInflux() as gone:
        url = gone.url
    async with connected(url) as connection:
        with pytest.raises(RetryLater) as later:
            await deliver(sink(connection), readings(1), attempts=1)

        assert connection.context.status == "degraded"
    assert "Cannot connect" in later.value.reason


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Hang(), id="never answers"),
        pytest.param(Reply(503, "x" * 500, seconds_a_byte=1.0), id="a byte a second"),
    ],
)
async def test_waiting_for_an_answer_ends_at_the_timeout(server: FakeInflux, fault: Reply | Hang) -> None:
    server.script.append(fault)
    async with connected(server.url, timeout="200ms") as connection:
        started = time.monotonic()
        with pytest.raises(RetryLater) as later:
            await deliver(sink(connection), readings(1), attempts=1)
        took = time.monotonic() - started

    assert later.value.reason == f"{server.url} did not answer within 200ms"
    assert 0.15 < took < 1.5


async def test_a_write_that_hangs_can_be_cancelled(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.always = Hang()
    writing = asyncio.create_task(sink(connection).write(readings(1)))
    await server.arrived.wait()

    writing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await writing


async def test_the_body_of_a_success_is_not_waited_for(server: FakeInflux) -> None:
    server.script.append(Reply(200, "x" * 500, seconds_a_byte=1.0))
    async with connected(server.url, timeout="10s") as connection:
        started = time.monotonic()
        await deliver(sink(connection), readings(1))

        assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "names_line", [False, True], ids=["the server says nothing", "the server tells the line"]
)
async def test_malformed_lines_fail_alone_and_the_others_are_written(
    server: FakeInflux, connection: InfluxdbConnection, names_line: bool
) -> None:
    bad = (17, 2_500, 4_999)
    server.malformed, server.names_line = values(*bad), names_line

    delivery = await deliver(sink(connection), readings(5_000))

    assert delivery.failed == [{"value": value} for value in bad]
    assert delivery.reasons == [
        f"InfluxDB answered 400: unable to parse: bad value in {line}" for line in lines(bad)
    ]
    assert server.stored == lines([index for index in range(5_000) if index not in bad])
    assert len(server.writes) <= 2 * len(bad) * math.ceil(math.log2(5_000)) + 1
    if names_line:
        assert len(server.writes) <= 3 * len(bad) + 1


async def test_the_lines_that_a_partial_write_left_out_are_found_and_fail(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.refused = values(5, 900)

    delivery = await deliver(sink(connection), readings(1_000))

    assert delivery.failed == [{"value": 5}, {"value": 900}]
    assert delivery.reasons[0] == (
        "InfluxDB answered 422: failure writing points to database: partial write: "
        f"bad value in {lines([5])[0]} dropped=1"
    )
    assert len(server.points) == 998
    assert len(server.writes) <= 2 * 2 * 10 + 1


async def test_a_batch_that_is_refused_as_a_whole_costs_one_request(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.refused = lambda line: "points beyond retention policy"

    delivery = await deliver(sink(connection), readings(500))

    assert len(delivery.failures) == 500
    assert len(server.writes) == 1
    assert server.stored == []


async def test_version_3_names_the_lines_it_left_out(server: FakeInflux) -> None:
    server.refused = values(3, 4, 700)
    async with connected(server.url, version=3) as connection:
        delivery = await deliver(sink(connection), readings(1_000))

    assert delivery.failed == [{"value": 3}, {"value": 4}, {"value": 700}]
    assert delivery.reasons[0] == (
        f"InfluxDB answered 400: partial write of line protocol occurred: bad value in {lines([3])[0]}"
    )
    assert len(server.points) == 997
    assert len(server.writes) == 1 + 3 + 3


def _quoting(quoted: Iterable[str]) -> Reply:
    message = "\n".join(f"unable to parse '{line}': missing fields" for line in quoted)
    return Reply(400, json.dumps({"code": "invalid", "message": message}))


async def test_a_line_that_the_server_quotes_is_tried_alone(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.script += [_quoting(lines([6])), Reply(204), _quoting(lines([6])), Reply(204)]

    delivery = await deliver(sink(connection), readings(10))

    assert delivery.failed == [{"value": 6}]
    assert [len(request.lines) for request in server.writes] == [10, 6, 1, 3]


async def test_a_server_that_accuses_the_wrong_line_is_not_believed_again(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.script.append(_quoting(lines([0])))
    server.malformed = values(5)
    server.names_line = True

    delivery = await deliver(sink(connection), readings(8))

    assert delivery.failed == [{"value": 5}]
    assert server.stored == lines([0, 1, 2, 3, 4, 6, 7])
    assert [len(request.lines) for request in server.writes] == [8, 1, 7, 3, 4, 2, 1, 1, 2]


async def test_words_of_the_data_cannot_fail_the_lines_beside_it(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    messages = [Message("x dropped=2", {"value": 1}, START), *readings(1)]
    server.malformed = lambda line: f"'{line}'" if "dropped" in line else None

    delivery = await deliver(sink(connection), messages)

    assert [message for message, _ in delivery.failures] == messages[:1]
    assert server.stored == lines([0])


async def test_a_body_that_is_too_large_is_halved_down_to_one_line(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.max_body = 200
    messages = [*readings(8), Message("kitchen", {"text": "x" * 300}, START)]

    delivery = await deliver(sink(connection), messages)

    assert delivery.reasons == ["InfluxDB answered 413: unable to read data: points batch is too large"]
    assert [message for message, _ in delivery.failures] == messages[-1:]
    assert server.stored == lines(range(8))


async def test_an_outage_in_the_middle_of_the_search_costs_nothing(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    server.malformed = values(1, 6)
    server.script += [None, Reply(503), None, None, Reset(after_commit=True), *[None] * 4, Reply(429)]

    delivery = await deliver(sink(connection), readings(8))

    assert delivery.failed == [{"value": 1}, {"value": 6}]
    assert len(delivery.retries) == 3
    assert [len(retry.remaining or ()) for retry in delivery.retries] == [8, 8, 7]
    assert set(server.stored) - set(lines([1, 6])) == set(lines([0, 2, 3, 4, 5, 7]))


async def test_requests_stay_below_the_byte_limit(server: FakeInflux, connection: InfluxdbConnection) -> None:
    node = sink(connection, batch={"max_bytes": "1KiB", "max_lines": 100, "max_age": "50ms"})

    await deliver(node, readings(100))

    assert server.stored == lines(range(100))
    assert max(len("\n".join(request.lines)) for request in server.writes) <= 1_024
    assert (node.limits().max_messages, node.limits().max_age) == (100, 0.05)


async def test_a_message_that_is_no_point_fails_and_the_others_are_written(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    messages = [Message("kitchen", None, START), *readings(1), Message("bad\ntopic", {"value": 1}, START)]

    delivery = await deliver(sink(connection), messages)

    assert delivery.reasons == [
        "the point has no field: nothing in it is a finite number, a bool or a string",
        "the tag `sensor` 'bad\\ntopic' contains a control character",
    ]
    assert server.stored == lines([0])


async def test_a_batch_without_a_point_makes_no_request(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    delivery = await deliver(sink(connection), [Message("kitchen", [], START)])

    assert len(delivery.failures) == 1
    assert server.requests == []


async def test_fields_that_are_not_finite_are_told_once_a_batch(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    node = sink(connection)
    payload = {"value": 0, "gone": math.nan}

    await deliver(node, [Message(topic, payload, START) for topic in ("kitchen", "bath", "hall")])
    await deliver(node, readings(1))

    log = node.context.log
    assert isinstance(log, RecordingLog)
    event = "fields left out that are not finite numbers"
    assert log.lines == [("warning", event, {"node": "store", "fields": 3})]
    assert server.stored[0] == lines([0])[0]


@pytest.mark.parametrize(
    ("precision", "step", "replaced"),
    [
        pytest.param("ns", 0, 9, id="all at the same time"),
        pytest.param("ns", 1, None, id="a nanosecond apart"),
        pytest.param("s", 1, 9, id="in the same second"),
    ],
)
async def test_points_that_replace_each_other_are_told(
    server: FakeInflux, connection: InfluxdbConnection, precision: str, step: int, replaced: int | None
) -> None:
    node = sink(connection, precision=precision)
    batch = [
        Message(topic, {name: index}, START + index * step)
        for index in range(10)
        for topic, name in (("kitchen", "value"), (f"room {index}", "value"))
    ]

    await deliver(node, batch)

    log = node.context.log
    assert isinstance(log, RecordingLog)
    event = "points replaced by others with the same measurement, tags, fields and time"
    assert log.lines == ([("warning", event, {"node": "store", "points": replaced})] if replaced else [])
    assert len(server.points) == len(batch) - (replaced or 0)


async def test_fields_that_come_together_in_one_point_are_no_replacement(
    server: FakeInflux, connection: InfluxdbConnection
) -> None:
    node = sink(connection)

    await deliver(node, [Message("kitchen", {"mean": 1}, START), Message("kitchen", {"max": 2}, START)])

    log = node.context.log
    assert isinstance(log, RecordingLog)
    assert log.lines == []
    assert len(server.stored) == 2


async def test_the_token_is_in_no_reason_log_or_exception(server: FakeInflux) -> None:
    echo = {"message": f"no access with {TOKEN}"}
    server.script += [
        Reply(401, json.dumps(echo)),
        Reply(400, json.dumps(echo)),
        Reply(307, "", {"Location": f"http://elsewhere/{TOKEN}"}),
        Reply(503, TOKEN),
        Reset(),
        Hang(),
    ]
    async with connected(server.url, timeout="100ms") as connection:
        node = sink(connection)
        delivery = await deliver(node, readings(1))
        delivery_2 = await deliver(node, readings(1))

        logs = [node.context.log, connection.context.log]
        shown = [
            repr(delivery),
            repr(delivery_2),
            repr(connection.config),
            *(repr(vars(log)) for log in logs),
        ]
        shown += [repr(retry.__dict__) + str(retry) for retry in delivery.retries + delivery_2.retries]

    assert "***" in "".join(shown)
    assert TOKEN not in "".join(shown)
