"""The top level of a flow file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from flowrunner.options import Options, option_error

NAME = re.compile(r"[a-z][a-z0-9_]*")
NAME_HELP = "a name has lower-case letters, digits and underscores, and begins with a letter"


def _check_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise option_error("FR026", f"`{name}` cannot be a name", help=NAME_HELP)
    return name


Name = Annotated[str, AfterValidator(_check_name)]
"""The name of a flow, a node or a connection."""

Delivery = Literal["journal", "memory"]


class FlowConfig(Options):
    """A flow: nodes, the wires between them, and the connections that they use."""

    version: Annotated[Literal[1], Field(description="The version of the file format: 1.", examples=[1])]
    flow: Annotated[
        Name | None,
        Field(description="The name of the flow; by default that of the file.", examples=["climate"]),
    ] = None
    description: Annotated[
        str | None, Field(description="What the flow is for.", examples=["Room climate, a point a minute."])
    ] = None
    delivery: Annotated[
        Delivery,
        Field(
            description="Whether messages are kept on disk until they are delivered.", examples=["journal"]
        ),
    ] = "journal"
    connections: Annotated[
        dict[Name, dict[str, Any]],
        Field(
            default_factory=dict,
            description="Servers that nodes use, by name; shared by all flows loaded together.",
        ),
    ]
    nodes: Annotated[
        dict[Name, dict[str, Any]], Field(default_factory=dict, description="The nodes of the flow, by id.")
    ]
