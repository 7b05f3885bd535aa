"""Following the files: what changes is carried over, what is broken is left alone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from flowrunner.runtime.reload.reloader import Reloader
from flowrunner.runtime.storage import FlowSettings
from flowrunner.runtime.supervisor import Supervisor
from flowrunner.testing import VirtualClock, run_virtual
from tests.nodes.harness import RecordingLog
from tests.runtime.flows import START, Feed, Keep, record, registered
from tests.runtime.test_flow import Later, Twice
from tests.runtime.test_supervisor import Fragile

FLOW = """
version: 1
flow: {name}
delivery: memory
nodes:
  a: {{ type: feed }}
  n: {{ type: {cls}, from: a, description: "{text}" }}
  later: {{ type: later, from: a }}
  b: {{ type: keep, from: [n, later] }}
"""


@pytest.fixture(autouse=True)
def _types() -> Any:
    with registered(feed=Feed, keep=Keep, later=Later, twice=Twice, fragile=Fragile):
        yield
    Fragile.broken = False


def flow(name: str, text: str = "", cls: str = "later") -> str:
    return FLOW.format(name=name, text=text, cls=cls)


class Files:
    """A directory of flow files and the process that follows it."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder / "flows"
        self.folder.mkdir()
        self.log = RecordingLog()
        settings = FlowSettings(state_dir=folder / "state", checkpoint_every=1.0)
        self.supervisor = Supervisor(settings, VirtualClock(START), self.log)
        self.reloader = Reloader([self.folder], environment, self.supervisor, self.log)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def versions(self) -> dict[str, int]:
        return {name: flow.generation for name, flow in self.supervisor.flows.items()}

    def mistakes(self) -> list[str]:
        """Return the names of the files with errors."""
        errors = [found for found in self.reloader.diagnostics if found.severity == "error"]
        return [Path(found.file).name for found in errors]

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.supervisor.run(self.reloader.start().graphs))
        await asyncio.sleep(0.5)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop(5.0)
        await self.task

    async def check(self) -> dict[str, int]:
        """Look at the files and return the results of this look."""
        before = dict(self.reloader.results)
        await self.reloader.check()
        await asyncio.sleep(0.5)
        return {
            name: count - before[name]
            for name, count in self.reloader.results.items()
            if count != before[name]
        }


def _one_and_two(files: Files) -> None:
    files.write("one.yaml", flow("one"))
    files.write("two.yaml", flow("two"))


def _rename(files: Files) -> None:
    (files.folder / "one.yaml").rename(files.folder / "other.yaml")


def _rename_and_break(files: Files) -> None:
    (files.folder / "one.yaml").unlink()
    files.write("other.yaml", flow("one", cls="latr"))


def _move_away(files: Files) -> None:
    shutil.move(files.folder, files.folder.with_name("away"))


def _mistake_and_change(files: Files) -> None:
    files.write("one.yaml", "version: 2")
    files.write("two.yaml", flow("two", "x"))


CHANGES: dict[str, tuple[Callable[[Files], Any], dict[str, int], dict[str, int]]] = {
    "nothing": (lambda f: None, {}, {"one": 1, "two": 1}),
    "a comment": (lambda f: f.write("one.yaml", flow("one") + "# new\n"), {}, {"one": 1, "two": 1}),
    "an option": (lambda f: f.write("one.yaml", flow("one", "x")), {"applied": 1}, {"one": 2, "two": 1}),
    "a new flow": (lambda f: f.write("c.yaml", flow("c")), {"applied": 1}, {"one": 1, "two": 1, "c": 1}),
    "a flow less": (lambda f: (f.folder / "one.yaml").unlink(), {"applied": 1}, {"two": 1}),
    "another file name": (_rename, {}, {"one": 1, "two": 1}),
    "another file name and a mistake": (_rename_and_break, {"refused": 1}, {"one": 1, "two": 1}),
    "another flow name": (lambda f: f.write("one.yaml", flow("uno")), {"applied": 2}, {"two": 1, "uno": 1}),
    "no YAML": (lambda f: f.write("one.yaml", "version: ["), {"refused": 1}, {"one": 1, "two": 1}),
    "a mistake": (
        lambda f: f.write("one.yaml", flow("one", cls="latr")),
        {"refused": 1},
        {"one": 1, "two": 1},
    ),
    "no text": (
        lambda f: (f.folder / "one.yaml").write_bytes(b"\xff\xfe\0"),
        {"refused": 1},
        {"one": 1, "two": 1},
    ),
    "an empty file": (lambda f: f.write("one.yaml", ""), {"refused": 1}, {"one": 1, "two": 1}),
    "twice the name": (lambda f: f.write("c.yaml", flow("one")), {"refused": 2}, {"one": 1, "two": 1}),
    "a mistake and a change": (
        _mistake_and_change,
        {"refused": 1, "applied": 1},
        {"one": 1, "two": 2},
    ),
    "the directory is gone": (_move_away, {"refused": 1}, {"one": 1, "two": 1}),
}


def test_a_flow_whose_file_was_renamed_survives_the_next_mistake_which_is_told_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            _rename(files)
            await files.check()
            files.write("other.yaml", flow("one", cls="latr"))
            await files.check()
            await files.reloader.reload()

            assert {"one": 1, "two": 1} == files.versions()
            assert str(files.folder / "other.yaml") == files.supervisor.flows["one"].graph.file
            assert 1 == files.reloader.results["refused"]

    run_virtual(scenario())


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_the_files(name: str, tmp_path: Path) -> None:
    change, results, versions = CHANGES[name]

    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            change(files)
            found = await files.check()

            assert versions == files.versions()
            assert results.keys() == found.keys()
            assert {"running"} == {flow.status for flow in files.supervisor.flows.values()}

    run_virtual(scenario())


def test_windows_of_unchanged_nodes_are_kept_and_those_of_changed_ones_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            one = files.supervisor.flows["one"]
            await one.runner.assembly.sources["a"].context.post([record(1)])
            await asyncio.sleep(5)
            files.write("one.yaml", flow("one", "changed", cls="twice"))
            assert {"applied": 1} == await files.check()
            await asyncio.sleep(10)

            sink = one.runner.assembly.sinks["b"].node
            assert isinstance(sink, Keep)
            assert [1] == [message.payload for message in sink.kept]
            assert {"reload": 1} == one.runner.ledger.dropped

    run_virtual(scenario())


@pytest.mark.parametrize("new", [True, False], ids=["a new flow", "a new version"])
def test_a_node_that_cannot_be_built_is_a_failed_reload(new: bool, tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            Fragile.broken = True
            file, name = ("c.yaml", "c") if new else ("one.yaml", "one")
            files.write(file, flow(name, cls="fragile"))
            assert {"failed": 1} == await files.check()
            assert {"one": 1, "two": 1} == files.versions()
            assert {"c"} == set(files.supervisor.refused) or not new
            if new:
                (files.folder / "c.yaml").unlink()
            else:
                files.write("one.yaml", flow("one"))
            assert {} == await files.check()
            assert {} == files.supervisor.refused

    run_virtual(scenario())


def test_a_mistake_in_a_connection_leaves_the_flows_that_use_it_alone(tmp_path: Path) -> None:
    connection = 'version: 1\nconnections:\n  broker: {{ type: mqtt, url: "mqtt://127.0.0.1:1", {more} }}\n'
    user = """
version: 1
flow: user
delivery: memory
nodes:
  a: { type: mqtt_in, connection: broker, topics: [x] }
  b: { type: keep, from: a }
"""

    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        files.write("connections.yaml", connection.format(more="username: x"))
        files.write("user.yaml", user)
        async with files:
            assert {"one": 1, "two": 1, "user": 1} == files.versions()
            files.write("connections.yaml", connection.format(more="user: x"))
            found = await files.check()

            assert {"one": 1, "two": 1, "user": 1} == files.versions()
            assert {"refused"} == set(found)

    run_virtual(scenario())


def test_a_secret_that_has_changed_is_taken_up(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first")

    async def scenario() -> None:
        files = Files(tmp_path)
        files.write("one.yaml", flow("one", f"${{file:{secret}}}"))
        async with files:
            secret.write_text("second")
            assert {"applied": 1} == await files.check()
            assert {} == await files.check()
            assert {"one": 2} == files.versions()

    run_virtual(scenario())


def test_a_file_that_is_still_being_written_is_not_taken_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            files.write("one.yaml", flow("one", "half"))
            looking = asyncio.create_task(files.reloader.check())
            while not looking.done():
                files.write("one.yaml", flow("one", f"at {asyncio.get_running_loop().time()}"))
                await asyncio.sleep(0.1)
            assert {"one": 1, "two": 1} == files.versions()

    run_virtual(scenario())


def test_an_unreadable_variable_is_taken_up_when_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        environment = {"WORD": "one"}
        files = Files(tmp_path)
        files.write("one.yaml", flow("one", "${WORD}"))
        files.reloader = Reloader([files.folder], environment, files.supervisor, files.log)
        async with files:
            environment["WORD"] = "two"
            assert {} == await files.check()
            done = await files.reloader.reload()

            assert [("one", "applied")] == [(one.name, one.result) for one in done]
            assert [] == await files.reloader.reload()

    run_virtual(scenario())


def test_a_file_that_failed_is_not_tried_again_until_it_changes(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            files.write("one.yaml", "version: [")
            assert {"refused": 1} == await files.check()
            assert {} == await files.check()
            assert ["one.yaml"] == files.mistakes()
            files.write("one.yaml", flow("one"))
            assert {} == await files.check()
            assert [] == files.mistakes()

    run_virtual(scenario())


def test_a_flow_that_cannot_go_over_says_so_until_it_can(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            Fragile.broken = True
            files.write("one.yaml", flow("one", cls="fragile"))
            await files.check()
            assert {"one": "ValueError: cannot be made"} == files.reloader.failures
            files.write("one.yaml", flow("one"))
            await files.check()
            assert {} == files.reloader.failures

    run_virtual(scenario())


# The last good version


async def _start_again(files: Files) -> Files:
    again = Files.__new__(Files)
    again.__dict__.update(files.__dict__)
    again.supervisor = Supervisor(files.supervisor.settings, VirtualClock(START), files.log)
    again.reloader = Reloader([files.folder], {}, again.supervisor, files.log)
    return again


BREAKAGES: dict[str, Callable[[Files], Any]] = {
    "a mistake": lambda f: f.write("one.yaml", "version: ["),
    "the directory is gone": _move_away,
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_at_a_start_with_a_mistake_the_last_good_version_runs(name: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            assert ["one", "two"] == sorted(files.supervisor.flows)
        BREAKAGES[name](files)
        async with await _start_again(files) as again:
            assert {"one": "running", "two": "running"} == {
                name: flow.status for name, flow in again.supervisor.flows.items()
            }
            assert "one" in again.reloader.last_good
            assert [] != again.mistakes()
            again.folder.mkdir(exist_ok=True)
            _one_and_two(again)
            await again.check()
            assert (frozenset(), []) == (again.reloader.last_good, again.mistakes())
            assert {"one": 1, "two": 1} == again.versions()

    run_virtual(scenario())


def test_a_flow_that_was_taken_away_has_no_last_good_version(tmp_path: Path) -> None:
    async def scenario() -> None:
        files = Files(tmp_path)
        _one_and_two(files)
        async with files:
            (files.folder / "one.yaml").unlink()
            await files.check()
        async with await _start_again(files) as again:
            assert ["two"] == list(again.supervisor.flows)

    run_virtual(scenario())


def test_no_secret_is_written_beside_the_last_good_version(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")

    async def scenario() -> None:
        files = Files(tmp_path)
        files.write("one.yaml", flow("one", f"${{file:{secret}}}"))
        written = 'connections: { c: { type: mqtt, url: "mqtt://h", username: u, password: trout } }'
        files.write("c.yaml", f"version: 1\n{written}\n")
        async with files:
            assert ["one"] == list(files.supervisor.flows)
        kept = [file.read_text() for file in (tmp_path / "state" / "last_good").iterdir()]
        assert 1 == len(kept)
        assert ("swordfish" in kept[0], "trout" in kept[0]) == (False, False)

    run_virtual(scenario())


# Versions that are swapped by a link


def swap(mount: Path, number: int, **texts: str) -> None:
    """Do as the kubelet does: a new folder, and ``..data`` renamed over to it."""
    version = mount / f"..2026_{number}"
    version.mkdir(parents=True)
    for name, text in texts.items():
        (version / f"{name}.yaml").write_text(text)
        if not (mount / f"{name}.yaml").is_symlink():
            (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    before = (mount / "..data").resolve()
    draft = mount / "..data_tmp"
    draft.symlink_to(version.name)
    draft.rename(mount / "..data")
    if before.name.startswith("..2026"):
        shutil.rmtree(before)


def _no_inotify(*_: Any, **__: Any) -> Any:
    raise OSError(24, "Too many open files")


@pytest.mark.parametrize("inotify", [True, False], ids=["hints", "by looking only"])
async def test_a_hundred_swaps_end_in_the_last_content(
    inotify: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not inotify:
        monkeypatch.setattr("flowrunner.runtime.reload.detect.awatch", _no_inotify)
    files = Files(tmp_path)
    swap(files.folder, 0, one=flow("one", "0"), two=flow("two", "0"))
    supervising = asyncio.create_task(files.supervisor.run(files.reloader.start().graphs))
    following = asyncio.create_task(files.reloader.run(0.2))
    await asyncio.sleep(0.1)
    for number in range(1, 101):
        swap(files.folder, number, one=flow("one", str(number)), two=flow("two", "0"))
        await asyncio.sleep(0.005)
    one, two = files.supervisor.flows["one"], files.supervisor.flows["two"]
    async with asyncio.timeout(10):
        while one.graph.nodes["n"].config.description != "100":
            await asyncio.sleep(0.02)
    applied = files.reloader.results["applied"]
    swap(files.folder, 101, one=flow("one", "100"), two=flow("two", "0"))
    await asyncio.sleep(1)
    watched = files.reloader.watching
    following.cancel()
    await asyncio.wait({following})
    await files.supervisor.stop(1.0)
    await supervising

    assert inotify is watched
    assert applied == files.reloader.results["applied"]
    assert (1, 0) == (two.generation, files.reloader.results["refused"])


async def test_the_files_are_followed_by_hints_and_by_polling(tmp_path: Path) -> None:
    files = Files(tmp_path)
    _one_and_two(files)
    supervising = asyncio.create_task(files.supervisor.run(files.reloader.start().graphs))
    following = asyncio.create_task(files.reloader.run(0.2))
    await asyncio.sleep(0.1)
    files.write("one.yaml", flow("one", "x"))
    async with asyncio.timeout(5):
        while files.reloader.results["applied"] < 1:
            await asyncio.sleep(0.02)
    following.cancel()
    await asyncio.wait({following})
    await files.supervisor.stop(1.0)
    await supervising

    assert following.cancelled()
