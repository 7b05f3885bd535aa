"""What the chart makes of its values: valid for Kubernetes, restricted, and as the pages promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from helm_python.chart import lint
from helm_python.errors import HelmError

from flowrunner.graph.load import load_flows
from flowrunner.settings import Settings
from tests.deploy.chart import CHART, NAME, ROOT, VALUE_SETS, Object, Rendered, overlaid, render, values
from tests.docs.pages import blocks

SETS = pytest.mark.parametrize("name", [path.name.removesuffix("-values.yaml") for path in VALUE_SETS])
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
KUBERNETES = ["1.31", "1.34", "1.37"]


def test_there_are_value_sets_for_every_way_to_use_the_chart() -> None:
    assert len(VALUE_SETS) >= 8


@SETS
def test_helm_finds_nothing_to_say(name: str) -> None:
    report = lint(CHART, values(name), strict=True, namespace="flows")

    assert [] == report["errors"]
    assert [] == [found for found in report["messages"] if found["severity"] > 1]


@SETS
@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(name: str, version: str) -> None:
    known = [each for each in render(values(name)).objects if each["kind"] not in CUSTOM]

    assert len(known) >= 5
    for each in known:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_check_of_fields_finds_a_wrong_one() -> None:
    wrong = render(values("minimal")).get("StatefulSet")
    wrong = wrong | {"spec": wrong["spec"] | {"replica": 1}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@SETS
def test_every_pod_keeps_to_the_restricted_standard(name: str) -> None:
    for _, pod in render(values(name)).pods():
        assert pod["automountServiceAccountToken"] is False
        assert {"hostNetwork", "hostPID", "hostIPC"} & set(pod) == set()
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
            "emptyDir",
            "projected",
            "secret",
        }
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            security = container["securityContext"]
            assert security["runAsNonRoot"] is security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert {"drop": ["ALL"]} == security["capabilities"]
            assert security.get("runAsUser", 65532) > 0
            assert "memory" in container["resources"]["limits"]
            assert "command" not in container  # the image's own, which is no shell


@SETS
def test_no_volume_is_mounted_in_parts(name: str) -> None:
    """A subPath does not follow its ConfigMap or Secret."""
    for _, pod in render(values(name)).pods():
        volumes = {volume["name"] for volume in pod["volumes"]} | {"state"}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert [] == [mount for mount in container["volumeMounts"] if "subPath" in mount]


@SETS
def test_selectors_find_their_pods(name: str) -> None:
    rendered = render(values(name))
    stateful = rendered.get("StatefulSet", values(name).get("fullnameOverride", NAME))
    labels = stateful["spec"]["template"]["metadata"]["labels"]

    selectors = [stateful["spec"]["selector"]["matchLabels"]]
    selectors += [each["spec"]["selector"] for each in rendered.objects if each["kind"] == "Service"]
    selectors += [
        each["spec"]["selector"]["matchLabels"]
        for each in rendered.objects
        if each["kind"] == "PodDisruptionBudget"
    ]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"]
        for each in rendered.objects
        if each["kind"] == "NetworkPolicy"
    ]
    assert len(selectors) >= 3
    assert [] == [selector for selector in selectors if not selector.items() <= labels.items()]


def template(rendered: Rendered) -> Object:
    return dict(rendered.get("StatefulSet")["spec"]["template"])


def test_a_change_of_the_flows_leaves_the_pods_alone() -> None:
    one, two = overlaid("minimal"), overlaid("minimal", flows={"files": {"other.yaml": "version: 1\n"}})

    assert one.get("ConfigMap", f"{NAME}-flows") != two.get("ConfigMap", f"{NAME}-flows")
    assert template(one) == template(two)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"settings": {"logLevel": "debug"}}, id="a setting"),
        pytest.param({"variables": {"HA_URL": "http://ha:8123"}}, id="a variable"),
        pytest.param({"terminationGracePeriodSeconds": 40}, id="the grace"),
    ],
)
def test_a_change_of_the_settings_restarts_the_pods(changes: Object) -> None:
    def checksum(rendered: Rendered) -> Any:
        return template(rendered)["metadata"]["annotations"]["checksum/settings"]

    assert checksum(overlaid("minimal")) != checksum(overlaid("minimal", **changes))


@pytest.mark.parametrize(("grace", "drained"), [(10, "5s"), (30, "25s"), (120, "115s")])
def test_the_kubelet_waits_longer_than_flowrunner_drains(grace: int, drained: str) -> None:
    rendered = overlaid("minimal", terminationGracePeriodSeconds=grace)

    assert grace == template(rendered)["spec"]["terminationGracePeriodSeconds"]
    assert drained == rendered.get("ConfigMap", f"{NAME}-settings")["data"]["FLOWRUNNER_SHUTDOWN_GRACE"]


@SETS
def test_the_settings_are_those_of_the_program(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release = values(name).get("fullnameOverride", NAME)
    data = render(values(name)).get("ConfigMap", f"{release}-settings")["data"]
    for variable, value in data.items():
        monkeypatch.setenv(variable, value)

    names = {variable for variable in data if variable.startswith("FLOWRUNNER_")}
    assert set() == names - {f"FLOWRUNNER_{field.upper()}" for field in Settings.model_fields}
    settings = Settings()
    assert ("0.0.0.0", 8080, "json") == (settings.http_host, settings.http_port, settings.log_format)


def test_flows_of_several_configmaps_are_one_folder() -> None:
    pod = template(overlaid("files-and-configmaps"))["spec"]
    (flows,) = (volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "flows")

    assert [f"{NAME}-flows", "connections"] == [source["configMap"]["name"] for source in flows]
    assert ["run", "/etc/flowrunner/flows"] == overlaid("files-and-configmaps").runner["args"]


@pytest.mark.parametrize(
    ("name", "path"), [("git", "/git/current"), ("git-password", "/git/current/house/flows")]
)
def test_flows_from_git_are_there_before_the_start_and_followed(name: str, path: str) -> None:
    pod = template(overlaid(name))["spec"]
    once, follower = pod["initContainers"][0], pod["containers"][1]

    def environment(container: Object) -> Object:
        return {each["name"]: each.get("value") for each in container["env"]}

    assert "true" == environment(once)["GITSYNC_ONE_TIME"]
    assert environment(follower)["GITSYNC_PERIOD"]
    assert ["run", path] == pod["containers"][0]["args"]
    assert "Job" not in overlaid(name).kinds()


def test_secrets_are_files_except_where_only_the_environment_will_do() -> None:
    runner = overlaid("secrets").runner
    mounts = {mount["mountPath"] for mount in runner["volumeMounts"] if mount["name"].startswith("secret-")}
    variables = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in runner["env"]
        if "secretKeyRef" in each.get("valueFrom", {})
    }

    assert {"/run/secrets/influx", "/run/secrets/mqtt-login"} == mounts
    assert {"name": "flowrunner-api", "key": "token"} == variables["FLOWRUNNER_API_TOKEN"]
    assert {"FLOWRUNNER_API_TOKEN", "FLOWRUNNER_CATALOG_URL"} == set(variables)


def test_every_shard_has_a_name_and_a_state_of_its_own() -> None:
    rendered = overlaid("shards")
    spec = rendered.get("StatefulSet")["spec"]
    fields = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"]
        for each in rendered.runner["env"]
        if "fieldRef" in each.get("valueFrom", {})
    }

    assert 3 == spec["replicas"]
    assert ["state"] == [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]]
    assert {
        "FLOWRUNNER_INSTANCE": "metadata.name",
        "SHARD": "metadata.labels['apps.kubernetes.io/pod-index']",
    } == fields
    assert "3" == rendered.get("ConfigMap", f"{NAME}-settings")["data"]["SHARDS"]
    assert spec["template"]["spec"]["topologySpreadConstraints"]
    assert "$share" in rendered.notes


def test_the_longest_name_is_one_that_mqtt_client_ids_can_begin_with() -> None:
    rendered = overlaid("minimal", fullnameOverride="a" * 28, shards=64)

    pod = f"{rendered.get('StatefulSet', 'a' * 28)['metadata']['name']}-63"
    assert pod == Settings(instance=pod).instance


def test_without_a_volume_the_state_ends_with_the_pod_and_the_notes_say_so() -> None:
    rendered = overlaid("ephemeral")

    assert "volumeClaimTemplates" not in rendered.get("StatefulSet")["spec"]
    assert {"emptyDir": {"sizeLimit": "2Gi"}, "name": "state"} in template(rendered)["spec"]["volumes"]
    assert "LOST" in rendered.notes
    assert {"NetworkPolicy", "PodDisruptionBudget"} & rendered.kinds() == set()


def test_probes_ask_what_they_should() -> None:
    probes = {
        kind: overlaid("minimal").runner[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")
    }

    assert {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"} == {
        kind: probe["httpGet"]["path"] for kind, probe in probes.items()
    }
    assert 120 == probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"]


def test_the_network_policy_denies_what_is_not_named() -> None:
    spec = overlaid("minimal").get("NetworkPolicy")["spec"]

    assert ["Ingress", "Egress"] == spec["policyTypes"]
    assert [] == spec["ingress"]
    dns, servers = spec["egress"]
    assert {53} == {port["port"] for port in dns["ports"]}
    assert [{"podSelector": {}}] == servers["to"]
    assert [] == overlaid("minimal", networkPolicy={"servers": []}).get("NetworkPolicy")["spec"]["egress"][1:]


@pytest.mark.parametrize(("name", "port"), [("git-password", 443), ("git-ssh", 22)])
def test_the_network_policy_lets_git_out_but_not_to_the_metadata_of_the_node(name: str, port: int) -> None:
    last = overlaid(name).get("NetworkPolicy")["spec"]["egress"][-1]

    assert [{"protocol": "TCP", "port": port}] == last["ports"]
    assert ["169.254.0.0/16"] == last["to"][0]["ipBlock"]["except"]


def test_prometheus_and_grafana_get_what_is_in_dashboards() -> None:
    rendered = overlaid("monitoring")
    rules = yaml.safe_load((ROOT / "dashboards" / "alerts.yaml").read_text())
    dashboard = rendered.get("ConfigMap", f"{NAME}-dashboard")
    monitor = rendered.get("ServiceMonitor")
    service = rendered.get("Service")

    assert rules == rendered.get("PrometheusRule")["spec"]
    assert (ROOT / "dashboards" / "flowrunner.json").read_text() == dashboard["data"]["flowrunner.json"]
    assert "1" == dashboard["metadata"]["labels"]["grafana_dashboard"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert 'job="flowrunner"' in str(rules)
    assert "flowrunner" == monitor["spec"]["endpoints"][0]["relabelings"][0]["replacement"]


def test_webhooks_and_metrics_are_reached_while_a_database_is_away() -> None:
    assert overlaid("minimal").get("Service")["spec"]["publishNotReadyAddresses"] is True


def test_before_an_upgrade_the_new_flows_are_validated_and_compared_with_the_old() -> None:
    rendered = overlaid("files-and-configmaps", check={"strict": True})
    job = rendered.get("Job", f"{NAME}-check")
    pod = job["spec"]["template"]["spec"]
    volumes = {
        volume["name"]: [source["configMap"] for source in volume["projected"]["sources"]]
        for volume in pod["volumes"]
        if "projected" in volume
    }
    new = rendered.get("ConfigMap", f"{NAME}-check")

    assert "pre-install,pre-upgrade" == job["metadata"]["annotations"]["helm.sh/hook"]
    assert [["validate", "/new", "--strict"]] == [each["args"] for each in pod["initContainers"]]
    assert [["plan", "/old", "/new"]] == [each["args"] for each in pod["containers"]]
    assert [{"name": f"{NAME}-check"}, {"name": "connections"}] == volumes["new"]
    assert [{"name": f"{NAME}-flows", "optional": True}, {"name": "connections"}] == volumes["old"]
    assert (0, "Never") == (job["spec"]["backoffLimit"], pod["restartPolicy"])
    assert new["data"] == rendered.get("ConfigMap", f"{NAME}-flows")["data"]
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (new, job)]
    assert sorted(weights) == weights


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"shards": 0}, "minimum", id="no shard"),
        pytest.param({"shards": "2"}, "want integer", id="text for a number"),
        pytest.param({"replicas": 2}, "additional properties 'replicas' not allowed", id="an unknown value"),
        pytest.param({"image": {"tagg": "1"}}, "'tagg' not allowed", id="a misspelt value below"),
        pytest.param({"image": {"repository": "x", "digest": "latest"}}, "pattern", id="no digest"),
        pytest.param({"settings": {"checkpointEvery": "10"}}, "pattern", id="a duration without unit"),
        pytest.param({"settings": {"journalMaxBytes": "1G"}}, "pattern", id="a size of Kubernetes"),
        pytest.param({"settings": {"instance": "a"}}, "not allowed", id="a setting that the chart makes"),
        pytest.param({"variables": {"FLOWRUNNER_INSTANCE": "a"}}, "not", id="a setting as a variable"),
        pytest.param({"state": {"accessMode": "ReadWriteMany"}}, "one of", id="a volume for many"),
        pytest.param({"flows": {"files": {"a.txt": ""}}}, "pattern", id="no flow file"),
        pytest.param({"flows": {"git": {"repository": "file:///etc"}}}, "pattern", id="a local repository"),
        pytest.param({"terminationGracePeriodSeconds": 5}, "minimum", id="no time to drain"),
        pytest.param({"secrets": {"variables": {"A": {"secret": "s"}}}}, "missing property", id="no key"),
        pytest.param({"networkPolicy": {"servers": [{"ports": [443], "to": []}]}}, "minItems", id="no peer"),
        pytest.param({"securityContext": {"runAsUser": 0}}, "not allowed", id="root"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: Object, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        overlaid("minimal", **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({"image": {}}, "set image.repository", id="no image"),
        pytest.param({"flows": {}}, "there are no flows", id="no flows"),
        pytest.param(
            {"flows": {"configMaps": ["a"], "git": {"repository": "https://git.example.com/a"}}},
            "not both",
            id="two origins",
        ),
        pytest.param(
            {"flows": {"git": {"repository": "https://git.example.com/a", "auth": "password"}}},
            "set flows.git.secret",
            id="no login",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: Object, said: str) -> None:
    with pytest.raises(HelmError, match=said):
        overlaid("minimal", **changes)


def test_every_value_is_described_and_nothing_else_is_a_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())

    assert set(defaults) == set(schema["properties"]) - {"global"}
    assert [] == list(undescribed("", schema))


def undescribed(path: str, part: Object) -> Iterator[str]:
    """Yield what has no description, and what takes more than it names."""
    if "properties" in part and part.get("additionalProperties") is not False:
        yield f"{path or 'the whole'} takes anything"
    for name, child in part.get("properties", {}).items():
        if not child.get("description"):
            yield f"{path}.{name}"
        yield from undescribed(f"{path}.{name}", child)


def test_the_flows_in_the_value_sets_are_valid(tmp_path: Path) -> None:
    for path in VALUE_SETS:
        given = values(path.name.removesuffix("-values.yaml"))["flows"].get("files", {})
        (tmp_path / path.stem).mkdir()
        for name, text in given.items():
            (tmp_path / path.stem / name).write_text(text)

    found = [
        each
        for folder in tmp_path.iterdir()
        if any(folder.iterdir())
        for each in load_flows([folder]).diagnostics
    ]
    assert [] == [each for each in found if each.severity == "error"]


def test_the_values_on_the_page_fit() -> None:
    shown = [
        yaml.safe_load(block.text)
        for block in blocks(ROOT / "docs" / "deploy-kubernetes.md", "yaml")
        if "values" in block.words
    ]

    assert 3 == len(shown)
    for each in shown:
        assert overlaid("minimal", **each).kinds() >= {"StatefulSet", "Service", "NetworkPolicy"}
