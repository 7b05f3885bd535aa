"""The command ``flowrunner validate``."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from flowrunner.cli.validate import validate

FLOW = """\
version: 1
flow: climate
nodes:
  tick:
    type: inject
    every: 10s
  show:
    type: debug
    from: tick
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: str) -> list[Path]:
    for name, text in files.items():
        Path(f"{name}.yaml").write_text(text)
    return [Path(f"{name}.yaml") for name in files]


def test_the_example_of_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    flow = (
        FLOW.replace(
            "  show:\n",
            "  calm:\n    type: throttle\n    from: tick\n    key: topic\n    every: 10\n  show:\n",
        )
        .replace("    from: tick\n", "    from: calm\n")
        .replace("    from: calm\n", "    from: tick\n", 1)
    )

    assert validate(write(climate=flow)) == 78
    assert (
        capsys.readouterr().out
        == """\
climate.yaml:11:12: error[FR031]: `every` needs a unit, got 10
   |
11 |     every: 10
   |            ^^
   = help: write a number and a unit, such as 10s, 500ms or 5m

1 flow, 1 error
"""
    )


def test_several_mistakes_of_several_files(capsys: pytest.CaptureFixture[str]) -> None:
    files = write(
        a=FLOW.replace("from: tick", "from: tik").replace("climate", "a"),
        b=FLOW.replace("climate", "b") + "    enabled: yes\n    on_error: stp\n",
        c='version: 1\nconnections:\n  tsdb: { type: influxdb, url: "http://h", org: o, token: "${T}", bukket: x }\n',
    )

    assert validate(files) == 78
    assert (
        capsys.readouterr().out
        == """\
a.yaml:9:11: error[FR012]: there is no node `tik`
  |
9 |     from: tik
  |           ^^^
  = help: did you mean `tick`?

b.yaml:10:14: warning[FR009]: `yes` is text, not true or false
   |
10 |     enabled: yes
   |              ^^^
   = help: write "yes" in quotes if you mean the text, else true or false

b.yaml:11:15: error[FR024]: `on_error` must be `dead_letter`, `drop` or `stop`, got `stp`
   |
11 |     on_error: stp
   |               ^^^
   = help: did you mean `stop`?

c.yaml:3:60: warning[FR050]: the variable `T` is not set
  |
3 |   tsdb: { type: influxdb, url: "http://h", org: o, token: "${T}", bukket: x }
  |                                                            ^^^^
  = help: set it, or give a default: ${T:-value}

c.yaml:3:67: error[FR020]: a connection of type `influxdb` has no option `bukket`
  |
3 |   tsdb: { type: influxdb, url: "http://h", org: o, token: "${T}", bukket: x }
  |                                                                   ^^^^^^
  = help: a connection of type `influxdb` has OPTIONS

2 flows, 3 errors, 2 warnings
""".replace("OPTIONS", options_of_influxdb())
    )


def options_of_influxdb() -> str:
    from flowrunner.config.words import listing
    from flowrunner.registry import find_connection_type

    found = find_connection_type("influxdb")
    assert found is not None
    return listing(tuple(found.config.model_fields))


def test_a_circle_is_drawn_as_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    flow = FLOW.replace(
        "  show:\n",
        "  a: { type: filter, from: [tick, b], where: payload > 1 }\n  b: { type: filter, from: a, where: payload > 1 }\n  show:\n",
    )

    assert validate(write(climate=flow)) == 78
    assert (
        capsys.readouterr().out
        == """\
climate.yaml:7:35: error[FR015]: these nodes feed each other: a → b → a
  |
7 |   a: { type: filter, from: [tick, b], where: payload > 1 }
  |                                   ^
  = help: messages would go round for ever: take one of these wires away

1 flow, 1 error
"""
    )


def test_a_valid_flow_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(write(climate=FLOW)) == 0
    assert capsys.readouterr().out == "1 flow, no errors\n"


@pytest.mark.parametrize(("strict", "expected"), [(False, 0), (True, 78)])
def test_strict_takes_warnings_for_errors(strict: bool, expected: int) -> None:
    files = write(climate=FLOW.replace("    from: tick", "    from: tick.errors"))

    assert expected == validate(files, strict=strict)


def test_env_requires_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWRUNNER_TEST_EVERY", raising=False)
    files = write(climate=FLOW.replace("10s", '"${FLOWRUNNER_TEST_EVERY}"'))

    assert (0, 78) == (validate(files), validate(files, env=True))
    monkeypatch.setenv("FLOWRUNNER_TEST_EVERY", "soon")
    assert (78, 78) == (validate(files), validate(files, env=True))
    monkeypatch.setenv("FLOWRUNNER_TEST_EVERY", "5m")
    assert (0, 0) == (validate(files), validate(files, env=True))


def test_a_path_that_does_not_exist_ends_with_2() -> None:
    assert validate([Path("missing")]) == 2


@pytest.mark.parametrize(
    ("format", "begins"), [("json", "["), ("github", "::error file=climate.yaml"), ("sarif", "{")]
)
def test_other_formats_have_no_summary(
    format: Literal["json", "github", "sarif"], begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(write(climate=FLOW.replace("tick:", "tick: &a")), format=format) == 0
    assert validate(write(climate=FLOW.replace("debug", "debgu")), format=format) == 78
    out = capsys.readouterr().out
    assert begins in out
    assert "1 flow" not in out
    if format == "json":
        assert ["FR011"] == [found["code"] for found in json.loads(out.removeprefix("[]\n"))]


def test_a_terminal_gets_colors_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(climate=FLOW.replace("debug", "debgu"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)

    validate(files)
    assert "\x1b[1;31m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    validate(files)
    assert "\x1b" not in capsys.readouterr().out


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    write(climate=FLOW.replace("from: tick", "from: tïck"))
    command = "from pathlib import Path; from flowrunner.cli.validate import validate; validate([Path('climate.yaml')])"

    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )

    assert b"there is no node `t\\xefck`" in done.stdout
    assert b"" == done.stderr


def test_validating_imports_nothing_heavy() -> None:
    files = write(climate=FLOW)
    heavy = ["networkx", "rich", "structlog", "jsonschema", "fastapi", "aiomqtt", "influxdb_client"]
    code = (
        "import sys; from pathlib import Path; from flowrunner.cli.validate import validate;"
        f"validate([Path({str(files[0])!r})]);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "1 flow, no errors\n[]\n" == done.stdout
