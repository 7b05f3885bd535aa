"""compose.yaml and the files of its services, by their own tools where they run here."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowrunner.graph.load import load_flows
from tests.deploy.chart import ROOT
from tests.e2e.process import Flowrunner
from tests.servers.fake_influx import FakeInflux
from tests.servers.mosquitto import free_port, listening, program
from tests.servers.programs import program as installed

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
FILES = ROOT / "deploy" / "compose"
ONCE, SHELLLESS = "secrets", "otel-collector"


def config(name: str) -> Any:
    return yaml.safe_load((FILES / name).read_text())


def test_it_is_a_compose_file() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout


def test_one_command_starts_all_but_what_is_optional() -> None:
    optional = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}

    assert {"home-assistant": ["home-assistant"], "postgres": ["postgres"]} == optional
    assert {
        "secrets",
        "flowrunner",
        "mosquitto",
        "influxdb",
        "prometheus",
        "grafana",
        "loki",
        "alloy",
        "otel-collector",
    } == set(SERVICES) - set(optional)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"flowrunner"}))
def test_images_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d[\w.-]*@sha256:[0-9a-f]{64}", SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {ONCE, SHELLLESS}))
def test_services_have_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_reached_from_this_machine_only(name: str) -> None:
    assert [] == [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_volumes_are_named_or_files_of_the_repository(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = re.sub(r"^\$\{\w+:-(.*?)\}", r"\1", volume).partition(":")[0]
        if source.startswith("./") and not source.startswith("./deploy/alloy"):
            assert (ROOT / source).exists()
            assert volume.endswith(":ro")
        elif not source.startswith(("./", "/var/run/docker.sock")):
            assert source in COMPOSE["volumes"]


def test_no_secret_stands_in_a_file() -> None:
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"TOKEN|PASSWORD", variable):
                assert re.fullmatch(r"/run/secrets/\w+|\$\{\w+:-\}", value), variable


def test_what_reads_a_secret_waits_for_it() -> None:
    users = {
        name for name, service in SERVICES.items() if "secrets:/run/secrets:ro" in service.get("volumes", [])
    }

    assert {"flowrunner", "mosquitto", "influxdb", "grafana", "postgres"} == users
    for name in users:
        assert "service_completed_successfully" == SERVICES[name]["depends_on"][ONCE]["condition"]


def test_flowrunner_runs_as_in_production() -> None:
    service = SERVICES["flowrunner"]

    assert service["read_only"] is True
    assert ["ALL"] == service["cap_drop"]
    assert ["CMD", "flowrunner", "health"] == service["healthcheck"]["test"]
    assert "30s" == service["stop_grace_period"]


def test_prometheus_reads_its_file_and_finds_the_alerts(tmp_path: Path) -> None:
    text = (FILES / "prometheus.yml").read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/rules", str(ROOT / "dashboards")))
    done = subprocess.run(
        [installed("promtool", "prometheus"), "check", "config", file],
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in config("prometheus.yml")["scrape_configs"]
    }
    assert ["flowrunner:8080"] == jobs["flowrunner"]
    assert [f"otel-collector:{metrics_port()}"] == jobs["spans"]


def metrics_port() -> str:
    return str(config("otel-collector.yaml")["exporters"]["prometheus"]["endpoint"]).rpartition(":")[2]


def test_the_collector_defines_what_its_pipelines_name_and_nothing_else() -> None:
    collector = config("otel-collector.yaml")
    pipelines = collector["service"]["pipelines"].values()
    ends = {name for line in pipelines for side in ("receivers", "exporters") for name in line[side]}

    assert ends == set(collector["receivers"]) | set(collector["exporters"]) | set(collector["connectors"])
    assert {name for line in pipelines for name in line["processors"]} == set(collector["processors"])
    assert set(collector["service"]["extensions"]) == set(collector["extensions"])
    assert all("memory_limiter" == line["processors"][0] for line in pipelines)
    for name in collector["connectors"]:  # out of one pipeline and into another
        assert [1, 1] == [
            sum(name in line[side] for line in pipelines) for side in ("exporters", "receivers")
        ]
    address = SERVICES["flowrunner"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert (
        address.rpartition(":")[2]
        == collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    )


def test_loki_forgets_after_a_week_and_keeps_all_on_its_volume() -> None:
    loki = config("loki.yaml")
    paths = [loki["common"]["path_prefix"], loki["compactor"]["working_directory"]]
    paths += loki["common"]["storage"]["filesystem"].values()

    assert "168h" == loki["limits_config"]["retention_period"]
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["compactor"]["delete_request_store"] == loki["schema_config"]["configs"][-1]["object_store"]
    assert all(path.startswith("/loki") for path in paths)
    assert "loki:/loki" in SERVICES["loki"]["volumes"]


def test_grafana_has_a_source_for_every_kind_of_data_and_shows_the_dashboards() -> None:
    sources = {each["type"]: each for each in config("grafana/datasources.yaml")["datasources"]}
    (provider,) = config("grafana/dashboards.yaml")["providers"]

    assert {"prometheus", "loki", "influxdb"} == set(sources)
    for name, source in sources.items():
        host, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
        assert host == name
        assert any(published.endswith(f":{port}") for published in SERVICES[host]["ports"])
    assert ["prometheus"] == [each["type"] for each in sources.values() if each.get("isDefault")]
    assert "$__file{/run/secrets/influx_token}" == sources["influxdb"]["secureJsonData"]["token"]
    influx = SERVICES["influxdb"]["environment"]
    assert sources["influxdb"]["jsonData"]["organization"] == influx["DOCKER_INFLUXDB_INIT_ORG"]
    assert sources["influxdb"]["jsonData"]["defaultBucket"] == influx["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert f"./dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert json.loads((ROOT / "dashboards" / Path(home).name).read_text())["title"]


def test_the_flows_are_valid() -> None:
    assert [] == load_flows([FILES / "flows"]).diagnostics


def make_secrets(folder: Path) -> dict[str, str]:
    """Run the script as its container does, and return what it has made."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([os.environ["PATH"], str(Path(program("mosquitto_passwd")).parent)])
    subprocess.run(["/bin/sh", FILES / "secrets.sh", folder], check=True, env={"PATH": path})
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_secrets_are_made_once_and_are_none_that_one_could_guess(tmp_path: Path) -> None:
    first, second = make_secrets(tmp_path / "secrets"), make_secrets(tmp_path / "secrets")
    hashes = first.pop("mosquitto_passwords"), second.pop("mosquitto_passwords")

    assert first == second
    assert all(re.fullmatch(r"[A-Za-z0-9]{40}", secret) for secret in first.values())
    assert 5 == len(set(first.values()))
    assert all(text.startswith("flowrunner:$") and first["mqtt_password"] not in text for text in hashes)
    assert 0o400 == stat.S_IMODE((tmp_path / "secrets" / "mosquitto_passwords").stat().st_mode)
    read = re.findall(r"/run/secrets/(\w+)", (ROOT / "compose.yaml").read_text())
    assert set(first) == set(read)


@pytest.mark.server
async def test_the_flows_run_with_the_broker_and_its_file(tmp_path: Path) -> None:
    secrets = make_secrets(tmp_path / "secrets")
    port = free_port()
    broker = start_broker(tmp_path, port)
    async with FakeInflux(token=secrets["influx_token"]) as influx, Flowrunner(tmp_path) as process:
        places = {
            "/run/secrets": str(tmp_path / "secrets"),
            "mqtt://mosquitto:1883": f"mqtt://127.0.0.1:{port}",
            "http://influxdb:8086": influx.url,
        }
        for file in (FILES / "flows").glob("*.yaml"):
            process.write(file.name, hurried(replaced(file.read_text(), places)))
        try:
            process.launch()
            await process.until(lambda: influx.stored)
        finally:
            broker.terminate()
            await asyncio.to_thread(broker.wait)

    assert influx.stored[0].startswith("climate,room=kitchen ")


def replaced(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        text = text.replace(old, new)
    return text


def hurried(text: str) -> str:
    """Return a flow in which seconds stand for minutes."""
    hurry = {
        "every: 5s": "every: 200ms",
        "size: 1m": "size: 1s",
        "allowed_lateness: 5s": "allowed_lateness: 0s",
    }
    return replaced(text, hurry)


def start_broker(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start Mosquitto with the file of the installation; only places differ."""
    (folder / "data").mkdir()
    text = (FILES / "mosquitto.conf").read_text()
    for old, new in (
        ("listener 1883", f"listener {port} 127.0.0.1"),
        ("/run/secrets", str(folder / "secrets")),
        ("/mosquitto/data", str(folder / "data")),
    ):
        assert old in text
        text = text.replace(old, new)
    if os.geteuid() == 0:  # it would become `mosquitto` and not reach the folder
        text += "user root\n"
        shutil.chown(folder / "secrets" / "mosquitto_passwords", "root")
    (folder / "mosquitto.conf").write_text(text)
    broker = subprocess.Popen([program("mosquitto"), "-c", folder / "mosquitto.conf"])
    while not listening(port):
        assert broker.poll() is None
    return broker
