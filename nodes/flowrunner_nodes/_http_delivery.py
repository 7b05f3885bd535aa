"""Requests on their way to a server: one at a time or several, halved where some of their messages are at fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from flowrunner import Duration, Message, MessageError, Options, RetryLater
from flowrunner_nodes._http_answer import HttpAnswer, Unreachable
from flowrunner_nodes._http_request import Request

if TYPE_CHECKING:
    from flowrunner_nodes._http_client import HttpClient

_DIVISIBLE = (400, 413, 422)
"""Answers that may be about some of the messages of a request only."""
_ADVICE = {401: "check the `token` or the headers", 407: "there is a proxy in between that wants a password"}


class BatchOptions(Options):
    """How many messages are sent in one request."""

    max_messages: Annotated[
        int, Field(description="Messages in one request at most.", ge=1, le=10_000, examples=[500])
    ] = 500
    max_age: Annotated[
        Duration, Field(description="How long a message waits for others.", examples=["1s"])
    ] = "1s"  # type: ignore[assignment]  # read like a user's


class Item(NamedTuple):
    """A message, where it goes, and what is sent for it."""

    message: Message
    request: Request
    body: bytes
    traced: dict[str, str]
    """Headers that tell of the trace it belongs to; mostly none."""


class Delivery:
    """What comes of some messages: accepted by the server, given to ``fail``, or left for later."""

    def __init__(
        self, client: HttpClient, method: str, fail: Callable[[Message, str], None], *, array: bool
    ) -> None:
        self._client = client
        self._method = method
        self._fail = fail
        self._array = array

    async def send(self, items: Sequence[Item], concurrency: int) -> None:
        """Return when every message has ended; raises :class:`RetryLater` with those that have not."""
        groups = [[item] for item in items]
        if self._array:
            groups = [list(group) for _, group in groupby(items, lambda item: item.request)]
        for start in range(0, len(groups), concurrency):
            async with asyncio.TaskGroup() as tasks:
                sending = [
                    tasks.create_task(self._send(group)) for group in groups[start : start + concurrency]
                ]
            outcomes = [task.result() for task in sending]
            laters = [later for _, later in outcomes if later is not None]
            if laters:
                after = [item for group in groups[start + concurrency :] for item in group]
                raise _later(laters, [*(item for left, _ in outcomes for item in left), *after])

    async def _send(self, group: list[Item]) -> tuple[list[Item], RetryLater | None]:
        """Send messages with the same address; return what is left and why."""
        parts = [group]
        while parts:
            part = parts.pop()
            try:
                answer = await self._client.send(self._method, _request(part), self._body(part))
            except MessageError as error:
                self._fail_all(part, str(error))
                continue
            except Unreachable as error:
                later: RetryLater | None = RetryLater(str(error), operator=error.forbidden)
            else:
                if answer.status in _DIVISIBLE and len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue
                later = self._settle(part, answer)
            if later is not None:
                return [item for each in (part, *reversed(parts)) for item in each], later
        return [], None

    def _body(self, part: list[Item]) -> bytes:
        return b"[" + b",".join(item.body for item in part) + b"]" if self._array else part[0].body

    def _settle(self, part: list[Item], answer: HttpAnswer) -> RetryLater | None:
        """End the messages of a request as the answer says, or return when to try again."""
        words = answer.told(str(part[0].request.origin), answer.body)
        if answer.accepted:
            return None
        if answer.transient:
            return RetryLater(words, after=answer.retry_after)
        if answer.status in _ADVICE:
            return RetryLater(f"{words}; {_ADVICE[answer.status]}", operator=True)
        if answer.status < 400:
            where = f"; it points to {answer.location}" if answer.location else ""
            return RetryLater(f"{words}; redirects are not followed{where}: correct `url`", operator=True)
        self._fail_all(part, words)
        return None

    def _fail_all(self, part: list[Item], reason: str) -> None:
        for item in part:
            self._fail(item.message, reason)


def _request(part: list[Item]) -> Request:
    """Return the request for messages with the same address, with the trace of the first that has one."""
    request = part[0].request
    traced = next((item.traced for item in part if item.traced), None)
    return request if traced is None else request._replace(headers=request.headers | traced)


def _later(laters: list[RetryLater], left: list[Item]) -> RetryLater:
    asked = [later.after for later in laters if later.after is not None]
    return RetryLater(
        laters[0].reason,
        after=max(asked, default=None),
        remaining=[item.message for item in left],
        operator=any(later.operator for later in laters),
    )
