"""Every code has a page, and what the page shows is true."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from flowrunner.cli.test import run_tests
from flowrunner.cli.validate import validate
from flowrunner.diagnostics import CODES
from flowrunner.graph.load import load_flows

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "diagnostics"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SOURCES = [*(ROOT / "flowrunner").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]


def blocks(code: str, language: str) -> list[str]:
    text = (PAGES / f"{code}.md").read_text()
    return [found[1] for found in BLOCK.findall(text) if found[0] == language]


def of_language(language: str) -> list[str]:
    return [code for code in CODES if (PAGES / f"{code}.md").exists() and blocks(code, language)]


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert sorted(CODES) == sorted(path.stem for path in PAGES.glob("FR*.md"))


def test_every_code_in_the_source_is_in_the_table() -> None:
    used = {code for path in SOURCES for code in re.findall(r'"(FR\d{3})"', path.read_text())}

    assert set() == used - set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_a_page_begins_with_the_code_and_its_title(code: str) -> None:
    assert f"# {code}: {CODES[code].title}" == (PAGES / f"{code}.md").read_text().splitlines()[0]


def test_every_page_shows_how_the_mistake_comes_about() -> None:
    assert set(CODES) == {*of_language("yaml"), *of_language("console")}


@pytest.mark.parametrize("code", of_language("yaml"))
def test_the_first_example_of_a_page_has_exactly_its_mistake(code: str, tmp_path: Path) -> None:
    path = tmp_path / "climate.yaml"
    path.write_text(blocks(code, "yaml")[0])

    assert {code} == {found.code for found in load_flows([path]).diagnostics}


@pytest.mark.parametrize("code", of_language("yaml"))
def test_the_last_example_of_a_page_has_no_mistake(code: str, tmp_path: Path) -> None:
    path = tmp_path / "climate.yaml"
    path.write_text(blocks(code, "yaml")[-1])

    assert [] == load_flows([path]).diagnostics


@pytest.mark.parametrize("code", of_language("console"))
def test_the_transcript_of_a_page_is_what_happens(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = blocks(code, "console")[0].splitlines()

    for line in lines:
        if line.startswith("$ flowrunner validate "):
            words = shlex.split(line)[3:]
            exit_code = validate([Path(word) for word in words if word != "--env"], env="--env" in words)
            assert (2 if code == "FR060" else 78) == exit_code
        elif line.startswith("$ flowrunner test "):
            assert run_tests([Path(line.split()[3])], name="", rewrite=False, format="text") == 78
        elif line.startswith("$ "):
            subprocess.run(["bash", "-c", line[2:]], check=True)

    shown = [line for line in "".join(capsys.readouterr()).splitlines() if "error[" in line]
    assert [line for line in lines if not line.startswith("$")] == shown
