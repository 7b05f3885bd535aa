"""The layouts that points can have, by the option `layout`."""

from __future__ import annotations

from flowrunner_nodes._ha_layout import HomeAssistantEncoder
from flowrunner_nodes._line_protocol import LineEncoder
from flowrunner_nodes._point_options import PointOptions


def encoder(options: PointOptions, precision: str) -> LineEncoder | HomeAssistantEncoder:
    """Return what makes points and lines of messages as the options say."""
    if options.layout == "home_assistant":
        return HomeAssistantEncoder(options.home_assistant, precision)
    return LineEncoder(options, precision)
