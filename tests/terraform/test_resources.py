"""Resources of terraform/ against what the providers know, and references against what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hcl2
import pytest

from tests.terraform.core import EXAMPLES, MODULES, TERRAFORM

SCHEMA: dict[str, Any] = json.loads(Path(__file__).with_name("provider_schema.json").read_text())
META = {"count", "depends_on", "dynamic", "for_each", "lifecycle", "provider"}
NOTES = {"__is_block__", "__comments__", "__inline_comments__"}
REFERENCE = re.compile(
    r"(?<![\w.])(data\.)?((?:digitalocean|helm|kubernetes|random)_\w+)\.(\w+)(?:\[[^]]*\])?(?:\.(\w+))?"
)


def _blocks(folder: Path, kind: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return type, name and body of all resources or data sources."""
    return [
        (type.strip('"'), name.strip('"'), body)
        for file in sorted(folder.glob("*.tf"))
        for block in hcl2.loads(file.read_text()).get(kind, [])
        for type, named in block.items()
        if type not in NOTES
        for name, body in named.items()
        if name not in NOTES
    ]


def _mistakes(where: str, body: dict[str, Any], arguments: dict[str, Any]) -> list[str]:
    """Compare a block with the arguments that the provider knows; return what is wrong."""
    given = {name: value for name, value in body.items() if name not in META | NOTES}
    for dynamic in body.get("dynamic", []):
        given |= {name.strip('"'): inner["content"] for name, inner in dynamic.items() if name not in NOTES}
    missing = {name for name, known in arguments.items() if known["required"]} - given.keys()
    wrong = [f"{where}: there is no {name}" for name in sorted(given.keys() - arguments.keys())]
    wrong += [f"{where}: {name} is missing" for name in sorted(missing)]
    for name in given.keys() & arguments.keys():
        inner = arguments[name].get("block")
        blocks = given[name] if isinstance(given[name], list) else []
        if inner:
            wrong += [each for block in blocks for each in _mistakes(f"{where}.{name}", block, inner)]
    return wrong


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
@pytest.mark.parametrize("kind", ["resource", "data"])
def test_a_resource_has_the_arguments_that_its_provider_knows(module: Path, kind: str) -> None:
    prefix = "data." if kind == "data" else ""

    wrong = [
        mistake
        for type, name, body in _blocks(module, kind)
        for mistake in _mistakes(f"{type}.{name}", body, SCHEMA["types"][prefix + type]["arguments"])
    ]

    assert wrong == []


@pytest.mark.parametrize(
    ("body", "mistake"),
    [
        pytest.param({"name": "a"}, "x: region is missing", id="missing"),
        pytest.param({"name": "a", "region": "b", "cidr": "c"}, "x: there is no cidr", id="unknown"),
    ],
)
def test_a_wrong_argument_would_be_found(body: dict[str, Any], mistake: str) -> None:
    assert _mistakes("x", body, SCHEMA["types"]["digitalocean_vpc"]["arguments"]) == [mistake]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_what_is_referred_to_exists_and_has_that_attribute(module: Path) -> None:
    text = "".join(re.sub(r"#.*", "", file.read_text()) for file in module.glob("*.tf"))
    there = {("", type, name) for type, name, _ in _blocks(module, "resource")}
    there |= {("data.", type, name) for type, name, _ in _blocks(module, "data")}

    found = REFERENCE.findall(text)
    wrong = [
        f"{data}{type}.{name}.{attribute}"
        for data, type, name, attribute in found
        if (data, type, name) not in there
        or (
            attribute
            and attribute not in SCHEMA["types"][data + type]["attributes"]
            and attribute not in SCHEMA["types"][data + type]["arguments"]
        )
    ]

    assert wrong == []
    assert found


@pytest.mark.parametrize("folder", [*MODULES, *EXAMPLES], ids=lambda path: path.name)
def test_a_provider_is_asked_for_in_a_version_that_was_checked(folder: Path) -> None:
    (settings,) = hcl2.loads((folder / "versions.tf").read_text())["terraform"]
    (required,) = settings["required_providers"]

    for name, provider in required.items():
        if name in NOTES:
            continue
        source, constraint = provider["source"].strip('"'), provider["version"].strip('"')
        checked = SCHEMA["providers"][source].split(".")
        assert constraint == f"~> {checked[0]}.{checked[1]}", source


@pytest.mark.parametrize("folder", [*MODULES, *EXAMPLES], ids=lambda path: path.name)
def test_variables_and_outputs_are_described_and_secrets_are_sensitive(folder: Path) -> None:
    for file, kind in (("variables.tf", "variable"), ("outputs.tf", "output")):
        for block in hcl2.loads((folder / file).read_text())[kind]:
            for name, body in block.items():
                if name in NOTES:
                    continue
                assert body["description"].endswith(('."', '`."')), name
                if re.search(r"token|password|secrets|catalog_url|_cloud", name) and kind == "variable":
                    assert body.get("sensitive") is True, name
                if kind == "output" and re.search(r"token|password|certificate|influxdb\"|\"url", name):
                    secret = "module.edge" not in body["value"] and "https://" not in body["value"]
                    assert body.get("sensitive", False) is secret, name


def test_every_chart_of_others_has_a_version() -> None:
    modules = [(TERRAFORM / "modules" / name / "main.tf").read_text() for name in ("platform", "edge")]
    text = "".join(modules)

    assert len(re.findall(r"https://[\w./-]+", text)) == len(
        re.findall(r'version += "v?\d+\.\d+\.\d+"', text)
    )
