"""The options of every sink that writes points: which point a message becomes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from flowrunner import MessageError, NodeOptions, Value, option_error
from flowrunner_nodes._ha_layout_options import HomeAssistantOptions
from flowrunner_nodes._names import check_field_name, check_tag_name
from flowrunner_nodes._scalars import FieldType


def _check_keys[V](values: dict[str, V], check: Callable[[str], None]) -> dict[str, V]:
    for name in values:
        try:
            check(name)
        except MessageError as error:
            raise option_error("FR026", f"{error}", help="take another name") from None
    return values


def _check_tags[V](tags: dict[str, V]) -> dict[str, V]:
    return _check_keys(tags, check_tag_name)


def _check_fields[V](fields: dict[str, V]) -> dict[str, V]:
    return _check_keys(fields, check_field_name)


class PointOptions(NodeOptions):
    """Which point a message becomes."""

    layout: Annotated[
        Literal["plain", "home_assistant"],
        Field(
            description="Which points: those of the options below, or those of Home Assistant's own integration.",
            examples=["home_assistant"],
        ),
    ] = "plain"
    home_assistant: Annotated[
        HomeAssistantOptions,
        Field(
            description="The options of Home Assistant's integration, for `layout: home_assistant`.",
            examples=[{"default_measurement": "state"}],
        ),
    ] = Field(default_factory=HomeAssistantOptions)
    measurement: Annotated[
        Value | None,
        Field(
            description="The measurement: a text, or a CEL expression that begins with `=`; needed for `plain`.",
            examples=["climate", "=payload.device_class"],
        ),
    ] = None
    tags: Annotated[
        dict[str, Value],
        AfterValidator(_check_tags),
        Field(
            description="The tags by name; a tag that is null or empty is left out.",
            examples=[{"sensor": "=topic", "site": "home"}],
        ),
    ] = Field(default_factory=dict)
    fields: Annotated[
        Annotated[dict[str, Value], Field(min_length=1), AfterValidator(_check_fields)] | None,
        Field(
            description="The fields by name; without it every number, bool and string of the payload is a field.",
            examples=[{"temperature": "=payload.temperature"}],
        ),
    ] = None
    types: Annotated[
        dict[str, FieldType],
        AfterValidator(_check_fields),
        Field(
            description="The type of a field, for those that must not be taken as they come; numbers are floats.",
            examples=[{"samples": "int"}],
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_one_layout(self) -> Self:
        given = self.model_fields_set
        if self.layout == "plain" and "home_assistant" in given:
            message = "`home_assistant` is only for `layout: home_assistant`"
            raise option_error("FR023", message, help="add `layout: home_assistant`, or leave it out")
        if self.layout == "plain" and self.measurement is None:
            raise option_error("FR021", "`measurement` is missing", help="name the measurement")
        wrong = [name for name in ("measurement", "tags", "fields", "types") if name in given]
        if self.layout == "home_assistant" and wrong:
            message = f"`{wrong[0]}` is not for `layout: home_assistant`, which makes its own points"
            raise option_error("FR023", message, help="see what can be said under `home_assistant:`")
        return self
