"""The chart, rendered by Helm itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml
from helm_python.chart import Chart

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "flowrunner"
VALUE_SETS = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE = "home"
NAME = "home-flowrunner"

type Object = dict[str, Any]


class Rendered(msgspec.Struct, frozen=True):
    """What a set of values makes of the chart."""

    objects: list[Object]
    notes: str

    def get(self, kind: str, name: str = NAME) -> Object:
        """Return the only object of this kind and name."""
        (found,) = (each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
        return found

    def kinds(self) -> set[str]:
        """Return which kinds of objects there are."""
        return {each["kind"] for each in self.objects}

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Yield the pod specs, with the kinds of what makes the pods."""
        for each in self.objects:
            if "template" in each.get("spec", {}):
                yield each["kind"], each["spec"]["template"]["spec"]

    @property
    def runner(self) -> Object:
        """The container of flowrunner."""
        return dict(self.get("StatefulSet")["spec"]["template"]["spec"]["containers"][0])


@functools.cache
def _chart() -> Chart:
    return Chart.load(CHART)


def values(name: str) -> Object:
    """Return one of the value sets."""
    return dict(yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text()))


def render(given: Object) -> Rendered:
    """Render with these values; raises Helm's error when they do not fit the schema or a template refuses them."""
    texts = _render(json.dumps(given, sort_keys=True))
    objects = [
        each
        for file, text in texts.items()
        if file.endswith(".yaml")
        for each in yaml.safe_load_all(text)
        if each
    ]
    return Rendered(objects, texts["flowrunner/templates/NOTES.txt"])


@functools.cache
def _render(given: str) -> dict[str, str]:
    chosen = json.loads(given)
    _chart().validate_schema(chosen)
    return _chart().render(chosen, name=RELEASE, namespace="flows")


def overlaid(name: str, **changes: Any) -> Rendered:
    """Render a value set with some top-level values replaced."""
    return render(values(name) | changes)
