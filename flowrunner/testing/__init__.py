"""What tests of flows and node types need: virtual time, a quiet logger, a node on its own."""

from flowrunner.testing.virtual import VirtualClock, VirtualLoop, run_virtual

__all__ = ["VirtualClock", "VirtualLoop", "run_virtual"]
