"""The folder where the children's metrics live as files, and what prometheus-client leaves to its owner.

In multiprocess mode each child maps its values into files named after its pid, and a scrape adds all files up. A
child that ends leaves its files behind: its gauges would be reported forever, and with every lease that moves the
folder would grow. So its gauges are removed, and its counters and histograms are added to one file of the dead. Only
gauges that stay true whoever has died, of which the greatest counts, go the way of counters.
"""

from __future__ import annotations

import math
import os
import re
import struct
import threading
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

# prometheus-client leaves these without types.
_merge: Any = MultiProcessCollector.merge
_remove_gauges: Any = mark_process_dead
_ValuesFile: Any = MmapedDict

_SUMMED = ("counter", "histogram")
_GREATEST = "gauge_max"
_KINDS = (*_SUMMED, _GREATEST, "gauge_livemostrecent", "gauge_livesum")
_FILE_BYTES = 512 * 1024
"""Of a file's room, many times what a child's metrics take."""
_ENTRY_BYTES = 64
"""More than an entry takes besides its key."""
_OF_THE_DEAD = "of-the-dead"
_BY_PID = re.compile(r"^[a-z]+(?:_[a-z]+)?_(\d+)\.db$")


def reserve(folder: Path) -> None:
    """Make this process's files, with their room on the disk.

    prometheus-client makes files with holes and maps them into memory. Where the disk is full, the first write into a
    hole kills the process (SIGBUS). Only before the first metric is made.

    Args:
        folder: the one that PROMETHEUS_MULTIPROC_DIR names.

    Raises:
        OSError: there is no room.
    """
    for kind in _KINDS:
        _make(folder / f"{kind}_{os.getpid()}.db")


def _make(file: Path) -> None:
    # Whole before it has its name: a file of zeros counts as empty, and one that is being made cannot be read.
    fresh = file.with_suffix(".new")
    _allocate(fresh, _FILE_BYTES)
    os.replace(fresh, file)


def _allocate(file: Path, size: int) -> None:
    try:
        with file.open("wb") as made:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(made.fileno(), 0, size)
            else:  # macOS: written, since a hole would not do
                made.write(bytes(size))
    except OSError as error:
        file.unlink(missing_ok=True)
        raise OSError(error.errno, f"no room for metrics: {error.strerror}", str(file.parent)) from None


class MetricsDirectory(Collector):
    """The folder, as its owner sees it. One lock keeps a scrape from seeing a value twice, or not at all.

    Args:
        path: the folder, which PROMETHEUS_MULTIPROC_DIR names to the children.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """Nothing, so that registering reads no files."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The metrics of all children, the dead included, without a ``pid`` label."""
        with self._lock:
            families: Iterable[Metric] = _merge(self._files("*.db"), accumulate=True)
            return [_without_forgotten(family) for family in families]

    def gauges(self, label: str = "shard") -> dict[str, dict[str, float]]:
        """What living children say of their shards, or of whatever else has one label: by metric, by its value."""
        with self._lock:
            merged: list[Metric] = list(_merge(self._files("gauge_*.db"), accumulate=True))
        return {
            metric.name: {
                sample.labels[label]: sample.value for sample in metric.samples if label in sample.labels
            }
            for metric in map(_without_forgotten, merged)
        }

    def pids(self) -> set[int]:
        """The processes that have files here."""
        names = (_BY_PID.match(path.name) for path in self._path.glob("*.db"))
        return {int(match.group(1)) for match in names if match}

    def bury(self, pids: Collection[int]) -> None:
        """Take dead children off the books: their gauges go, their counts stay.

        Args:
            pids: processes that have ended. None of them may still write, or what it writes would be lost.
        """
        if not pids:
            return
        with self._lock:
            for kind in (*_SUMMED, _GREATEST):
                self._compact(kind, [self._path / f"{kind}_{pid}.db" for pid in sorted(pids)])
            for pid in pids:
                _remove_gauges(pid, str(self._path))

    def _compact(self, kind: str, files: Iterable[Path]) -> None:
        ended = [file for file in files if file.exists()]
        if not ended:
            return
        target = self._path / f"{kind}_{_OF_THE_DEAD}.db"
        # Their keys hold name, labels and help, and are spelled the same by every process.
        sums: dict[str, float] = {}
        for file in [*([target] if target.exists() else []), *ended]:
            for key, value in _values(file):
                known = sums.get(key, 0.0)
                sums[key] = max(known, value) if kind == _GREATEST else known + value
        # Not named *.db until it is whole, so that a failure in the middle (a full disk) changes nothing.
        fresh = target.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        _allocate(fresh, max(_FILE_BYTES, sum(len(key.encode()) + _ENTRY_BYTES for key in sums)))
        written = _ValuesFile(str(fresh))
        try:
            for key, value in sums.items():
                written.write_value(key, value, 0.0)
        finally:
            written.close()
        os.replace(fresh, target)
        for file in ended:
            file.unlink()

    def _files(self, pattern: str) -> list[str]:
        # A file that its process is just making is empty for a moment, and could not be read.
        return [str(path) for path in sorted(self._path.glob(pattern)) if path.stat().st_size > 0]


def _without_forgotten(family: Metric) -> Metric:
    """Gauges of shards that a child has given up are no numbers; see `WorkerMetrics.forget`."""
    if family.type == "gauge":
        family.samples = [sample for sample in family.samples if not math.isnan(sample.value)]
    return family


def _values(file: Path) -> list[tuple[str, float]]:
    if file.stat().st_size == 0:
        return []
    try:
        return [(key, value) for key, value, _, _ in _ValuesFile.read_all_values_from_file(str(file))]
    except (struct.error, RuntimeError, UnicodeDecodeError):
        # Cut off in the middle of its first entry: there is nothing in it yet that could be added.
        return []
