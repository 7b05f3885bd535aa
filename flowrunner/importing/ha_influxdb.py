"""The options of Home Assistant's `influxdb` integration, as it understands them itself."""

from __future__ import annotations

from typing import Any

import msgspec

from flowrunner.importing.errors import CannotImport
from flowrunner.importing.ha_yaml import Reference

_CLOUD = "us-west-2-1.aws.cloud2.influxdata.com"
_BOOLS = {
    **dict.fromkeys(("1", "true", "yes", "on", "enable"), True),
    **dict.fromkeys(("0", "false", "no", "off", "disable"), False),
}
_MEASUREMENT_ATTRS = ("unit_of_measurement", "domain__device_class", "entity_id")
_PRECISIONS = ("ns", "us", "ms", "s")
_CONNECTION = frozenset(
    [
        "api_version",
        "host",
        "path",
        "port",
        "ssl",
        "verify_ssl",
        "ssl_ca_cert",
        "database",
        "bucket",
        "organization",
        "token",
        "username",
        "password",
    ]
)

type Selection = dict[str, list[str]]
"""By ``domains``, ``entity_globs`` and ``entities``."""


class Server(msgspec.Struct, frozen=True):
    """Where the integration writes. Texts are as a flow has them: with variables for what stands elsewhere."""

    version: int
    url: str
    bucket: str
    organization: str | None
    token: str | None
    username: str | None
    password: str | None
    insecure: bool
    ca: str | None


class Integration(msgspec.Struct, frozen=True):
    """What is configured."""

    server: Server
    server_is_given: bool
    """Whether the file says where the server is: since 2026 Home Assistant keeps that to itself."""
    precision: str | None
    layout: dict[str, Any]
    """The options of the layout, as `influxdb_out` has them."""
    include: Selection
    exclude: Selection
    max_retries: int
    variables: dict[str, str]
    """The variables in the texts, and in words where each value stands today."""
    unknown: list[str]
    """Options that the integration does not have."""


def read_integration(section: Any) -> Integration:
    """Return what a section says, with the integration's defaults; raises :class:`CannotImport`."""
    given = _Options(section, "influxdb")
    integration = Integration(
        server=_server(given),
        server_is_given=not _CONNECTION.isdisjoint(given.names),
        precision=given.choice("precision", _PRECISIONS),
        layout=_layout(given),
        include=_selection(given, "include"),
        exclude=_selection(given, "exclude"),
        max_retries=given.number("max_retries", 0),
        variables=given.variables,
        unknown=given.unknown(_CONNECTION),
    )
    _check(integration.server)
    return integration


def _server(given: _Options) -> Server:
    v2 = given.choice("api_version", ("1", "2")) == "2"
    ssl = given.bool("ssl", default=v2)
    return Server(
        version=2 if v2 else 1,
        url=_url(given, "https" if ssl else "http", v2=v2),
        bucket=given.text("bucket", "Home Assistant") if v2 else given.text("database", "home_assistant"),
        organization=given.text("organization", "") or None,
        token=given.credential("token", "INFLUX_TOKEN"),
        username=given.text("username", "") or None,
        password=given.credential("password", "INFLUX_PASSWORD"),
        insecure=ssl and not given.bool("verify_ssl", default=True),
        ca=(given.text("ssl_ca_cert", "") or None) if ssl else None,
    )


def _url(given: _Options, scheme: str, *, v2: bool) -> str:
    host = given.text("host", _CLOUD if v2 else "localhost")
    port = given.text("port", "" if v2 else "8086")
    path = given.text("path", "").strip("/")
    return f"{scheme}://{host}{f':{port}' if port else ''}{f'/{path}' if path else ''}"


def _check(server: Server) -> None:
    if server.version == 2 and (server.token is None or server.organization is None):
        problem = "`api_version: 2` needs `token` and `organization`"
        raise CannotImport(problem, help="Home Assistant needs them, too; look at the file")
    if server.version == 1 and server.token is not None:
        raise CannotImport("`token` is for `api_version: 2` only", help="add `api_version: 2`")
    if (server.username is None) != (server.password is None) or (server.version == 2 and server.username):
        problem = "`username` and `password` go together, and only with `api_version: 1`"
        raise CannotImport(problem, help="Home Assistant demands it, too; look at the file")


def _layout(given: _Options) -> dict[str, Any]:
    layout = {
        "measurement_attr": given.choice("measurement_attr", _MEASUREMENT_ATTRS),
        "default_measurement": given.text("default_measurement", ""),
        "override_measurement": given.text("override_measurement", ""),
        "tags": {name: tags.text(name, "") for tags in [given.section("tags")] for name in tags.names},
        "tags_attributes": given.texts("tags_attributes"),
        "ignore_attributes": given.texts("ignore_attributes"),
        "component_config": _components(given, "component_config"),
        "component_config_glob": _components(given, "component_config_glob"),
        "component_config_domain": _components(given, "component_config_domain"),
    }
    return {name: value for name, value in layout.items() if value}


def _components(given: _Options, name: str) -> dict[str, Any]:
    sections = given.section(name)
    return {key: _component(sections.section(key)) for key in sections.names}


def _component(given: _Options) -> dict[str, Any]:
    component: dict[str, Any] = {}
    if "override_measurement" in given.names:
        component["override_measurement"] = given.text("override_measurement", "")
    if "ignore_attributes" in given.names:
        component["ignore_attributes"] = given.texts("ignore_attributes")
    return component


def _selection(given: _Options, name: str) -> Selection:
    section = given.section(name)
    entities = [part.strip().lower() for text in section.values("entities") for part in text.split(",")]
    return {
        "domains": section.values("domains"),
        "entity_globs": section.values("entity_globs"),
        "entities": [entity for entity in entities if entity],
    }


class _Options:
    """A mapping, read as Home Assistant reads it: a scalar is a list of one, `yes` is true, 1 is a text, too."""

    def __init__(self, given: Any, path: str, variables: dict[str, str] | None = None) -> None:
        if given is not None and not isinstance(given, dict):
            raise CannotImport(f"`{path}` must be a mapping", help="write the options below it, indented")
        self._path = path
        self._given: dict[str, Any] = {
            self._known(name, "the name"): value for name, value in (given or {}).items()
        }
        self._asked: set[str] = set()
        self.names = list(self._given)
        self.variables: dict[str, str] = {} if variables is None else variables

    def unknown(self, known: frozenset[str]) -> list[str]:
        """Return the names that nobody has asked for."""
        return [name for name in self.names if name not in self._asked | known]

    def section(self, name: str) -> _Options:
        return _Options(self._get(name), f"{self._path}.{name}", self.variables)

    def text(self, name: str, default: str) -> str:
        """Return a text as a flow has it."""
        return self._shown(self._get(name), name, default)

    def texts(self, name: str) -> list[str]:
        return [self._shown(value, name, "") for value in self._list(name)]

    def credential(self, name: str, variable: str) -> str | None:
        """Return the variable for a secret, also for one that stands in the file itself."""
        value = self._get(name)
        if value is None or isinstance(value, Reference):
            return self._shown(value, name, "") or None
        return self._shown(Reference(variable, f"`{name}` in the file", None), name, "")

    def values(self, name: str) -> list[str]:
        """Return a list whose values must be known."""
        return [self._known(value, name) for value in self._list(name)]

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self._get(name)
        if value is None:
            return None
        if (known := self._known(value, name)) not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return known

    def bool(self, name: str, *, default: bool) -> bool:
        value = self._get(name)
        if value is None:
            return default
        known = _BOOLS.get(self._known(value, name).lower())
        if known is None:
            raise self._wrong(name, "true or false")
        return known

    def number(self, name: str, default: int) -> int:
        value = self._get(name)
        if value is None:
            return default
        known = self._known(value, name)
        if not known.isdecimal() or len(known) > 9:
            raise self._wrong(name, "a whole number")
        return int(known)

    def _get(self, name: str) -> Any:
        self._asked.add(name)
        return self._given.get(name)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def _shown(self, value: Any, name: str, default: str) -> str:
        if isinstance(value, Reference):
            self.variables[value.variable] = value.origin
            return value.text
        if value is None:
            return default
        return self._known(value, name).replace("${", "$${")

    def _known(self, value: Any, name: str) -> str:
        if isinstance(value, Reference):
            if value.value is None:
                problem = f"`{self._path}.{name}` must be known, and {value.origin} is not there"
                raise CannotImport(problem, help="give the file with --secrets, or set the variable")
            return value.value
        if isinstance(value, list | dict) or value is None:
            raise self._wrong(name, "a text")
        return _plain(value)

    def _wrong(self, name: str, expected: str) -> CannotImport:
        problem = f"`{self._path}.{name}` must be {expected}"
        return CannotImport(problem, help="Home Assistant demands it, too; look at the file")


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
