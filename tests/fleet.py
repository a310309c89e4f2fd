"""For tests with several workers: a steady trickle of events, and who has which shard, looked at all the time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import Environment, PipelineWorker

from kcl_app import put, wiring
from kcl_app.metrics import PIPELINE_AGE
from kcl_app.ndjson import Line
from kcl_app.scrape import Samples
from kcl_app.settings import Settings
from kcl_app.stream.leases import leases

LOOK_SECONDS = 0.25
SLO_SECONDS = 60.0


class Trickle:
    """Sends events at a steady rate, in a thread of its own, and keeps what was sent.

    Args:
        settings: name the stream.
        lines: events as NDJSON, more than there is time for.
        rate: events a second.
    """

    def __init__(self, settings: Settings, lines: Sequence[bytes], rate: int) -> None:
        self._settings = settings
        self._lines = list(lines)
        self._rate = rate
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trickle", daemon=True)
        self.sent: list[bytes] = []
        self.refused: list[str] = []
        self.error: Exception | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send until the end of the block."""
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join(60)
        assert self.error is None, self.error
        assert not self.refused, self.refused[:3]

    def _run(self) -> None:
        client, limits = wiring.kinesis(self._settings), self._settings.limits.limits()
        begin = time.monotonic()
        while not self._end.wait(0.2):
            due = int((time.monotonic() - begin) * self._rate)
            new = self._lines[len(self.sent) : due]
            if not new:
                continue
            try:
                put.put_lines(
                    (Line(number, line) for number, line in enumerate(new)),
                    put.Sender(client, self._settings, self._settings.stream.name),
                    limits,
                    lambda event: (),  # every simulated event has a subject
                    lambda number, reject: self.refused.append(str(reject)),
                )
            except Exception as error:
                self.error = error
                return
            self.sent += new


@dataclass
class Takeover:
    """What a worker's end came to, in seconds from SIGTERM.

    Attributes:
        shards: that it had.
        gone: until its process had ended.
        owned: until another worker owned each of them, by shard.
        read: until that worker said that it reads it, by shard.
    """

    shards: int
    gone: float = 0.0
    owned: dict[str, float] = field(default_factory=dict)
    read: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """For a log: worst times."""
        owned, read = max(self.owned.values(), default=0.0), max(self.read.values(), default=0.0)
        return f"{self.shards} shards: process gone {self.gone:.1f} s, owned {owned:.1f} s, read {read:.1f} s"


class Fleet:
    """Workers of one application.

    Args:
        settings: all of theirs.
        env: the same, as variables.
        folder: for their logs.
        shards: open ones of the stream.
    """

    def __init__(self, settings: Settings, env: Environment, folder: Path, shards: int) -> None:
        self._settings, self._env, self._folder, self._shards = settings, env, folder, shards
        self._dynamodb = wiring.kcl_dynamodb(settings)
        self._started = 0
        self._last: dict[str, Samples] = {}
        self._base: dict[str, tuple[float, float]] = {}
        self.running: list[PipelineWorker] = []

    def start(self) -> PipelineWorker:
        """One more."""
        self._started += 1
        one = PipelineWorker(self._env, self._folder / f"worker-{self._started}.log")
        self.running.append(one)
        return one

    def owners(self) -> dict[str, str]:
        """Which worker has each shard, as the lease table says."""
        found = leases(self._dynamodb, self._settings.stream.application)
        return {lease.shard: lease.owner for lease in found if lease.owner is not None and not lease.ended}

    def reading(self) -> dict[str, str]:
        """Which log's worker says that it reads each shard."""
        found = {}
        for one in self.running:
            samples = self.sample(one)
            for labels, _ in samples.all("scheduling_read_lag_seconds"):
                found[labels["shard"]] = one.log.name
        return found

    def shares(self) -> list[int]:
        """How many shards each worker reads, as they say, the fewest first."""
        number = Counter(self.reading().values())
        return sorted(number.get(one.log.name, 0) for one in self.running)

    def sample(self, one: PipelineWorker) -> Samples:
        """A worker's metrics, kept as the last that is known of it."""
        samples = one.samples()
        if samples.all(f"{PIPELINE_AGE.name}_count"):
            self._last[one.log.name] = samples
        return samples

    def measure_from_now(self) -> None:
        """Count for `within_slo` only what is settled from here on."""
        for one in self.running:
            self.sample(one)
        self._base = {name: _ages(samples) for name, samples in self._last.items()}

    def within_slo(self) -> tuple[float, float]:
        """Events that were visible within the SLO, and all, of workers that have ended too."""
        for one in self.running:
            self.sample(one)
        inside = total = 0.0
        for name, samples in self._last.items():
            now, base = _ages(samples), self._base.get(name, (0.0, 0.0))
            inside, total = inside + now[0] - base[0], total + now[1] - base[1]
        return inside, total

    def stop(self, one: PipelineWorker, seconds: float) -> Takeover:
        """SIGTERM to a worker, and wait until others read all of its shards.

        Args:
            one: of the fleet.
            seconds: to wait, at most.
        """
        self.sample(one)
        mine = {shard for shard, log in self.reading().items() if log == one.log.name}
        before = self.owners()
        ids = {before[shard] for shard in mine if shard in before}
        found = Takeover(len(mine))
        begin = time.monotonic()
        one.process.terminate()
        self.running.remove(one)
        while time.monotonic() - begin < seconds:
            now = time.monotonic() - begin
            if one.process.poll() is None:
                self.sample(one)
            elif not found.gone:
                found.gone = now
            owners = self.owners()
            for shard in mine:
                if owners.get(shard, "") not in {*ids, ""}:
                    found.owned.setdefault(shard, now)
            for shard in mine & set(self.reading()):
                if shard in found.owned:
                    found.read.setdefault(shard, now)
            if found.gone and len(found.read) == len(mine):
                break
            time.sleep(LOOK_SECONDS)
        assert one.process.wait(30) == 0, one.output()[-3000:]
        assert len(found.read) == len(mine), f"nobody reads {sorted(mine - set(found.read))}"
        return found

    def kill(self) -> None:
        """Nothing is left of them."""
        for one in self.running:
            if one.process.poll() is None:
                one.kill()


def _ages(samples: Samples) -> tuple[float, float]:
    inside = [
        value
        for labels, value in samples.all(f"{PIPELINE_AGE.name}_bucket")
        if float(labels["le"]) == SLO_SECONDS
    ]
    return sum(inside), samples.sum(f"{PIPELINE_AGE.name}_count")
