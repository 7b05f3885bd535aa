"""What the real core of Terraform says about terraform/, and what Helm makes of the values that it computes."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from helm_python.chart import Chart

from tests.terraform.core import (
    EXAMPLES,
    MODULES,
    ROOT,
    TERRAFORM,
    planned_values,
    terraform,
    without_providers,
)

VARIABLES: dict[str, dict[str, Any]] = {
    "small": {
        "image": {"repository": "registry.example.org/flowrunner", "tag": "0.1.0"},
        "home_assistant_url": "https://home.example.org",
        "home_assistant_token": "secret-canary-1",
    },
    "production": {
        "image": {"repository": "registry.example.org/flowrunner", "digest": "sha256:" + "a" * 64},
        "flows_repository": "https://git.example.org/home/flows.git",
        "domain": "example.org",
        "email": "ops@example.org",
        "administrators": ["203.0.113.7"],
        "dns_token": "secret-canary-2",
        "secrets": {"weather": "secret-canary-3"},
    },
}
CLOUD = {"url": "https://cloud.example.org", "org": "me", "bucket": "home", "token": "secret-canary-4"}
CUSTOM = {"cert-manager.io", "monitoring.coreos.com"}
"""Groups of types that operators bring, of which there is no schema here."""
OWN_CHARTS = {
    "mosquitto": TERRAFORM / "charts" / "mosquitto",
    "edge": TERRAFORM / "charts" / "edge",
    "flowrunner": ROOT / "charts" / "flowrunner",
}


@pytest.fixture(scope="module")
def stripped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return without_providers(tmp_path_factory.mktemp("stripped"))


@pytest.fixture(scope="module")
def values_of(stripped: Path) -> Callable[..., dict[str, Any]]:
    @functools.cache
    def values(example: str, *, cloud: bool = False) -> dict[str, Any]:
        variables = stripped / "given.tfvars.json"
        given = VARIABLES[example] | ({"influxdb_cloud": CLOUD} if cloud else {})
        variables.write_text(json.dumps(given))
        return planned_values(stripped / "examples" / example, variables)

    return values


def _objects(release: str, values: str, namespace: str) -> list[dict[str, Any]]:
    chart, given = Chart.load(OWN_CHARTS[release]), yaml.safe_load(values)
    chart.validate_schema(given)
    texts = chart.render(given, name=release, namespace=namespace)
    return [
        each
        for name, text in texts.items()
        if name.endswith(".yaml")
        for each in yaml.safe_load_all(text)
        if each
    ]


def test_the_files_are_formatted() -> None:
    done = terraform(TERRAFORM, "fmt", "-check", "-recursive", "-diff")

    assert done.code == 0, done.text


@pytest.mark.parametrize("example", [path.name for path in EXAMPLES])
def test_the_core_accepts_an_example_but_for_its_resources(stripped: Path, example: str) -> None:
    assert terraform(stripped / "examples" / example, "init", "-backend=false").code == 0

    done = terraform(stripped / "examples" / example, "validate", "-no-color")

    assert done.code == 0, done.text


def test_the_core_would_find_a_wrong_argument_of_a_module(stripped: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(stripped, tmp_path / "terraform"))
    main = copy / "examples" / "small" / "main.tf"
    main.write_text(main.read_text().replace("  region = var.region", "  regoin = var.region"))
    terraform(main.parent, "init", "-backend=false")

    done = terraform(main.parent, "validate", "-no-color")

    assert done.code == 1
    assert "Unsupported argument" in done.text


@pytest.mark.parametrize(
    ("example", "cloud"),
    [("small", False), ("production", False), ("production", True)],
    ids=["small", "production", "production with InfluxDB Cloud"],
)
def test_helm_renders_what_an_example_gives_to_our_charts(
    values_of: Callable[..., dict[str, Any]], example: str, cloud: bool
) -> None:
    values = values_of(example, cloud=cloud)

    for release in OWN_CHARTS.keys() & values.keys():
        for each in _objects(release, values[release], "flowrunner"):
            if each["apiVersion"].partition("/")[0] not in CUSTOM:
                kubernetes_validate.validate(each, "1.34", strict=True)
    assert (values["influxdb"] is None) == cloud


@pytest.mark.parametrize("example", [path.name for path in EXAMPLES])
def test_values_for_the_charts_of_others_are_yaml_and_hold_no_secret(
    values_of: Callable[..., dict[str, Any]], example: str
) -> None:
    values = values_of(example, cloud=example == "production")

    texts = [text for text in values.values() if text is not None]
    assert all(isinstance(yaml.safe_load(text), dict) for text in texts)
    assert [text for text in texts if "secret-canary" in text] == []


def test_production_takes_flows_from_git_and_keeps_its_catalog_in_postgres(
    values_of: Callable[..., dict[str, Any]],
) -> None:
    values = yaml.safe_load(values_of("production")["flowrunner"])

    variables = values["secrets"]["variables"]
    assert values["flows"]["git"]["repository"] == "https://git.example.org/home/flows.git"
    assert variables["FLOWRUNNER_CATALOG_URL"] == {"secret": "settings", "key": "catalog-url"}
    assert {"ports": [25060], "to": [{"ipBlock": {"cidr": "10.20.0.0/20"}}]} in values["networkPolicy"][
        "servers"
    ]


def test_the_broker_runs_without_rights_and_is_public_by_tls_only(
    values_of: Callable[..., dict[str, Any]],
) -> None:
    objects = _objects("mosquitto", values_of("production")["mosquitto"], "data")

    kinds = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    public = kinds["Service", "mosquitto-public"]["spec"]
    pod = kinds["StatefulSet", "mosquitto"]["spec"]["template"]["spec"]
    assert [port["port"] for port in public["ports"]] == [8883]
    assert "allow_anonymous false" in kinds["ConfigMap", "mosquitto"]["data"]["mosquitto.conf"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_only_the_paths_of_webhooks_are_public(values_of: Callable[..., dict[str, Any]]) -> None:
    objects = _objects("edge", values_of("production")["edge"], "edge")

    ingress = next(each for each in objects if each["kind"] == "Ingress")
    assert [path["path"] for path in ingress["spec"]["rules"][0]["http"]["paths"]] == ["/in/"]
    assert {each["metadata"]["name"] for each in objects if each["kind"] == "Certificate"} == {
        "flowrunner-tls",
        "mqtt-tls",
    }


@pytest.mark.parametrize(
    ("module", "variable", "value", "message"),
    [
        pytest.param("cluster", "name", '"A"', "A name has 3 to 42", id="name of the cluster"),
        pytest.param("cluster", "region", '"europe"', "three letters and a digit", id="region"),
        pytest.param("cluster", "kubernetes_minor", '"1.29"', "1.30 or newer", id="old Kubernetes"),
        pytest.param("cluster", "kubernetes_minor", '"1.34.1"', "minor version only", id="a patch"),
        pytest.param("cluster", "vpc_cidr", '"10.0.0.0/8"', "/16 to /24", id="large network"),
        pytest.param("cluster", "nodes", '{size="s",min=3,max=2}', "max is not less", id="nodes"),
        pytest.param("cluster", "allowed_addresses", '["home"]', "IPv4 address or a range", id="address"),
        pytest.param("database", "size", '"s-1vcpu-1gb"', "begins with db-", id="size of a database"),
        pytest.param("database", "node_count", "4", "1, 2 or 3 nodes", id="nodes of a database"),
        pytest.param("platform", "storage_gb", "{loki=0.5}", "1 to 16384 GiB", id="half a GiB"),
        pytest.param("platform", "retention", "{loki_days=0}", "a day at least", id="no logs"),
        pytest.param(
            "platform", "influxdb_cloud", '{url="http://x",org="",bucket="",token=""}', "https://", id="cloud"
        ),
        pytest.param("platform", "mqtt_users", '["flowrunner"]', "is there already", id="user of the broker"),
        pytest.param("platform", "otlp_endpoint", '"traces:4318"', "begins with http://", id="endpoint"),
        pytest.param("edge", "domain", '"https://example.org"', "without a scheme", id="domain"),
        pytest.param("edge", "email", '"ops"', "address of a person", id="email"),
        pytest.param("edge", "acme_server", '"http://ca"', "begins with https://", id="authority"),
        pytest.param("edge", "flowrunner", '{namespace="a",service="b",paths=["in"]}', "slash", id="path"),
        pytest.param("flowrunner", "image", '{repository="a",digest="x"}', "hexadecimal", id="digest"),
        pytest.param("flowrunner", "flows", '{"a/b.yaml"=""}', "is in no folder", id="flow file"),
        pytest.param("flowrunner", "git", '{repository="ssh://x"}', "over https://", id="repository"),
        pytest.param("flowrunner", "shards", "1.5", "1 to 16 shards", id="shards"),
        pytest.param("flowrunner", "state_gb", "1", "2 GiB at least", id="journal"),
        pytest.param("flowrunner", "variables", '{"a-b"="x"}', "capital letters", id="variable"),
        pytest.param("flowrunner", "servers", "[{ports=[1]}]", "names a port, and", id="server without peer"),
        pytest.param("flowrunner", "servers", '[{ports=[1],cidrs=["x"]}]', "A range is", id="server's range"),
    ],
)
def test_a_wrong_value_is_refused_in_words(
    tmp_path: Path, module: str, variable: str, value: str, message: str
) -> None:
    text = (TERRAFORM / "modules" / module / "variables.tf").read_text()
    (declared,) = re.findall(rf'^variable "{variable}" \{{.*?^\}}', text, re.MULTILINE | re.DOTALL)
    (tmp_path / "variables.tf").write_text(declared + "\n")

    done = terraform(tmp_path, "plan", "-input=false", "-no-color", f"-var={variable}={value}")

    assert done.code == 1
    assert message in " ".join(done.text.split()), done.text


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_every_rule_of_a_variable_is_tried_above(module: Path) -> None:
    tried = [
        mark
        for mark in test_a_wrong_value_is_refused_in_words.pytestmark  # type: ignore[attr-defined]
        for case in mark.args[1]
        if case.values[0] == module.name
    ]

    assert len(tried) >= (module / "variables.tf").read_text().count("validation {")
