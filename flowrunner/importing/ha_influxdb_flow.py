"""The flow that does what a Home Assistant's `influxdb` integration does, and in words what is different."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from flowrunner.importing.ha_influxdb import Integration, Selection

_PATTERN = re.compile(r"[a-z0-9_.*?\[\]!-]+")
"""What `ha_in` takes for an entity."""

_HEAD = """\
# The `influxdb` integration of Home Assistant as a flow: the same points, byte for byte, in the same place.
#
# Set before it runs:
{variables}
version: 1
flow: home_assistant_influxdb
description: States of Home Assistant, as its own influxdb integration writes them.
"""


_ALWAYS = (
    (
        "Nothing is lost while InfluxDB or flowrunner is away: points wait, and what Home Assistant saw meanwhile is "
        "read from its history. The integration loses both."
    ),
    (
        "Values that Home Assistant only writes again after its restart are left out; `restart_noise: keep` in the node "
        "`states` brings them back."
    ),
    (
        "A `_str` field of a list may be spelled otherwise, where Home Assistant has a tuple or an enumeration: see "
        "docs/home-assistant-layout.md."
    ),
)


def flow_text(integration: Integration) -> str:
    """Return the flow file."""
    variables = {
        "HA_URL": "where Home Assistant is, such as http://homeassistant:8123",
        "HA_TOKEN": "a long-lived access token: your profile in Home Assistant, Security",
        **{name: f"today {origin}" for name, origin in integration.variables.items()},
    }
    head = _HEAD.format(
        variables="\n".join(f"#   {name}: {_comment(what)}" for name, what in variables.items())
    )
    entities, exact = source_options(integration.include, integration.exclude)
    nodes = {
        "states": {"type": "ha_in", "connection": "home", **entities},
        "store": {
            "type": "influxdb_out",
            "from": "states",
            "connection": "tsdb",
            **_sink(integration, exact=exact),
        },
    }
    connections = {
        "home": {"type": "home_assistant", "url": "${HA_URL}", "token": "${HA_TOKEN}"},
        "tsdb": _connection(integration),
    }
    return "\n".join([head, *_yaml("connections", connections), "", *_yaml("nodes", nodes), ""])


def differences(integration: Integration) -> list[str]:
    """Return what is different from the integration, a sentence or two each."""
    server = integration.server
    found = list(_ALWAYS)
    if integration.max_retries:
        found.append(
            f"`max_retries: {integration.max_retries}` is not needed: flowrunner tries until it is written."
        )
    if server.version == 1:
        found.append("Whole numbers are written as 5 and not as 5.0, which is the same to InfluxDB.")
    if server.version == 1 and server.username is None:
        found.append(
            "The integration signs in as root with the password root when it has no user; flowrunner does not."
        )
    if server.version == 1 and integration.precision in ("us", "ns"):
        found.append(
            f"With `precision: {integration.precision}` and version 1 the integration writes nothing at all; flowrunner does."
        )
    if not integration.server_is_given:
        found.append(
            "The file does not say where InfluxDB is, since newer versions of Home Assistant keep that to themselves: "
            "look at the connection `tsdb`, which has the integration's defaults."
        )
    found += [f"The integration has no option `{name}`; it is left out." for name in integration.unknown]
    return found


def source_options(include: Selection, exclude: Selection) -> tuple[dict[str, list[str]], bool]:
    """Return options of `ha_in`, and whether they alone select what the integration does.

    If not, they select more, and the sink has to be given the selection as it is.
    """
    wanted, unwanted = _patterns(include), _patterns(exclude)
    if not all(map(_PATTERN.fullmatch, [*wanted, *unwanted])):
        return {}, False
    if not wanted:
        return _given(exclude=unwanted), True
    if not unwanted:
        return _given(entities=wanted), True
    if not (include["domains"] or include["entity_globs"]):
        # Domains and globs that are excluded leave in what nobody mentions.
        return (
            ({}, False) if exclude["domains"] or exclude["entity_globs"] else (_given(entities=wanted), True)
        )
    # Here Home Assistant does not look at excluded domains; globs are only taken from included domains.
    takes = exclude["entities"]
    if not include["entities"] and not include["entity_globs"]:
        return _given(entities=wanted, exclude=[*takes, *exclude["entity_globs"]]), True
    exact = not exclude["entity_globs"] and set(takes).isdisjoint(include["entities"])
    return _given(entities=wanted, exclude=takes if exact else []), exact


def _patterns(selection: Selection) -> list[str]:
    domains = [f"{domain}.*" for domain in selection["domains"]]
    return [*domains, *selection["entity_globs"], *selection["entities"]]


def _given(**options: list[str]) -> dict[str, list[str]]:
    return {name: value for name, value in options.items() if value}


def _connection(integration: Integration) -> dict[str, Any]:
    server = integration.server
    signs_in = {"org": server.organization, "token": server.token}
    if server.version == 1:
        signs_in = {"username": server.username, "password": server.password}
    tls = {"ca": server.ca, "insecure": server.insecure or None}
    return _without_none(
        {
            "type": "influxdb",
            "version": server.version,
            "url": server.url,
            **signs_in,
            "tls": _without_none(tls) or None,
        }
    )


def _sink(integration: Integration, *, exact: bool) -> dict[str, Any]:
    layout = dict(integration.layout)
    if not exact:
        for name, selection in (("include", integration.include), ("exclude", integration.exclude)):
            layout |= {name: _given(**selection)} if any(selection.values()) else {}
    return _without_none(
        {
            "bucket": integration.server.bucket,
            "precision": integration.precision,
            "layout": "home_assistant",
            "home_assistant": layout or None,
        }
    )


def _without_none(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _yaml(name: str, value: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of an entry: mappings as blocks, lists with an item a line, texts quoted where YAML wants it."""
    if isinstance(value, dict) and value:
        yield f"{indent}{_word(name)}:"
        for key, inner in value.items():
            yield from _yaml(key, inner, f"{indent}  ")
    elif isinstance(value, list) and value:
        yield f"{indent}{_word(name)}:"
        yield from (f"{indent}  - {_word(item)}" for item in value)
    else:
        yield f"{indent}{_word(name)}: {_word(value)}"


def _word(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[a-z][a-z0-9_.]*[a-z0-9]", value) and value not in _LOOKALIKES:
        return value
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08X}" for character in _quoted(value)
    )


_LOOKALIKES = frozenset({"true", "false", "null", "yes", "no", "on", "off"})


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comment(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
