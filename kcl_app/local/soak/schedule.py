"""When which fault comes: seeded, every kind at least once, spread over the time there is."""

from __future__ import annotations

import random
from dataclasses import dataclass

from kcl_app.local.soak.faults import MODES

KILL_CHILD, KILL_JVM = "kill a child", "kill a Java process"
KILL_SUPERVISOR, KILL_WORKER = "kill a supervisor", "kill a whole worker"
STOP_WORKER = "stop a worker"
FREEZE_CHILD, FREEZE_JVM, FREEZE_WORKER = "freeze a child", "freeze a Java process", "freeze a whole worker"
SPLIT, MERGE = "split a shard", "merge two shards"
PAUSE_CLOUD, RESTART_CLOUD = "pause the cloud", "restart the cloud"

TRACKS: dict[str, tuple[str, ...]] = {
    "workers": (
        KILL_CHILD, KILL_JVM, KILL_SUPERVISOR, KILL_WORKER, STOP_WORKER, FREEZE_CHILD, FREEZE_JVM, FREEZE_WORKER,
    ),
    "cloud": (SPLIT, MERGE, PAUSE_CLOUD, RESTART_CLOUD),
    "network": MODES,
}  # fmt: skip
"""Faults of one track come one after the other, those of different tracks at the same time."""
ROUND_SECONDS = {"workers": 240.0, "cloud": 180.0, "network": 180.0}
"""About how long one round of each track's faults takes."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to come.

    Attributes:
        at: seconds after the start of the load.
        kind: which.
        seconds: how long it may take.
    """

    at: float
    kind: str
    seconds: float


def plan(seconds: float, seed: int) -> dict[str, list[Planned]]:
    """The faults of each track, for a load of so many seconds."""
    planned = {}
    for track, kinds in TRACKS.items():
        rng = random.Random(f"{track}-{seed}")
        rounds = max(1, round(seconds / ROUND_SECONDS[track]))
        slot = seconds / (rounds * len(kinds))
        found = []
        for number in range(rounds):
            for place, kind in enumerate(rng.sample(kinds, len(kinds))):
                start = (number * len(kinds) + place) * slot
                length = min(rng.uniform(7, 11), 0.6 * slot)
                found.append(Planned(start + rng.uniform(0, 0.3) * slot, kind, length))
        planned[track] = found
    return planned
