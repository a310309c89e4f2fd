"""What the machine, or the container, leaves the worker of memory and disk."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container finds its limit: cgroup v2, v1."""


@dataclass(frozen=True)
class Room:
    """What there is.

    Attributes:
        memory_limit_bytes: what all processes may take together: the container's limit, or the machine's memory.
        disk_free_bytes: free on the disk of a folder; None where it cannot be told.
        disk_size_bytes: size of that disk.
    """

    memory_limit_bytes: int
    disk_free_bytes: int | None
    disk_size_bytes: int | None


def room(folder: Path, limits: tuple[Path, ...] = CGROUP_LIMITS) -> Room:
    """What there is now.

    Args:
        folder: on the disk in question.
        limits: files that may hold the container's limit.
    """
    memory = min([psutil.virtual_memory().total, *(limit for file in limits if (limit := _number(file)))])
    try:
        disk = shutil.disk_usage(folder)
    except OSError:
        return Room(memory, None, None)
    return Room(memory, disk.free, disk.total)


def _number(file: Path) -> int | None:
    """The number in a file; None where there is none: no file, or `max`."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
