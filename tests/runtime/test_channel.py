"""Channels and inboxes: nothing is lost but what is counted, the order is the journal's, memory is bounded."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowrunner import Message
from flowrunner.runtime.channel import Batch, Channel, Marker
from flowrunner.runtime.inbox import Inbox
from flowrunner.testing import run_virtual

type Policy = Literal["block", "drop_oldest", "drop_newest"]


def batch(step: int, *numbers: int) -> Batch:
    return Batch(step, step, [Message("t", number, 0, clock=step, seq=number) for number in numbers])


def drained(channel: Channel) -> list[Any]:
    """Take everything: the payloads of batches, and the numbers of markers as strings."""
    found: list[Any] = []
    while not channel.empty():
        item = channel.take()
        if isinstance(item, Marker):
            found.append(f"marker {item.checkpoint}")
        else:
            found += [message.payload for message in item.messages]
    return found


@pytest.mark.parametrize(
    ("policy", "kept", "dropped"),
    [
        ("block", [1, 2, "marker 1", 3, 4, 5, 6], 0),
        ("drop_oldest", ["marker 1", 4, 5, 6], 3),
        ("drop_newest", [1, 2, "marker 1", 3], 3),
    ],
)
def test_a_full_channel_does_what_its_policy_says_and_keeps_markers_in_place(
    policy: Policy, kept: list[Any], dropped: int
) -> None:
    counted: list[int] = []
    channel = Channel(capacity=3, when_full=policy, on_drop=counted.append)

    channel.put(batch(1, 1, 2))
    channel.put(Marker(1, 1, 1))
    channel.put(batch(2, 3, 4))
    channel.put(batch(3, 5, 6))

    assert (dropped, kept) == (sum(counted), drained(channel))


@pytest.mark.parametrize(("policy", "behind"), [("drop_oldest", 1), ("drop_newest", 3)])
def test_a_channel_knows_which_of_the_dropped_lay_behind_its_marker(policy: Policy, behind: int) -> None:
    channel = Channel(capacity=3, when_full=policy)
    channel.put(batch(1, 1, 2))
    channel.put(Marker(1, 1, 1))
    channel.put(batch(2, 3, 4, 5, 6))

    assert behind == channel.dropped_behind
    channel.put(Marker(2, 2, 2))
    assert 0 == channel.dropped_behind


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
@pytest.mark.parametrize("progress", [False, True])
def test_a_consumer_that_stalls_costs_no_more_than_the_capacity(policy: Policy, progress: bool) -> None:
    channel = Channel(capacity=4, when_full=policy, progress=progress)

    for step in range(1, 2000):
        channel.put(batch(step, step))
        channel.put(batch(step))

    assert len(channel._items) <= 2 * 4 + 1
    assert 4 == channel.depth


def test_progress_for_a_consumer_that_stalls_is_one_item() -> None:
    channel = Channel(progress=True)

    for step in range(1, 1000):
        channel.put(batch(step))

    assert (1, 999) == (len(channel._items), channel.reached())


def test_a_channel_without_progress_does_not_pass_on_empty_steps() -> None:
    channel = Channel()

    channel.put(batch(1))

    assert channel.empty()
    assert 0 == channel.reached()


def test_the_last_step_before_a_marker_is_what_was_reached() -> None:
    channel = Channel(progress=True)
    for item in (batch(1, 1), batch(4), Marker(1, 5, 5), batch(9, 2)):
        channel.put(item)

    assert 5 == channel.reached()


def test_a_producer_waits_for_room_and_the_time_is_counted() -> None:
    async def scenario() -> None:
        channel = Channel(capacity=2)
        await channel.room()
        channel.put(batch(1, 1, 2, 3))
        waiting = asyncio.create_task(channel.room())
        await asyncio.sleep(3)
        assert not waiting.done()
        channel.take()
        await waiting

        assert 3.0 == channel.blocked_seconds

    run_virtual(scenario())


def test_a_producer_that_is_cancelled_leaves_the_channel_as_it_is() -> None:
    async def scenario() -> None:
        channel = Channel(capacity=1)
        channel.put(batch(1, 1))
        waiting = asyncio.create_task(channel.room())
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait({waiting})
        channel.take()

        assert channel.empty()

    run_virtual(scenario())


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5)),
        st.tuples(st.just("mark"), st.just(0)),
        st.tuples(st.just("take"), st.integers(1, 3)),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(
    work=operations,
    capacity=st.integers(1, 6),
    policy=st.sampled_from(["block", "drop_oldest", "drop_newest"]),
    progress=st.booleans(),
)
def test_nothing_is_lost_but_what_is_counted(
    work: list[tuple[str, int]], capacity: int, policy: Policy, progress: bool
) -> None:
    dropped: list[int] = []
    channel = Channel(capacity=capacity, when_full=policy, progress=progress, on_drop=dropped.append)
    put, markers, taken, number = 0, 0, list[Any](), 0
    for step, (what, count) in enumerate(work, 1):
        if what == "put":
            channel.put(batch(step, *range(number, number + count)))
            number += count
            put += count
        elif what == "mark":
            markers += 1
            channel.put(Marker(markers, step, step))
        else:
            for _ in range(count):
                if not channel.empty():
                    item = channel.take()
                    taken += ["m"] if isinstance(item, Marker) else [m.payload for m in item.messages]
        held = sum(len(item.messages) for item in channel._items if isinstance(item, Batch))
        got = [found for found in taken if found != "m"]
        assert channel.depth == held
        assert put == len(got) + channel.depth + sum(dropped)
        assert policy == "block" or channel.depth <= capacity
        assert policy == "block" or 0 <= channel.dropped_behind <= sum(dropped)
    rest = drained(channel)
    numbers = [found for found in taken if found != "m"] + [found for found in rest if isinstance(found, int)]
    assert sorted(set(numbers)) == numbers
    assert markers == taken.count("m") + sum(isinstance(found, str) for found in rest)


@settings(max_examples=150, deadline=None)
@given(
    producers=st.lists(st.lists(st.integers(0, 3), min_size=8, max_size=8), min_size=1, max_size=4),
    marks=st.sets(st.integers(0, 7)),
    capacity=st.integers(1, 3),
    pauses=st.randoms(use_true_random=False),
)
def test_an_inbox_hands_out_steps_in_order_whole_and_cut_at_the_markers(
    producers: list[list[int]], marks: set[int], capacity: int, pauses: Any
) -> None:
    async def scenario() -> None:
        channels = [Channel(capacity=capacity, progress=True) for _ in producers]
        inbox = Inbox(
            {f"n{number % 2}": channels[number % 2 :: 2] for number in range(min(2, len(channels)))}
        )

        async def produce(number: int) -> None:
            for step, count in enumerate(producers[number], 1):
                channels[number].put(batch(step, *[step * 100 + number * 10 + n for n in range(count)]))
                if step - 1 in marks:
                    channels[number].put(Marker(step, step, step))
                await asyncio.sleep(pauses.choice([0, 0, 0.1]))
                await channels[number].room()

        async with asyncio.TaskGroup() as group:
            for number in range(len(producers)):
                group.create_task(produce(number))
            seen: dict[str, list[Any]] = {"n0": [], "n1": []}
            markers, steps = 0, [0]
            while steps[-1] < 8 or markers < len(marks):
                taken = await inbox.take()
                if isinstance(taken, Marker):
                    markers += 1
                    assert taken.step == steps[-1]
                    continue
                lists, step, clock = taken
                assert step > steps[-1]
                assert clock == step
                steps.append(step)
                for target, messages in lists.items():
                    seen[target] += [message.payload for message in messages]
        expected: dict[str, list[int]] = {"n0": [], "n1": []}
        for number, counts in enumerate(producers):
            for step, count in enumerate(counts, 1):
                expected[f"n{number % 2}"] += [step * 100 + number * 10 + n for n in range(count)]
        assert {target: sorted(numbers) for target, numbers in expected.items()} == seen

    run_virtual(scenario())


def test_a_marker_that_the_other_channel_never_had_does_not_hold_up_what_follows() -> None:
    async def scenario() -> None:
        one, other = Channel(progress=True), Channel(progress=True)
        inbox = Inbox({"n": [one, other]})
        one.put(Marker(1, 1, 1))  # of a checkpoint that was given up before it came to the other
        one.put(batch(2, 1))
        other.put(batch(2, 2))

        taken = await inbox.take()
        assert not isinstance(taken, Marker)
        assert [1, 2] == [message.payload for message in taken[0]["n"]]
        assert one.empty()

    run_virtual(scenario())


def test_failures_that_come_behind_their_step_do_not_wait_for_the_next() -> None:
    async def scenario() -> None:
        pump, sink = Channel(progress=True), Channel(progress=True)
        inbox = Inbox({"n": [pump, sink]})
        inbox.begin(3)
        waiting = asyncio.create_task(inbox.take())
        await asyncio.sleep(1)
        sink.put(batch(2, 7))

        taken = await waiting
        assert not isinstance(taken, Marker)
        assert ([7], 3) == ([message.payload for message in taken[0]["n"]], taken[1])

    run_virtual(scenario())


def test_an_inbox_puts_first_and_takes_all_by_node() -> None:
    inbox = Inbox({"n": [Channel()], "m": [Channel(), Channel()]})

    inbox.put_first({"m": batch(1, 2).messages, "n": batch(1, 1).messages}, 1, 1)
    inbox.put_first({"m": []})

    found = {node: [message.payload for message in messages] for node, messages in inbox.take_all().items()}
    assert {"n": [1], "m": [2]} == found
    assert {} == inbox.take_all()
