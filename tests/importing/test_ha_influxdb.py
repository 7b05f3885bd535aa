"""Home Assistant's `influxdb:` section as a flow: it is valid, says the same, selects the same, and tells no secret."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.graph.load import load_flows
from flowrunner.importing.errors import CannotImport
from flowrunner.importing.ha_influxdb import Integration, read_integration
from flowrunner.importing.ha_influxdb_flow import differences, flow_text, source_options
from flowrunner.importing.ha_yaml import Reference, Section
from flowrunner_nodes._ha_layout_entities import entity_filter
from flowrunner_nodes._ha_layout_options import EntitySelection

CANARY = "canary-7d31-never-show-this"
VARIABLES = {
    "HA_URL": "http://ha:8123",
    "HA_TOKEN": "x",
    "INFLUX_TOKEN": "x",
    "INFLUX_PASSWORD": "x",
    "INFLUX_HOST": "influx.lan",
}

V1 = f"""\
influxdb:
  host: influx.lan
  database: ha
  username: writer
  password: {CANARY}
"""
V2 = """\
influxdb:
  api_version: 2
  host: !secret influx_host
  port: 8086
  ssl: false
  token: !secret influx_token
  organization: home
  bucket: ha
  precision: ms
  max_retries: 3
  default_measurement: state
  tags: {source: HA, "odd \\n key": "x: ${y}", number: 12}
  tags_attributes: friendly_name
  ignore_attributes: [icon]
  include: {domains: [sensor, light], entity_globs: "climate.*"}
  exclude: {entities: "sensor.a, sensor.B", entity_globs: ["*.x_*"]}
  component_config: {sensor.b: {override_measurement: ""}}
  component_config_glob:
    "sensor.*_power": {override_measurement: power, ignore_attributes: icon}
  component_config_domain: {climate: {ignore_attributes: []}}
"""


def integration(text: str) -> Integration:
    return read_integration(yaml.safe_load(text)["influxdb"])


def imported(tmp_path: Path, text: str) -> str:
    (tmp_path / "configuration.yaml").write_text(text)
    (tmp_path / "secrets.yaml").write_text(f"influx_token: {CANARY}\ninflux_host: {CANARY}\n")
    section = Section(tmp_path / "configuration.yaml", secrets=None, environment={})
    return flow_text(read_integration(section.read("influxdb")))


@pytest.mark.parametrize(
    "text", [V1, V2, "influxdb:\n", V1 + "  precision: us\n  ssl: true\n  verify_ssl: false\n"]
)
def test_the_flow_is_valid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(imported(tmp_path, text))

    loaded = load_flows([path], environment=VARIABLES)

    assert [] == [f"{found.line}: {found.message}" for found in loaded.diagnostics]


def test_what_a_flow_says(tmp_path: Path) -> None:
    flow = yaml.safe_load(imported(tmp_path, V2))

    assert {
        "type": "influxdb",
        "version": 2,
        "url": "http://${INFLUX_HOST}:8086",
        "org": "home",
        "token": "${INFLUX_TOKEN}",
    } == flow["connections"]["tsdb"]
    assert {
        "type": "ha_in",
        "connection": "home",
        "entities": ["sensor.*", "light.*", "climate.*"],
    } == flow["nodes"]["states"]
    assert {
        "type": "influxdb_out",
        "from": "states",
        "connection": "tsdb",
        "bucket": "ha",
        "precision": "ms",
        "layout": "home_assistant",
        "home_assistant": {
            "default_measurement": "state",
            "tags": {"source": "HA", "odd \n key": "x: $${y}", "number": "12"},
            "tags_attributes": ["friendly_name"],
            "ignore_attributes": ["icon"],
            "component_config": {"sensor.b": {"override_measurement": ""}},
            "component_config_glob": {
                "sensor.*_power": {"override_measurement": "power", "ignore_attributes": ["icon"]}
            },
            "component_config_domain": {"climate": {"ignore_attributes": []}},
            "include": {"domains": ["sensor", "light"], "entity_globs": ["climate.*"]},
            "exclude": {"entity_globs": ["*.x_*"], "entities": ["sensor.a", "sensor.b"]},
        },
    } == flow["nodes"]["store"]


@pytest.mark.parametrize("text", [V1, V2])
def test_no_secret_is_told(tmp_path: Path, text: str) -> None:
    assert CANARY not in imported(tmp_path, text)


@pytest.mark.parametrize(
    ("options", "server"),
    [
        pytest.param("", {"version": 1, "url": "http://localhost:8086"}, id="nothing"),
        pytest.param(
            "host: h\n  port: 1\n  path: /a/\n  ssl: 'on'",
            {"version": 1, "url": "https://h:1/a"},
            id="everything",
        ),
        pytest.param(
            "ssl: yes\n  verify_ssl: no\n  ssl_ca_cert: /ca.pem",
            {"version": 1, "url": "https://localhost:8086", "tls": {"ca": "/ca.pem", "insecure": True}},
            id="certificates",
        ),
        pytest.param(
            "verify_ssl: false\n  ssl_ca_cert: /ca.pem",
            {"version": 1, "url": "http://localhost:8086"},
            id="certificates that nobody looks at",
        ),
        pytest.param(
            "api_version: '2'\n  token: x\n  organization: 5",
            {
                "version": 2,
                "url": "https://us-west-2-1.aws.cloud2.influxdata.com",
                "org": "5",
                "token": "${INFLUX_TOKEN}",
            },
            id="cloud",
        ),
        pytest.param(
            "username: u\n  password: 5",
            {"version": 1, "url": "http://localhost:8086", "username": "u", "password": "${INFLUX_PASSWORD}"},
            id="user",
        ),
    ],
)
def test_connections(options: str, server: dict[str, Any]) -> None:
    flow = yaml.safe_load(flow_text(integration(f"influxdb:\n  {options}\n")))

    assert {"type": "influxdb", **server} == flow["connections"]["tsdb"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("api_version: 3", "`influxdb.api_version` must be one of 1, 2"),
        ("api_version: 2", "`api_version: 2` needs `token` and `organization`"),
        ("token: x", "`token` is for `api_version: 2` only"),
        ("username: x", "`username` and `password` go together"),
        ("ssl: maybe", "`influxdb.ssl` must be true or false"),
        ("max_retries: -1", "`influxdb.max_retries` must be a whole number"),
        ("tags: [a]", "`influxdb.tags` must be a mapping"),
        ("host: [a]", "`influxdb.host` must be a text"),
        ("tags_attributes: [[a]]", "`influxdb.tags_attributes` must be a text"),
        ("include: {entities: [null]}", "`influxdb.include.entities` must be a text"),
        ("precision: m", "`influxdb.precision` must be one of ns, us, ms, s"),
    ],
)
def test_what_home_assistant_would_refuse(options: str, problem: str) -> None:
    with pytest.raises(CannotImport) as error:
        integration(f"influxdb:\n  {options}\n")

    assert str(error.value).startswith(problem)
    assert error.value.help


def test_a_section_that_is_a_list_is_refused() -> None:
    with pytest.raises(CannotImport, match="`influxdb` must be a mapping"):
        read_integration([1])


def test_a_value_that_must_be_known_and_is_not() -> None:
    section = {"ssl": Reference("USE_SSL", "`use_ssl` in secrets.yaml", None)}

    with pytest.raises(
        CannotImport, match=r"`influxdb.ssl` must be known, and `use_ssl` in secrets.yaml is not there"
    ):
        read_integration(section)


def test_a_value_that_must_be_known_and_is() -> None:
    section = {"ssl": Reference("USE_SSL", "`use_ssl` in secrets.yaml", "yes")}

    assert "https://localhost:8086" == read_integration(section).server.url


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("max_retries: 3", "`max_retries: 3` is not needed"),
        ("precision: us", "With `precision: us` and version 1 the integration writes nothing"),
        ("host: h", "signs in as root"),
        ("host: h", "written as 5 and not as 5.0"),
        ("tags: {}", "does not say where InfluxDB is"),
        ("odd: 1", "has no option `odd`"),
        ("", "Nothing is lost"),
    ],
)
def test_what_differs_is_told(options: str, words: str) -> None:
    assert 1 == sum(words in line for line in differences(integration(f"influxdb:\n  {options}\n")))


def test_what_does_not_differ_is_not_told() -> None:
    text = "influxdb: {api_version: 2, token: x, organization: o, precision: us}"

    assert 3 == len(differences(integration(text)))


_NAMES = ["light.a", "light.b", "sensor.a", "sensor.b"]
_SELECTIONS = st.fixed_dictionaries(
    {
        "domains": st.lists(st.sampled_from(["light", "sensor"]), max_size=1),
        "entity_globs": st.lists(st.sampled_from(["light.*", "*.a", "sensor.[ab]", "*.?"]), max_size=2),
        "entities": st.lists(st.sampled_from(_NAMES), max_size=2),
    }
)


@given(_SELECTIONS, _SELECTIONS)
def test_the_source_selects_what_the_integration_does_or_more(
    include: dict[str, list[str]], exclude: dict[str, list[str]]
) -> None:
    options, exact = source_options(include, exclude)
    entities, left_out = options.get("entities", ["*"]), options.get("exclude", [])
    selected = [
        name
        for name in _NAMES
        if any(fnmatch.fnmatchcase(name, glob) for glob in entities)
        and not any(fnmatch.fnmatchcase(name, glob) for glob in left_out)
    ]
    written = entity_filter(EntitySelection.model_validate(include), EntitySelection.model_validate(exclude))
    expected = [name for name in _NAMES if written(name)]

    assert expected == selected if exact else set(expected) <= set(selected)


@pytest.mark.parametrize(
    ("include", "exclude", "source", "exact"),
    [
        pytest.param({}, {}, {}, True, id="no filter"),
        pytest.param({"domains": ["sensor"], "entities": ["light.a"]}, {}, {"entities": ["sensor.*", "light.a"]}, True, id="include"),
        pytest.param({}, {"entity_globs": ["*.a"]}, {"exclude": ["*.a"]}, True, id="exclude"),
        pytest.param({"domains": ["sensor"]}, {"entity_globs": ["*.a"], "domains": ["sensor"]}, {"entities": ["sensor.*"], "exclude": ["*.a"]}, True, id="domain less glob"),
        pytest.param({"entity_globs": ["*.a"]}, {"entities": ["sensor.a"]}, {"entities": ["*.a"], "exclude": ["sensor.a"]}, True, id="glob less entity"),
        pytest.param({"entities": ["sensor.a"]}, {"entities": ["sensor.a"]}, {"entities": ["sensor.a"]}, True, id="entities only"),
        pytest.param({"entity_globs": ["*.a"]}, {"entity_globs": ["sensor.*"]}, {"entities": ["*.a"]}, False, id="glob less glob"),
        pytest.param({"entities": ["sensor.a"]}, {"domains": ["sensor"]}, {}, False, id="all but a domain, but one of it"),
        pytest.param({"entity_globs": ["*.Ä"]}, {}, {}, False, id="a pattern that ha_in refuses"),
    ],
)  # fmt: skip
def test_selections(include: Any, exclude: Any, source: dict[str, list[str]], exact: bool) -> None:
    empty: dict[str, list[str]] = {"domains": [], "entity_globs": [], "entities": []}

    assert (source, exact) == source_options(empty | include, empty | exclude)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowrunner", "import", "ha-influxdb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(tmp_path: Path) -> None:
    text = imported(tmp_path, V2)
    source, out = str(tmp_path / "configuration.yaml"), tmp_path / "flow.yaml"

    printed = run(source)
    written = run(source, "--out", str(out), "--secrets", str(tmp_path / "secrets.yaml"))
    again = run(source, "--out", str(out))

    assert (0, text) == (printed.returncode, printed.stdout)
    assert printed.stderr.startswith("1. Nothing is lost")
    assert CANARY not in printed.stderr
    assert (0, "", text) == (written.returncode, written.stdout, out.read_text())
    assert (2, f"error: cannot write {out}: File exists") == (again.returncode, again.stderr.splitlines()[0])


def test_the_command_complains(tmp_path: Path) -> None:
    (tmp_path / "configuration.yaml").write_text("homeassistant:\n")

    missing, without = run(str(tmp_path / "x.yaml")), run(str(tmp_path / "configuration.yaml"))

    assert (2, f"error: there is no file {tmp_path / 'x.yaml'}") == (
        missing.returncode,
        missing.stderr.splitlines()[0],
    )
    assert 78 == without.returncode
    assert "has no section `influxdb:`" in without.stderr
