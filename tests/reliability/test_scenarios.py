"""How scenarios are declared, found, run and shown, and the order in which a soak brings faults."""

from __future__ import annotations

import asyncio
import itertools
import re
from pathlib import Path

import pytest

from reliability import faults
from reliability import scenario as declaration
from reliability.disturbances import DISTURBANCES, plan
from reliability.scenario import Body, Outcome, Result, Scenario, all_scenarios, run, scenario
from tests.docs.pages import ROOT, blocks

RELIABILITY = ROOT / "docs" / "reliability.md"


def declared(body: Body, *, tells_loss: bool = False, seconds: float = 5.0) -> Scenario:
    return Scenario("a fault", "It does no harm.", body, tells_loss, seconds)


async def harmless(folder: Path) -> Outcome:
    assert [] == list(folder.iterdir())
    return Outcome(duplicated=2, recovered_in=1.25)


async def losing(folder: Path) -> Outcome:
    return Outcome(lost=3)


async def broken(folder: Path) -> Outcome:
    raise AssertionError("it is broken")


async def endless(folder: Path) -> Outcome:
    await asyncio.Event().wait()
    return Outcome()


@pytest.mark.parametrize(
    ("item", "failure", "row"),
    [
        pytest.param(declared(harmless), None, "| 0 | 2 | 0 | 1.2 s | kept |", id="kept"),
        pytest.param(declared(losing), "3 lost", "| 3 | 0 | 0 |  | **broken** |", id="loss"),
        pytest.param(
            declared(losing, tells_loss=True), None, "| 3 (told) | 0 | 0 |  | kept |", id="loss that is told"
        ),
        pytest.param(
            declared(broken), "AssertionError: it is broken", "|  |  |  |  | **broken** |", id="broken"
        ),
        pytest.param(
            declared(endless, seconds=0.01), "not done after 0 s", "|  |  |  |  | **broken** |", id="endless"
        ),
    ],
)
async def test_a_scenario_is_kept_or_broken(item: Scenario, failure: str | None, row: str) -> None:
    result = await run(item)

    assert failure == result.failure
    assert f"| a fault | It does no harm. {row}" == faults.row(result)
    table = faults.table([result])
    assert (f"- **a fault**: {failure}" in table.splitlines()) == (failure is not None)


def test_the_command_ends_with_1_when_a_promise_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for body, expected in ((harmless, 0), (broken, 1)):
        monkeypatch.setattr(faults, "all_scenarios", lambda body=body: [declared(body)])

        assert expected == faults.main(["--out", str(tmp_path / "table.md")])
        written = (tmp_path / "table.md").read_text()
        assert f"# Every fault scenario once\n\n{capsys.readouterr().out}" == written
    assert 1 == faults.main(["-k", "of this name there is none"])


def test_every_file_of_the_folder_is_found() -> None:
    modules = {item.body.__module__ for item in all_scenarios()}
    files = {path.stem for path in (ROOT / "reliability" / "scenarios").glob("[a-z]*.py")}

    assert {f"reliability.scenarios.{stem}" for stem in files} == modules


def test_a_name_is_given_once_and_a_promise_is_a_sentence() -> None:
    taken = all_scenarios()[0]
    with pytest.raises(ValueError, match="two scenarios have the name"):
        scenario(taken.name, "It does no harm.")(harmless)
    with pytest.raises(ValueError, match="is not a sentence"):
        scenario("another", "no sentence")(harmless)


def test_the_same_seed_gives_the_same_faults_in_the_same_order() -> None:
    first, again, other = (list(itertools.islice(plan(seed), 50)) for seed in (1, 1, 2))

    assert first == again
    assert first != other


def test_every_fault_comes_and_only_those_of_different_places_overlap() -> None:
    group: list[str] = []
    seen = set()
    for item in itertools.islice(plan(3), 3000):
        kind = DISTURBANCES[item.kind]
        group = [*group, kind.place] if item.rushed else [kind.place]
        seen.add(item.kind)
        assert len(set(group)) == len(group)
        assert 0.3 <= item.seconds <= kind.longest

    assert set(DISTURBANCES) == seen


def test_the_page_names_scenarios_that_exist() -> None:
    named = set(re.findall(r"scenario “([^”]+)”", RELIABILITY.read_text()))

    assert named
    assert set() == named - {item.name for item in all_scenarios()}


def test_the_scenario_that_the_page_shows_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: dict[str, Scenario] = {}
    monkeypatch.setattr(declaration, "_registry", registry)
    (shown,) = blocks(RELIABILITY, "python")

    exec(shown.text, {"__name__": "reliability.scenarios.shown"})  # our own page

    assert ["database: away over lunch"] == list(registry)


def test_the_table_has_a_row_for_each_result() -> None:
    result = Result(declared(harmless), Outcome(), None, 1.0)

    assert 2 + 3 == len(faults.table([result] * 3).splitlines())
