"""What the reloader tells of each version of a flow: applied, refused, failed, rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowrunner.graph.revision import Revision
from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.testing import run_virtual
from tests.runtime.flows import Feed, Keep, registered
from tests.runtime.test_flow import Later, Twice
from tests.runtime.test_reload import Files, flow
from tests.runtime.test_supervisor import Fragile

SHARED = "version: 1\nconnections:\n  broker: {{ type: mqtt, url: 'mqtt://127.0.0.1:1', {option}: secret-of-a-broker }}\n"
USER = """\
version: 1
flow: one
delivery: memory
nodes:
  a: { type: mqtt_in, connection: broker, topics: [x] }
  b: { type: keep, from: a }
"""


@pytest.fixture(autouse=True)
def _types() -> Any:
    with registered(feed=Feed, keep=Keep, later=Later, twice=Twice, fragile=Fragile):
        yield
    Fragile.broken = False


def told(tmp_path: Path, files: dict[str, str], *changes: Callable[[Files], Any]) -> list[list[Revision]]:
    """Return what is recorded at the start, and at each change."""
    found: list[list[Revision]] = [[]]

    async def scenario() -> None:
        process = Files(tmp_path)
        process.reloader = Reloader(
            [process.folder], {}, process.supervisor, process.log, record=lambda one: found[-1].append(one)
        )
        for name, text in files.items():
            process.write(name, text)
        loaded = process.reloader.start()
        process.task = asyncio.create_task(
            process.supervisor.run(loaded.graphs, on_started=lambda: process.reloader.started(loaded))
        )
        await asyncio.sleep(0.5)
        for change in changes:
            found.append([])
            change(process)
            await process.check()
        await process.__aexit__()

    run_virtual(scenario())
    return found


def outcomes(revision: Revision) -> dict[str, str]:
    assert revision.plan is not None
    return {change.name: change.outcome for change in revision.plan.nodes}


def test_a_flow_that_is_started_changed_and_removed(tmp_path: Path) -> None:
    start, change, same, removal = told(
        tmp_path,
        {"one.yaml": flow("one")},
        lambda files: files.write("one.yaml", flow("one", cls="twice")),
        lambda files: files.write("one.yaml", flow("one", cls="twice") + "# a comment\n"),
        lambda files: (files.folder / "one.yaml").unlink(),
    )

    (started,), (changed,), (removed,) = start, change, removal
    assert {"a": "added", "n": "added", "later": "added", "b": "added"} == outcomes(started)
    assert {"a": "keep", "n": "state_lost", "later": "keep", "b": "keep"} == outcomes(changed)
    assert {"removed"} == set(outcomes(removed).values())
    assert [flow("one"), flow("one", cls="twice"), None] == [
        one.source for one in (started, changed, removed)
    ]
    assert ["applied"] * 3 == [one.result for one in (started, changed, removed)]
    assert [] == same
    assert removed.hash is None
    assert started.hash != changed.hash


def test_a_version_that_cannot_be_built_is_rolled_back_and_a_new_flow_has_failed(tmp_path: Path) -> None:
    def break_both(files: Files) -> None:
        Fragile.broken = True
        files.write("one.yaml", flow("one", cls="fragile"))
        files.write("two.yaml", flow("two", cls="fragile"))

    _, (one, two) = told(tmp_path, {"one.yaml": flow("one")}, break_both)

    assert [("one", "rolled_back"), ("two", "failed")] == [(each.flow, each.result) for each in (one, two)]
    assert "ValueError: cannot be made" == one.reason == two.reason
    assert "state_lost" == outcomes(one)["n"]
    assert flow("one", cls="fragile") == one.source


def test_a_flow_that_cannot_be_built_at_the_start_has_failed(tmp_path: Path) -> None:
    Fragile.broken = True

    ((one,),) = told(tmp_path, {"one.yaml": flow("one", cls="fragile")})

    assert ("failed", "cannot be built: ValueError: cannot be made") == (one.result, one.reason)


MISTAKES = {
    "a node": (flow("one").replace("from: a,", "from: x,"), "FR012", True),
    "a type": (flow("one", cls="latr"), "FR011", False),
    "no YAML": ("version: [", "FR001", False),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_with_its_diagnostics_and_its_text_when_no_secret_can_hide_in_it(
    name: str, tmp_path: Path
) -> None:
    text, code, shown = MISTAKES[name]

    (start, change) = told(tmp_path, {"one.yaml": flow("one")}, lambda files: files.write("one.yaml", text))

    ((refused,), (before,)) = (change, start)
    assert ("one", "refused", None) == (refused.flow, refused.result, refused.plan)
    assert code == refused.diagnostics[0].code
    assert refused.diagnostics[0].message == refused.reason
    assert (text if shown else None) == refused.source
    assert 64 == len(str(refused.hash))
    assert not refused.repeats(before)
    assert not before.repeats(None)


def test_a_mistake_in_a_shared_connection_refuses_the_flows_that_use_it(tmp_path: Path) -> None:
    files = {
        "shared.yaml": SHARED.format(option="password").replace("password", "username"),
        "one.yaml": USER,
    }

    _, change = told(
        tmp_path, files, lambda process: process.write("shared.yaml", SHARED.format(option="pasword"))
    )

    (refused,) = change
    assert ("one", "refused") == (refused.flow, refused.result)
    assert "shared.yaml" == Path(refused.diagnostics[0].file).name
    assert USER == refused.source
    assert "secret-of-a-broker" not in repr(refused)


def test_a_file_with_a_mistake_that_never_ran_is_called_by_its_flow_or_its_name(tmp_path: Path) -> None:
    files = {"a.yaml": flow("one", cls="latr"), "b.yaml": "version: ["}

    ((one, two, _),) = told(tmp_path, {**files, "ok.yaml": flow("ok")})

    assert [("one", "refused"), ("b", "refused")] == [(each.flow, each.result) for each in (one, two)]


def test_of_a_last_good_version_the_broken_text_is_not_taken_for_its_own(tmp_path: Path) -> None:
    told(tmp_path, {"one.yaml": flow("one")})
    (tmp_path / "again").mkdir()
    (tmp_path / "state").rename(tmp_path / "again" / "state")
    broken = flow("one").replace("from: a,", "from: x,")

    async def start_again() -> list[Revision]:
        found: list[Revision] = []
        files = Files(tmp_path / "again")
        old = tmp_path / "flows"
        files.folder.rmdir()
        files.folder.symlink_to(old)
        (old / "one.yaml").write_text(broken)
        reloader = Reloader([old], {}, files.supervisor, files.log, record=found.append)
        loaded = reloader.start()
        assert ["one"] == list(loaded.graphs)
        reloader.started(loaded)
        return found

    refused, applied = run_virtual(start_again())

    assert ("refused", broken) == (refused.result, refused.source)
    assert ("applied", None) == (applied.result, applied.source)
