"""Logging: structlog events as JSON or for a terminal, written by a thread so that a blocked stdout blocks nobody.

One cause is logged at most once a second: repeats are counted, and the count goes out at the end of the second.
"""

from flowrunner.log.configure import configure

__all__ = ["configure"]
