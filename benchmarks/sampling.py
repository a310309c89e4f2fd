"""Looks at a worker while it runs: how far it is, and what its processes have used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from kcl_app.worker.processes import CHILD, JVM, observe

MB = 1024 * 1024


@dataclass(frozen=True)
class Sample:
    """One moment.

    Attributes:
        at: of `time.monotonic`.
        settled: records so far.
        child_cpu: seconds of CPU of each child, by pid.
        child_rss: bytes of resident memory of each child, by pid.
        jvm_cpu: seconds of CPU of the Java process.
        other_cpu: the same of the emulators and the supervisor, by name.
    """

    at: float
    settled: int
    child_cpu: Mapping[int, float] = field(default_factory=dict)
    child_rss: Mapping[int, int] = field(default_factory=dict)
    jvm_cpu: float = 0.0
    other_cpu: Mapping[str, float] = field(default_factory=dict)


def cpu_between(first: Sample, last: Sample) -> float:
    """Seconds of CPU that the children used between two moments."""
    return sum(last.child_cpu.values()) - sum(first.child_cpu.values())


def rate(samples: Sequence[Sample], total: int) -> float | None:
    """Records a second, from the first that was seen settled on.

    The last sample before the end counts rather than the first after it, since the work may have ended any time between
    the two; where it is not far enough on, the end itself.

    Args:
        samples: in order of time.
        total: how many records there are, those before the first sample included.
    """
    before = samples[0].settled
    begun = [one for one in samples if one.settled > before]
    if not begun:
        return None
    first, last = begun[0], begun[-1]
    done = next((place for place, one in enumerate(begun) if one.settled >= total), None)
    if done is not None:
        last = begun[done]
        if done > 0 and begun[done - 1].settled - first.settled >= 0.8 * (last.settled - first.settled):
            last = begun[done - 1]
    if last.settled == first.settled:  # all of it between two looks
        first = samples[max(0, samples.index(first) - 1)]
    seconds = last.at - first.at
    return (last.settled - first.settled) / seconds if seconds > 0 else None


class Sampler:
    """Takes samples of one worker.

    Args:
        jvm: pid of its Java process.
        others: pids of processes to look at besides, by name.
        settled: how many records its metrics say are settled.
        every: seconds between two samples.
    """

    def __init__(self, jvm: int, others: Mapping[str, int], settled: Callable[[], int], every: float) -> None:
        self._jvm, self._settled, self._every = jvm, settled, every
        self._others = {name: psutil.Process(pid) for name, pid in others.items()}
        self._lock = threading.Lock()
        self.samples: list[Sample] = []

    def take(self) -> Sample:
        """A sample of now, kept with the others."""
        settled = self._settled()
        usages = observe(self._jvm)
        other = {}
        for name, process in self._others.items():
            cpu = process.cpu_times()
            other[name] = cpu.user + cpu.system
        sample = Sample(
            time.monotonic(),
            settled,
            {one.pid: one.cpu_seconds for one in usages if one.kind == CHILD},
            {one.pid: one.memory_bytes for one in usages if one.kind == CHILD},
            next((one.cpu_seconds for one in usages if one.kind == JVM), 0.0),
            other,
        )
        with self._lock:
            self.samples.append(sample)
        return sample

    def until(self, done: Callable[[Sample], bool], seconds: float, look: Callable[[Sample], None]) -> bool:
        """Take samples until something is so; False if time runs out first.

        Args:
            done: what to wait for.
            seconds: how long.
            look: is told of each sample; may raise.
        """
        deadline = time.monotonic() + seconds
        while True:
            sample = self.take()
            look(sample)
            if done(sample):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(self._every)
