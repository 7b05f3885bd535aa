"""``flowrunner test``: what it prints, what it refuses, what it rewrites."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import pytest

from flowrunner.cli.test import run_tests
from tests.testing.flow_files import FLOW, SPECIFIED, at, file_of, write

FAILING = """\
# tests of the flow
flow: climate.yaml
tests:
  - name: one point   # a remark
    start: 2026-03-01T10:00:00Z
    input:
      - { at: 0s,  node: zigbee, topic: k, payload: { temperature: 20.0 } }
      - { at: 30s, node: zigbee, topic: k, payload: { temperature: 22.0 } }
      - { at: 40s, node: zigbee, topic: l, payload: { temperature: 99.0 } }
      - { at: 2m,  advance: true }
    expect:
      - { node: store,   at: 69s, line: "climate,sensor=k max=23,mean=21,samples=2 1772359200000000000" }  # why
      # the same once more
      - node: per_minute.out
        payload: { mean: "~20.5", max: 22 }   # in two lines
      - { node: valid.rejected, none: true }
      - { node: valid, count: 7 }
      - { node: calm, topic: k, payload: { temperature: 20 } }
      - { node: reading, payload: { temperature: 20.0 } }
      - { node: reading, payload: { temperature: 21.0 } }
      - { node: reading, payload: { temperature: 22.0 } }
      - { node: reading, payload: { temperature: 99.0 } }
      - { node: reading.errors, payload: 1 }
      - node: reading.errors
        payload: 2
"""

UPDATED = """\
# tests of the flow
flow: climate.yaml
tests:
  - name: one point   # a remark
    start: 2026-03-01T10:00:00Z
    input:
      - { at: 0s,  node: zigbee, topic: k, payload: { temperature: 20.0 } }
      - { at: 30s, node: zigbee, topic: k, payload: { temperature: 22.0 } }
      - { at: 40s, node: zigbee, topic: l, payload: { temperature: 99.0 } }
      - { at: 2m,  advance: true }
    expect:
      - { node: store,   at: 70s, line: "climate,sensor=k max=22,mean=21,samples=2 1772359200000000000" }  # why
      # the same once more
      - node: per_minute.out
        payload: { mean: "~21.0", max: 22 }   # in two lines
      - { node: valid.rejected, count: 1 }
      - { node: valid, count: 3 }
      - { node: calm, topic: k, payload: { temperature: 20 } }
      - { node: calm, topic: k, payload: { temperature: 22.0 } }
      - { node: reading, payload: { temperature: 20.0 } }
      - { node: reading, payload: { temperature: 22.0 } }
      - { node: reading, payload: { temperature: 99.0 } }
      - { node: reading.errors, none: true }
"""


def command(
    *paths: Path, name: str = "", rewrite: bool = False, format: Literal["text", "junit"] = "text"
) -> int:
    return run_tests(paths, name=name, rewrite=rewrite, format=format)


def timeless(text: str) -> str:
    return re.sub(r"\d+\.\d\d s", "0.00 s", text)


def test_a_line_for_each_test_and_a_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, SPECIFIED)

    assert command(path) == 0
    assert timeless(capsys.readouterr().out) == (
        f"{path}\n  ok      one point a minute, the mean weighted by time  (0.00 s)\n\n1 passed in 0.00 s\n"
    )


def test_a_failure_shows_what_was_expected_and_what_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, FAILING)

    assert command(path) == 1
    out = timeless(capsys.readouterr().out).replace(f"{path}:", "")
    assert (
        out
        == f"""\
{path}
  FAILED  one point  (0.00 s)

12: 1 message expected at `store`, 1 message came, 0 as expected
    - {{ at: 69s, line: "climate,sensor=k max=23,mean=21,samples=2 1772359200000000000" }}
    + {{ at: 70s, line: "climate,sensor=k max=22,mean=21,samples=2 1772359200000000000" }}
14: 1 message expected at `per_minute.out`, 1 message came, 0 as expected
    - {{ payload: {{ mean: "~20.5", max: 22 }} }}
    + {{ payload: {{ mean: "~21.0", max: 22 }} }}
16: nothing was expected at `valid.rejected`, 1 message came
    + {{ at: 40s, topic: l, payload: {{ temperature: 99.0 }} }}
17: 7 messages expected at `valid`, 3 messages came
18: 1 message expected at `calm`, 2 messages came, 1 as expected
      {{ topic: k, payload: {{ temperature: 20 }} }}
    + {{ at: 30s, topic: k, payload: {{ temperature: 22.0 }} }}
20: 4 messages expected at `reading`, 3 messages came, 3 as expected
      {{ payload: {{ temperature: 20.0 }} }}
    - {{ payload: {{ temperature: 21.0 }} }}
      {{ payload: {{ temperature: 22.0 }} }}
23: 2 messages expected at `reading.errors`, no messages came, 0 as expected
    - {{ payload: 1 }}
    - {{ payload: 2 }}

0 passed, 1 failed in 0.00 s
"""
    )


def test_an_update_rewrites_what_failed_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, FAILING)

    assert command(path, rewrite=True) == 0
    assert UPDATED == path.read_text()
    assert "expectations updated" in capsys.readouterr().err
    assert command(path, rewrite=True) == 0
    assert UPDATED == path.read_text()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_an_update_keeps_line_ends(mark: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(mark + FAILING.rstrip("\n").replace("\n", "\r\n").encode())

    assert command(path, rewrite=True) == 0
    kept = path.read_bytes()
    assert kept.startswith(mark + b"# tests of the flow\r\n")
    assert UPDATED.splitlines() == kept.removeprefix(mark).decode().splitlines()


def test_an_update_counts_where_too_much_would_have_to_be_listed(tmp_path: Path) -> None:
    steps = [at(f"{number}s", number % 50) for number in range(70)]
    expect = ["{ node: valid, payload: { temperature: 0 } }"]
    path = write(tmp_path, file_of(*steps, expect=expect).rstrip("\n"))

    assert command(path, rewrite=True) == 0
    assert path.read_text().endswith(f"- {expect[0]}\n      - {{ node: valid, count: 70 }}\n")


def test_an_update_puts_the_first_message_first(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        file_of(at("0s", 1), at("1s", 2), expect=["{ node: valid, at: 1s, payload: { temperature: 2 } }"]),
    )

    assert command(path, rewrite=True) == 0
    assert path.read_text().endswith(
        "- { node: valid, at: 0s, payload: { temperature: 1 } }\n"
        "      - { node: valid, at: 1s, payload: { temperature: 2 } }\n"
    )


def test_an_update_rewrites_blocks_and_whole_messages(tmp_path: Path) -> None:
    expect = ["node: valid\n        payload:\n          temperature: 1\n        topic: k  # end"]
    expect += ["{ node: reading, message: { topic: k, payload: {}, time: 2026-01-01T00:00:00Z } }"]
    step = "{ at: 0s, node: zigbee, topic: 'k: 1', payload: { temperature: 2 }, meta: { qos: 1 } }"
    path = write(tmp_path, file_of(step, expect=expect))

    assert command(path, rewrite=True) == 0
    assert path.read_text().split("expect:\n")[1] == (
        '      - { node: valid, topic: "k: 1", payload: { temperature: 2 } }  # end\n'
        '      - { node: reading, message: { topic: "k: 1", payload: { temperature: 2 }, meta: { qos: 1 },'
        " time: 2026-01-01T00:00:00Z } }\n"
    )


@pytest.mark.parametrize(
    ("written", "payload", "rewritten"),
    [
        pytest.param("payload: [1, 2]", "[1, 3]", "payload: [1, 3]", id="a list"),
        pytest.param("payload: [1]", "[1, no]", 'payload: [1, "no"]', id="a longer list"),
        pytest.param("payload: { b: 1 }", "{ a: 1 }", "payload: { a: 1 }", id="a member that is gone"),
        pytest.param("payload: 1", "{}", "payload: {}", id="an empty mapping"),
        pytest.param('payload: "~1e1"', "16", 'payload: "~2E+1"', id="a rough number"),
        pytest.param('payload: "~1"', "text", "payload: text", id="no number any more"),
        pytest.param("payload: 1", '"0x"', "payload: 0x", id="a text that is nearly a number"),
        pytest.param("payload: 1", '"1e999"', 'payload: "1e999"', id="a text that reads as a bad number"),
        pytest.param("payload: 1", '"a\\u0007b"', 'payload: "a\\u0007b"', id="a text that does not print"),
        pytest.param("payload: 1", '"\\u0085"', 'payload: "\\U00000085"', id="a text that YAML would break"),
        pytest.param("time: 2026-01-02T00:00:00Z", "1", "time: 2026-01-01T00:00:00Z", id="its time"),
        pytest.param("meta: { qos: 0 }", "1", "meta: { qos: 1 }", id="its meta"),
        pytest.param("payload: 1, at: 5m", "1", "payload: 1, at: 0s", id="when"),
    ],
)
def test_an_update_writes_yaml_that_is_met(
    written: str, payload: str, rewritten: str, tmp_path: Path
) -> None:
    step = f"{{ at: 0s, node: zigbee, payload: {payload}, meta: {{ qos: 1 }} }}"
    end = "{ at: 3m, advance: true }"
    expect = [f"{{ node: zigbee, {written} }}", "{ node: reading.errors, count: 1 }"]
    path = write(
        tmp_path, file_of(step, end, expect=expect), FLOW.replace("={'temp", "=1 / 0 == 1 ? 1 : {'temp")
    )

    assert command(path, rewrite=True) == 0
    assert f"{{ node: zigbee, {rewritten} }}" in path.read_text()


@pytest.mark.parametrize(
    ("expect", "reason"),
    [
        pytest.param("[{ node: valid, payload: 1 }, { node: valid, payload: 2 }]", "after a dash", id="brackets"),
        pytest.param(
            "\n      - { node: valid, payload: &p { temperature: 3 } }\n"
            "      - { node: valid, payload: *p, topic: k }",
            "with an alias",
            id="an alias of a part",
        ),
        pytest.param(
            "\n      - &p { node: valid, payload: { temperature: 3 } }\n      - *p", "with an alias", id="an alias"
        ),
    ],
)  # fmt: skip
def test_an_update_says_when_it_cannot(
    expect: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file_of(at("0s", 1), at("1s", 2), at("2s", 3), expect=[]).replace(
        "expect:\n", f"expect: {expect}\n"
    )
    path = write(tmp_path, text)

    assert command(path, rewrite=True) == 1
    assert text == path.read_text()
    assert reason in capsys.readouterr().err


def test_an_update_does_not_hide_other_problems(tmp_path: Path) -> None:
    path = write(tmp_path, file_of("{ at: 0s, node: zigbee }", expect=["{ node: reading, count: 2 }"]))

    assert command(path, rewrite=True) == 1
    assert "count: 1 }" in path.read_text()
    assert command(path, rewrite=True) == 1


def test_junit_is_xml_with_a_case_for_each_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, FAILING.replace("one point", '"a < b & \\"c\\" \\u0001"'))
    (tmp_path / "other.test.yaml").write_text(SPECIFIED)

    assert command(tmp_path, format="junit") == 1
    suites = ET.fromstring(capsys.readouterr().out)
    cases = suites.findall("testsuite/testcase")
    assert suites.attrib["failures"] == "1"
    assert ['a < b & "c" ·', "one point a minute, the mean weighted by time"] == [
        case.attrib["name"] for case in cases
    ]
    assert [str(path), "4"] == [cases[0].attrib["file"], cases[0].attrib["line"]]
    (failure,) = cases[0].findall("failure")
    assert "expected at `store`" in str(failure.text)


def test_a_warning_is_shown_and_the_tests_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = "{ at: 0s, node: zigbee, payload: { temperature: 1, on: yes } }"
    path = write(tmp_path, file_of(step, expect=["{ node: valid, count: 1 }"]))

    assert command(path) == 0
    assert "warning[FR009]" in capsys.readouterr().err


def test_only_tests_with_the_name_are_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SPECIFIED + FAILING.partition("tests:\n")[2])

    assert command(tmp_path, name="A MINUTE") == 0
    assert "1 passed" in capsys.readouterr().out
    assert command(tmp_path, name="nothing such") == 2
    assert "no test has `nothing such`" in capsys.readouterr().err


def test_a_long_difference_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [at(f"{number}s", number % 50) for number in range(600)]
    path = write(tmp_path, file_of(*steps, expect=["{ node: valid, payload: { temperature: 100 } }"] * 600))

    assert command(path) == 1
    out = capsys.readouterr().out
    assert "… and 580 more" in out
    assert len(out.splitlines()) < 60


@pytest.mark.parametrize(
    ("steps", "expect", "hint"),
    [
        pytest.param(
            [at("0s", 1)], "{ node: store, at: 70s, topic: k }", "the test ends at 0s; let time go on", id="end"
        ),
        pytest.param(
            [at("0s", 1), "{ at: 20s, advance: true }"],
            "{ node: store, topic: k }",
            "`per_minute` still holds 1 of 1 message at the end; let time go on",
            id="held",
        ),
        pytest.param([at("0s", 1)], "{ node: store, topic: k }", "`calm` still holds", id="held at the start"),
        pytest.param([at("0s", 99)], "{ node: store, topic: k }", "`valid` filtered out 1 of 1", id="filtered"),
        pytest.param(["{ at: 0s, advance: true }"], "{ node: store, topic: k }", "nothing arrived at the source `zigbee`", id="no input"),
        pytest.param([at("0s", 1), "{ at: 0s, fault: { sink: store, for: 5m } }", "{ at: 2m, advance: true }"], "{ node: store, topic: k }", "the server refuses until 5m", id="refused"),
        pytest.param([at("0s", 1), "{ at: 0s, fault: { sink: store, status: 400, for: 5m } }", "{ at: 3m, advance: true }"], "{ node: store, topic: k }", "`store` failed on 1 of 1 message", id="refused for good"),
        pytest.param(["{ at: 0s, node: zigbee }"], "{ node: valid, topic: k }", "`reading` failed on 1 of 1", id="failed"),
    ],
)  # fmt: skip
def test_a_hint_says_what_became_of_the_messages(
    steps: list[str], expect: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(write(tmp_path, file_of(*steps, expect=[expect]))) == 1
    assert hint in capsys.readouterr().out


def test_a_hint_says_what_was_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = FLOW.replace("reading: { type: map,", "reading: { type: map, on_error: drop,")
    path = write(tmp_path, file_of("{ at: 0s, node: zigbee }", expect=["{ node: valid, topic: k }"]), flow)

    assert command(path) == 1
    assert "`reading` failed on 1 of 1 message" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        pytest.param("node: zigbee", "node: zigbe", "6:26: error[FR070]: the flow `climate` has no node `zigbe`", id="source"),
        pytest.param("node: store", "node: stor", "10:17: error[FR070]: the flow `climate` has no node `stor`", id="sink"),
        pytest.param("node: store", "node: valid.rejectd", "10:17: error[FR070]: `valid` has no port `rejectd`", id="port"),
        pytest.param("node: store", "node: valid", "10:33: error[FR075]: only sinks write lines; `valid` is none", id="line"),
        pytest.param("node: zigbee", "node: valid", "6:26: error[FR075]: a message arrives at a source; `valid` is a transform", id="kind"),
        pytest.param("{ at: 2m,  advance: true }", "{ at: 2m, fault: { sink: valid, for: 1m } }", "8:34: error[FR075]: a server refuses", id="sink fault"),
        pytest.param("{ at: 2m,  advance: true }", "{ at: 2m, fault: { source: valid, disconnected: 1m } }", "8:36: error[FR075]: a server is lost", id="source fault"),
        pytest.param("at: 30s", "at: 3m", "8:15: error[FR072]: this step is at 2m, the one above at 3m", id="order"),
        pytest.param("flow: climate", "flow: climat", "1:7: error[FR071]: there is no flow file", id="flow"),
        pytest.param("advance: true", "reload: more.yaml", "8:28: error[FR071]: there is no flow file", id="reload"),
        pytest.param("{ at: 2m,  advance: true }", "{ at: 2m, file: day.jsonl }", "8:25: error[FR071]: there is no recording", id="recording"),
        pytest.param("at: 0s", "at: 0", "6:15: error[FR031]: `at` needs a unit, got 0", id="unit"),
        pytest.param("10:00:00Z", "10:00:00", "4:12: error[FR025]: `start` needs a time zone", id="zone"),
        pytest.param("tests:", "tests: [", "error[FR001]", id="no YAML"),
        pytest.param("flow: climate.yaml\n", "", "1:1: error[FR021]: a test file needs the option `flow`", id="no flow"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_test_is_shown_where_it_is(
    old: str, new: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SPECIFIED.replace(old, new, 1)

    assert command(write(tmp_path, text)) == 78
    err = capsys.readouterr().err
    assert place in err
    assert "Traceback" not in err


def test_a_mistake_in_the_flow_is_shown_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SPECIFIED, FLOW.replace("every: 10s", "every: 10"))
    (tmp_path / "other.test.yaml").write_text(SPECIFIED)

    assert command(tmp_path) == 78
    assert capsys.readouterr().err.count("error[FR031]") == 1


def test_a_flow_that_no_sample_makes_whole_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, SPECIFIED, FLOW.replace("username: flowrunner, ", ""))

    assert command(tmp_path) == 78
    assert "holds no flow that can be built" in capsys.readouterr().err


def test_a_file_of_connections_is_no_flow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, SPECIFIED, FLOW.partition("nodes:")[0].replace("flow: climate\n", ""))

    assert command(tmp_path) == 78
    assert "holds no flow that can be built" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["", "shared"], ids=["beside", "in a folder that is tested too"])
def test_connections_may_stand_in_another_file(folder: str, tmp_path: Path) -> None:
    head, connections, nodes = re.split(r"(?=connections:|nodes:)", FLOW)
    write(tmp_path, SPECIFIED, head + nodes)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "connections.yaml").write_text(f"version: 1\n{connections}")
    (tmp_path / "another.yaml").write_text("nonsense: 1\n")

    assert command(tmp_path) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "the line is not JSON", id="JSON"),
        pytest.param("5", "must be a mapping", id="mapping"),
        pytest.param('{"node": "zigbee"}', "a message needs `at`", id="missing"),
        pytest.param('{"at": "1s", "node": "zigbee", "topics": ""}', "a message has no `topics`", id="unknown"),
        pytest.param('{"at": 1, "node": "zigbee"}', "`at` needs a unit, got 1", id="unit"),
        pytest.param('{"at": "1s", "node": "zigbee", "topic": 5}', "`topic` must be a text", id="type"),
    ],
)  # fmt: skip
def test_a_bad_line_of_a_recording_is_shown(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day.jsonl").write_text(f'{{"at": "0s", "node": "zigbee"}}\n{line}\n' * 7)
    path = write(tmp_path, file_of("{ at: 0s, file: day.jsonl }", expect=["{ node: store, none: true }"]))

    assert command(path) == 78
    err = capsys.readouterr().err
    assert "day.jsonl:2:1: error[FR073]" in err
    assert message in err
    assert err.count("error[") == 5


def test_a_recording_for_a_node_that_is_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "day.jsonl").write_text('{"at": "0s", "node": "zigbe"}\n')
    text = file_of(expect=["{ node: store, none: true }"]).replace("input:", "input: { file: day.jsonl }")

    assert command(write(tmp_path, text)) == 78
    assert "climate.test.yaml:4:20: error[FR070]" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["climate.test.yaml", "day.jsonl"])
def test_files_that_may_not_be_read_are_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes
    (tmp_path / "day.jsonl").write_text("")
    path = write(tmp_path, file_of("{ at: 0s, file: day.jsonl }", expect=["{ node: store, none: true }"]))

    def refuse(self: Path) -> bytes:
        if self.name == name:
            raise PermissionError(13, "Permission denied")
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", refuse)

    assert command(path) == 78
    assert f"{name}: error[FR061]: the file cannot be read: Permission denied" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "day.test.yaml").mkdir()
    (tmp_path / "bad.test.yaml").write_bytes(b"\xff")
    write(tmp_path, SPECIFIED)

    assert command(tmp_path / "bad.test.yaml") == 78
    assert "error[FR002]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        pytest.param("nowhere", 2, "there is no such file or directory", id="nowhere"),
        pytest.param("empty", 78, "there is no test file in this directory", id="no tests"),
        pytest.param("alone.yaml", 78, "there is no test file beside this flow", id="a flow without tests"),
    ],
)
def test_a_path_without_tests_is_refused(
    path: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / ".hidden").mkdir(parents=True)
    (tmp_path / "empty" / ".hidden" / "a.test.yaml").write_text("")
    (tmp_path / "alone.yaml").write_text(FLOW)

    assert command(tmp_path / path) == code
    assert message in capsys.readouterr().err


def test_a_flow_stands_for_the_tests_beside_it_and_no_test_runs_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, SPECIFIED)

    assert command(tmp_path / "climate.yaml", tmp_path, path) == 0
    assert "1 passed" in capsys.readouterr().out
