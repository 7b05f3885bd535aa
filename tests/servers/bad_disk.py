"""A disk that fails on command, under one directory of a real process: full, broken, read-only.

What there is depends on the machine: where a file system may be mounted a real small one is filled, with a C compiler
a library between a process and the kernel fails its system calls, and a limit on file sizes works everywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Protocol

_SIZE = 24 * 2**20
_LAYER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The fault in the control file: an error number, or -1 for writes that are cut short until nothing fits. */
static int fault(int fd) {
    char link[64], path[4096], text[16] = "";
    const char *folder = getenv("BAD_DISK"), *control = getenv("BAD_DISK_CONTROL");
    int saved = errno, number = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size > 0 && folder && control) {
        path[size] = 0;
        if (!strncmp(path, folder, strlen(folder))) {
            int file = open(control, O_RDONLY | O_CLOEXEC);
            if (file >= 0) {
                if (read(file, text, sizeof text - 1) > 0) number = atoi(text);
                close(file);
            }
        }
    }
    errno = saved;
    return number;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(fd) int number = fault(fd); if (number > 0) { errno = number; return -1; }
#define CUT if (number < 0 && (size /= 2) == 0) { errno = ENOSPC; return -1; }

ssize_t write(int fd, const void *data, size_t size) { FAIL(fd) CUT return REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { FAIL(fd) CUT return REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    FAIL(fd) CUT return REAL(pwrite64)(fd, data, size, at);
}
int ftruncate(int fd, off_t size) { FAIL(fd) return REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { FAIL(fd) return REAL(ftruncate64)(fd, size); }
int fsync(int fd) { FAIL(fd) return REAL(fsync)(fd); }
int fdatasync(int fd) { FAIL(fd) return REAL(fdatasync)(fd); }
"""


class BadDisk(Protocol):
    """A directory on a disk that fails between ``fail`` and ``mend``."""

    environment: dict[str, str]
    """What a process must be started with."""

    def prepare(self, folder: Path) -> None:
        """Make the directory."""

    def fail(self, pid: int) -> None:
        """Begin the fault, for the process."""

    def mend(self, pid: int) -> None:
        """End the fault."""

    def remove(self) -> None:
        """Leave nothing behind."""


class SmallFileSystem:
    """A real file system in memory, of a few MiB, which is filled to the last byte."""

    environment: dict[str, str] = {}  # noqa: RUF012  # never changed

    def __init__(self) -> None:
        self._folder = Path()

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        _mount(folder, f"size={_SIZE}")

    def fail(self, pid: int) -> None:
        with (self._folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def mend(self, pid: int) -> None:
        (self._folder / "filler").unlink()

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self._folder], check=True)


class FailingCalls:
    """System calls of the process that fail on this directory: an error number, or -1 for short writes."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._control = Path(tempfile.mkdtemp()) / "control"
        self.environment = {"LD_PRELOAD": str(layer()), "BAD_DISK_CONTROL": str(self._control)}

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.environment["BAD_DISK"] = str(folder.resolve())

    def fail(self, pid: int) -> None:
        self._control.write_text(str(self._number))

    def mend(self, pid: int) -> None:
        self._control.unlink()

    def remove(self) -> None:
        shutil.rmtree(self._control.parent)


class FileSizeLimit:
    """No file of the process may grow: what a quota or a full disk is to a writer. Works for every user."""

    environment: dict[str, str] = {}  # noqa: RUF012  # never changed

    def prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)

    def fail(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

    def mend(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def remove(self) -> None:
        """There is nothing."""


def bad_disks() -> dict[str, BadDisk]:
    """Return the faults that this machine can make, by name."""
    found: dict[str, BadDisk] = {"file size limit": FileSizeLimit()}
    if shutil.which("cc"):
        found |= {
            "ENOSPC": FailingCalls(errno.ENOSPC),
            "EIO": FailingCalls(errno.EIO),
            "EROFS": FailingCalls(errno.EROFS),
            "short write": FailingCalls(-1),
        }
    if can_mount():
        found["full file system"] = SmallFileSystem()
    return found


@cache
def layer() -> Path:
    """Build the library that fails system calls."""
    folder = Path(tempfile.mkdtemp(prefix="bad-disk-"))
    (folder / "layer.c").write_text(_LAYER)
    library = folder / "layer.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "layer.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            _mount(Path(folder), "size=4096")
        except OSError:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def _mount(folder: Path, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(folder))
