"""Home Assistant's YAML: its tags, its bounds, and what is said when a file cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flowrunner.importing.errors import CannotImport
from flowrunner.importing.ha_yaml import MAX_BYTES, Reference, Section


def read(folder: Path, text: str, *, secrets: Path | None = None, **environment: str) -> Any:
    (folder / "configuration.yaml").write_text(text)
    return Section(folder / "configuration.yaml", secrets=secrets, environment=environment).read("influxdb")


def test_a_section_is_read_as_home_assistant_reads_it(tmp_path: Path) -> None:
    text = "base: &base {ssl: yes}\ninfluxdb:\n  <<: *base\n  port: 8086\n  tags: {a: 'on'}\nlast: !input x\n"

    assert {"ssl": True, "port": 8086, "tags": {"a": "on"}} == read(tmp_path, text)


def test_the_last_of_two_sections_counts(tmp_path: Path) -> None:
    assert {"port": 2} == read(tmp_path, "influxdb: {port: 1}\ninfluxdb: {port: 2}\n")


def test_secrets_become_variables(tmp_path: Path) -> None:
    (tmp_path / "secrets.yaml").write_text("influx-token: x\n1st: y\nlist: []\n")

    section = read(tmp_path, "influxdb: [!secret influx-token, !secret 1st, !secret missing, !secret list]\n")

    assert [
        Reference("INFLUX_TOKEN", "`influx-token` in secrets.yaml", "x"),
        Reference("_1ST", "`1st` in secrets.yaml", "y"),
        Reference("MISSING", "`missing` in secrets.yaml", None),
        Reference("LIST", "`list` in secrets.yaml", None),
    ] == section
    assert "${INFLUX_TOKEN}" == section[0].text


def test_secrets_may_stand_in_another_file(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("a: x\n")

    assert "x" == read(tmp_path, "influxdb: !secret a\n", secrets=other).value


def test_variables_keep_their_defaults(tmp_path: Path) -> None:
    plain, default, known = read(
        tmp_path, "influxdb: [!env_var HOST, !env_var PORT 80 86, !env_var USER x]\n", USER="u"
    )

    assert ("${HOST}", None) == (plain.text, plain.value)
    assert ("${PORT:-80 86}", "80 86") == (default.text, default.value)
    assert ("${USER:-x}", "u") == (known.text, known.value)


def test_included_files_are_read_from_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "influxdb.yaml").write_text("host: h\ntags: !include tags.yaml\n")
    (tmp_path / "parts" / "tags.yaml").write_text("")

    assert {"host": "h", "tags": {}} == read(tmp_path, "influxdb: !include parts/influxdb.yaml\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "has no section `influxdb:`", id="empty"),
        pytest.param("[]", "has no section `influxdb:`", id="a list"),
        pytest.param("influxdb: {", "configuration.yaml:2:1: the file is not valid YAML", id="no YAML"),
        pytest.param("influxdb: \x07", "the file is not valid YAML", id="a control character"),
        pytest.param(
            "influxdb: {[a]: 1}", "the file is not valid YAML: found unhashable key", id="a list as a key"
        ),
        pytest.param(
            "influxdb: !include_dir_list x", "the tag `!include_dir_list` cannot be imported", id="other tag"
        ),
        pytest.param("influxdb: !!python/object:os.system x", "cannot be imported", id="Python"),
        pytest.param("influxdb: !secret", "`!secret` needs a name", id="a secret without a name"),
        pytest.param("influxdb: !include [a]", "`!include` needs a name", id="include of a list"),
        pytest.param("influxdb: !include x.yaml", "cannot read", id="a file that is not there"),
        pytest.param("influxdb: !include ../x.yaml", "lies outside of its folder", id="a file elsewhere"),
        pytest.param("influxdb: !include /etc/passwd", "lies outside of its folder", id="an absolute path"),
        pytest.param("influxdb: " + "[" * 65 + "]" * 65, "nested too deeply", id="levels"),
        pytest.param("influxdb: [" + "1," * 100_001 + "]", "has too many values", id="values"),
        pytest.param("a: " + "x" * MAX_BYTES, "is larger than 1 MiB", id="size"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(CannotImport) as error:
        read(tmp_path, text)

    assert problem in str(error.value)
    assert error.value.help


def test_a_circle_of_files_ends(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("[!include a.yaml]")

    with pytest.raises(CannotImport, match="more than 32 files are included"):
        read(tmp_path, "influxdb: !include a.yaml\n")


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "configuration.yaml").write_bytes(b"influxdb: \xff")

    with pytest.raises(CannotImport, match="is not UTF-8"):
        Section(tmp_path / "configuration.yaml", secrets=None, environment={}).read("influxdb")


def test_secrets_that_were_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(CannotImport, match="cannot read"):
        read(tmp_path, "influxdb:\n", secrets=tmp_path / "missing.yaml")


def test_a_bomb_of_aliases_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]

    assert [["x"]] * 9 == read(tmp_path, "\n".join([*lines, "influxdb: *a1", ""]))
