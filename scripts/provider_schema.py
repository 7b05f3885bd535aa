"""Print the arguments and attributes of what terraform/ uses, read from generated bindings of the providers."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Arguments of every resource, which Terraform itself knows.
META = {"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"}
USED = {
    "digitalocean": (
        "data.kubernetes_versions",
        "database_cluster",
        "database_db",
        "database_firewall",
        "database_user",
        "kubernetes_cluster",
        "record",
        "vpc",
    ),
    "helm": ("release",),
    "kubernetes": ("data.service_v1", "namespace_v1", "secret_v1", "storage_class_v1"),
    "random": ("password",),
}


def main(packages: Path) -> None:
    """Print the schema as JSON: the version of each provider, and each type with arguments and attributes."""
    versions, types = {}, {}
    for provider, names in USED.items():
        package = packages / f"cdktf_cdktf_provider_{provider}"
        text = (package / "provider" / "__init__.py").read_text()
        found = re.search(r"registry\.terraform\.io/providers/(\w+/\w+)/([\d.]+)", text)
        if found is None:
            sys.exit(f"{package} does not tell the version of the provider")
        versions[found[1]] = found[2]
        for name in names:
            kind, _, short = name.rpartition(".")
            folder = f"data_{provider}_{short}" if kind else short
            module = ast.parse((package / folder / "__init__.py").read_text())
            types[f"{kind + '.' if kind else ''}{provider}_{short}"] = _type(module, folder)
    sys.stdout.write(json.dumps({"providers": versions, "types": types}, indent=1) + "\n")


def _type(module: ast.Module, folder: str) -> dict[str, object]:
    """Return what one resource or data source takes, and what can be read from it."""
    classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
    name = folder.replace("_", "")
    config = next(found for found in classes if found.lower() == f"{name}config")
    resource = classes[config.removesuffix("Config")]
    readable = {node.name for node in resource.body if isinstance(node, ast.FunctionDef) and _getter(node)}
    return {
        "arguments": _arguments(classes, config),
        "attributes": sorted(read for read in readable if not read.endswith("_input")),
    }


def _arguments(classes: dict[str, ast.ClassDef], name: str) -> dict[str, object]:
    """Return the arguments of a block: whether each is required, and the arguments of the blocks within."""
    init = next(
        node for node in classes[name].body if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    found: dict[str, object] = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if argument.arg in META or argument.annotation is None:
            continue
        entry: dict[str, object] = {"required": default is None}
        inner = [within for within in _named(argument.annotation) if within in classes and within != name]
        if inner:
            entry["block"] = _arguments(classes, inner[0])
        found[argument.arg] = entry
    return found


def _named(annotation: ast.expr) -> Iterator[str]:
    """Yield the types that an annotation names."""
    yield from re.findall(r"\w+", ast.unparse(annotation))


def _getter(node: ast.FunctionDef) -> bool:
    """Return whether a method is a property that is read."""
    return any(ast.unparse(decorator) == "builtins.property" for decorator in node.decorator_list)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
