"""What tests of flows and node types need: virtual time, a node on its own."""

from flowrunner.testing.node import run_node
from flowrunner.testing.virtual import VirtualClock, VirtualLoop, run_virtual

__all__ = ["VirtualClock", "VirtualLoop", "run_node", "run_virtual"]
