"""Holds all children back until the measuring begins, so that none of their start is in it.

A child that waits here has not answered the daemon yet, and the daemon reads no record of its shard before it has.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

GATE = "BENCH_GATE"
"""Names the folder in which children say that they are there, and in which the gate opens."""
OPEN = "open"
LOOK_SECONDS = 0.01


def wait() -> None:
    """Say that this child is ready, and wait until the gate is open."""
    folder = Path(os.environ[GATE])
    (folder / f"ready-{os.getpid()}").touch()
    while not (folder / OPEN).exists():
        time.sleep(LOOK_SECONDS)


def ready(folder: Path) -> int:
    """How many children have come to the gate."""
    return sum(1 for _ in folder.glob("ready-*"))


def open_gate(folder: Path) -> None:
    """Let them go on."""
    (folder / OPEN).touch()
