"""The options of `layout: home_assistant`: those of Home Assistant's own `influxdb` integration, with its names."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flowrunner import Options


class EntitySelection(Options):
    """Some of the entities."""

    domains: Annotated[
        list[str], Field(description="All entities of these domains.", examples=[["sensor", "climate"]])
    ] = Field(default_factory=list)
    entity_globs: Annotated[
        list[str],
        Field(
            description="Entity ids with wildcards (`*`, `?`, `[…]`).", examples=[["sensor.*_temperature"]]
        ),
    ] = Field(default_factory=list)
    entities: Annotated[
        list[str], Field(description="Entity ids.", examples=[["sensor.kitchen_temperature"]])
    ] = Field(default_factory=list)


class ComponentOptions(Options):
    """What is different for some entities."""

    override_measurement: Annotated[
        str | None, Field(description="Their measurement.", examples=["heating"])
    ] = None
    ignore_attributes: Annotated[
        list[str] | None,
        Field(description="Attributes of theirs that become no field.", examples=[["icon"]]),
    ] = None


class HomeAssistantOptions(Options):
    """How states become points; each option means what it means to Home Assistant."""

    measurement_attr: Annotated[
        Literal["unit_of_measurement", "domain__device_class", "entity_id"],
        Field(description="What names the measurement.", examples=["domain__device_class"]),
    ] = "unit_of_measurement"
    default_measurement: Annotated[
        str | None,
        Field(
            description="The measurement where there is no unit; without it, the entity id.",
            examples=["state"],
        ),
    ] = None
    override_measurement: Annotated[
        str | None, Field(description="The measurement of everything.", examples=["home"])
    ] = None
    tags: Annotated[
        dict[str, str], Field(description="Tags of every point.", examples=[{"instance": "home"}])
    ] = Field(default_factory=dict)
    tags_attributes: Annotated[
        list[str],
        Field(description="Attributes that become tags and not fields.", examples=[["friendly_name"]]),
    ] = Field(default_factory=list)
    ignore_attributes: Annotated[
        list[str], Field(description="Attributes that become no field.", examples=[["icon", "options"]])
    ] = Field(default_factory=list)
    component_config: Annotated[
        dict[str, ComponentOptions],
        Field(
            description="What is different for an entity; comes before the two below.",
            examples=[{"sensor.boiler": {"override_measurement": "heating"}}],
        ),
    ] = Field(default_factory=dict)
    component_config_glob: Annotated[
        dict[str, ComponentOptions],
        Field(
            description="What is different for entity ids with wildcards; a later one comes before an earlier one.",
            examples=[{"sensor.*_power": {"override_measurement": "power"}}],
        ),
    ] = Field(default_factory=dict)
    component_config_domain: Annotated[
        dict[str, ComponentOptions],
        Field(
            description="What is different for a domain; comes last.",
            examples=[{"climate": {"ignore_attributes": ["hvac_modes"]}}],
        ),
    ] = Field(default_factory=dict)
    include: Annotated[
        EntitySelection,
        Field(description="The entities that are written.", examples=[{"domains": ["sensor"]}]),
    ] = Field(default_factory=EntitySelection)
    exclude: Annotated[
        EntitySelection,
        Field(
            description="The entities that are not written.", examples=[{"entity_globs": ["sensor.*_rssi"]}]
        ),
    ] = Field(default_factory=EntitySelection)
