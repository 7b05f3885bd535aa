"""The machine: versions, and the limits of the operating system that flowrunner runs into."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from flowrunner.context import Finding

_DISTRIBUTION = "flowrunner-engine"
_FILES = 1024
_WATCHES = 1024
_INOTIFY = Path("/proc/sys/fs/inotify")


def check_machine(inotify: Path = _INOTIFY) -> Iterable[Finding]:
    """Return what is to be said of versions and limits."""
    yield Finding(
        "ok", "versions", f"flowrunner {version(_DISTRIBUTION)}, Python {platform.python_version()}"
    )
    yield from _packages(requires(_DISTRIBUTION) or [])
    yield _files()
    yield _watches(inotify)


def _packages(required: Iterable[str]) -> Iterable[Finding]:
    """Return the packages that are missing or of a version that does not fit."""
    wrong = False
    for text in required:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            there = "none"
        if there == "none" or not wanted.specifier.contains(there, prereleases=True):
            wrong = True
            text = f"{there} where {wanted.specifier} is needed"
            yield Finding("error", f"package {wanted.name}", text, f"install {_DISTRIBUTION} again with pip")
    if not wrong:
        yield Finding("ok", "packages", "all are there, in versions that fit")


def _files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = "without limit" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        help = f"raise it to {_FILES}: `ulimit -n`, LimitNOFILE= of systemd, or the container's ulimits"
        return Finding("warning", "open files", text, help)
    return Finding("ok", "open files", text)


def _watches(inotify: Path) -> Finding:
    if sys.platform != "linux":
        return Finding(
            "ok", "inotify", "not on this system; files are looked at every FLOWRUNNER_RELOAD_POLL"
        )
    try:
        watches = int((inotify / "max_user_watches").read_text())
        instances = int((inotify / "max_user_instances").read_text())
    except (OSError, ValueError):
        return Finding(
            "warning", "inotify", "cannot be read", "changes are found by looking, as reload_poll says"
        )
    if watches < _WATCHES or instances < 16:
        help = "raise fs.inotify.max_user_watches and max_user_instances with sysctl; until then changes are polled"
        return Finding("warning", "inotify", f"{watches} watches, {instances} instances", help)
    return Finding("ok", "inotify", f"{watches} watches, {instances} instances")
