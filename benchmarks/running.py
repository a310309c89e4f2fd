"""One load on one side, from the start of its cloud to the end of its worker."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children.naive import rows_of
from benchmarks.loads import Load, Message
from benchmarks.metering import MeteringProxy
from benchmarks.probing import Watcher
from benchmarks.sampling import Sample, Sampler
from benchmarks.sending import PacedSender, send_all
from benchmarks.surroundings import BenchWorker, Cloud, bench_settings
from benchmarks.units import Cost
from kcl_app import wiring
from kcl_app.settings import Settings

NULL, NAIVE, OURS = SIDES = ("null", "naive", "ours")
SAMPLE_SECONDS = 0.25
PACED_LOOK_SECONDS, BACKLOG_LOOK_SECONDS = 0.02, 0.25
"""Between two looks at the probes: how exact put-to-visible is."""
SETUP_SECONDS = 3600.0
LAST_PROBES_SECONDS = 10.0
BATCH = 25
"""Rows of one BatchWriteItem call."""

Tell = Callable[[str, int, int], None]
"""Told what is going on, how far, of how much (0: not known)."""


@dataclass(frozen=True)
class Options:
    """What is the same for all runs.

    Attributes:
        base: local settings.
        program: of dynoxide; None: the local cloud's own DynamoDB.
        null_store: whether stores answer at once.
        naive_seconds: how long the naive side may take for a load; the rest of it is left out.
        seconds: how long another side may.
    """

    base: Settings
    program: Path | None
    null_store: bool = False
    naive_seconds: float = 300.0
    seconds: float = 3600.0


@dataclass(frozen=True)
class Run:
    """What was seen of one load on one side.

    Attributes:
        load: what was sent.
        samples: from just before the first measured event to the end.
        total: settled records at the end, setup included, if all were.
        finished: whether they were.
        probes_sent: how many.
        seconds: from put to visible of each probe seen.
        startup_seconds: from the worker's start until all children were ready.
        cost: what DynamoDB charges for the measured events, where that was metered.
    """

    load: Load
    samples: Sequence[Sample]
    total: int
    finished: bool
    probes_sent: int
    seconds: Sequence[float]
    startup_seconds: float
    cost: Cost | None


def run_side(load: Load, side: str, options: Options, folder: Path, tell: Tell, *, metered: bool) -> Run:
    """Run a load on a side; everything that it starts has ended when this returns or raises.

    Args:
        load: what to send.
        side: null, naive or ours.
        options: the same for all.
        folder: for logs and state, made here.
        tell: is told of the progress.
        metered: whether to count what DynamoDB charges, instead of looking at the clock.

    Raises:
        UserError: something does not start or ends by itself.
    """
    with ExitStack() as ends:
        tell("starting the cloud", 0, 0)
        cloud = Cloud(options.base, folder, load.shards, options.program)
        ends.callback(cloud.stop)
        proxy = None
        settings = cloud.settings
        if metered:
            proxy = MeteringProxy(cloud.dynamodb_port)
            proxy.start()
            ends.callback(proxy.stop)
            port = int((settings.aws.endpoint_url or "").rpartition(":")[2])
            settings = bench_settings(options.base, folder, port, proxy.port)
        return _Run(load, side, options, cloud, settings, proxy, folder, tell, ends).run()


class _Run:
    """The parts of one run, in the order in which they happen."""

    def __init__(
        self,
        load: Load,
        side: str,
        options: Options,
        cloud: Cloud,
        settings: Settings,
        proxy: MeteringProxy | None,
        folder: Path,
        tell: Tell,
        ends: ExitStack,
    ) -> None:
        self._load, self._side, self._options = load, side, options
        self._cloud, self._settings, self._proxy = cloud, settings, proxy
        self._folder, self._tell, self._ends = folder, tell, ends
        self._stores = side != NULL and not options.null_store
        # The do-nothing side needs no setup, and the naive one gets its rows directly.
        self._setup = load.setup if side == OURS else ()
        self._backlog = load.pace is None and not self._setup

    def run(self) -> Run:
        """Do it."""
        load = self._load
        if self._side == NAIVE and self._stores:
            self._fill(load.setup)
        before = load.events if self._backlog else self._setup
        self._tell("filling the stream", 0, len(before))
        send_all(self._settings, before)
        worker, startup = self._start()
        sampler = Sampler(
            worker.jvm(), {**self._cloud.pids(), "supervisor": worker.pid}, worker.settled, SAMPLE_SECONDS
        )
        self._settle_setup(worker, sampler)
        watcher = self._watcher()
        sampler.samples.clear()
        first = sampler.take()
        cost = self._proxy.cost() if self._proxy else None
        total = len(self._setup) + len(load.events)
        if self._backlog:
            self._watch(watcher, load.events, time.monotonic())
            worker.open_gate()
            sender = None
        else:
            sender = PacedSender(self._settings, load.events, load.pace or 1e9, watcher)
            sender.start()
            self._ends.callback(sender.stop)
        finished = self._measure(sampler, worker, sender, total)
        spent = self._proxy.cost() - cost if self._proxy and cost else None
        if watcher is not None:
            deadline = time.monotonic() + (LAST_PROBES_SECONDS if finished else 0)
            while watcher.waiting() and time.monotonic() < deadline:
                time.sleep(SAMPLE_SECONDS)
            watcher.stop()
        assert sampler.samples[0] is first
        self._tell("stopping the worker", 0, 0)
        worker.stop()
        return Run(
            load,
            sampler.samples,
            total,
            finished,
            watcher.sent if watcher else 0,
            tuple(watcher.seconds) if watcher else (),
            startup,
            spent,
        )

    def _fill(self, setup: Sequence[Message]) -> None:
        """The naive side's rows as they would be after the setup, through the proxy, so that their size is known."""
        client = wiring.dynamodb(self._settings)
        rows = list(rows_of([one.data for one in setup], self._settings).values())
        for place, some in enumerate(_batches(rows)):
            self._tell("filling the table", place * BATCH, len(rows))
            wishes = [{"PutRequest": {"Item": row}} for row in some]
            while wishes:
                answer = client.batch_write_item(RequestItems={self._settings.tables.items: wishes})  # type: ignore[dict-item]
                wishes = answer["UnprocessedItems"].get(self._settings.tables.items, [])  # type: ignore[assignment]

    def _start(self) -> tuple[BenchWorker, float]:
        start = time.monotonic()
        module = f"benchmarks.children.{self._side}"
        worker = BenchWorker(
            module, self._settings, self._folder / "worker", null_store=self._options.null_store
        )
        self._ends.callback(worker.kill)
        worker.await_gate(
            self._load.shards,
            lambda: self._tell("starting the KCL (seconds)", int(time.monotonic() - start), 0),
        )
        return worker, time.monotonic() - start

    def _settle_setup(self, worker: BenchWorker, sampler: Sampler) -> None:
        """Whatever is to be there before the measuring."""
        if self._backlog:
            return
        worker.open_gate()
        wanted = len(self._setup)
        sampler.until(
            lambda sample: sample.settled >= wanted,
            SETUP_SECONDS,
            lambda sample: self._tell("setting up", sample.settled, wanted),
        )

    def _watcher(self) -> Watcher | None:
        """Who looks at the probes; nobody where nothing is written, or where the run is not for the clock."""
        if not self._stores or self._proxy is not None:
            return None
        every = BACKLOG_LOOK_SECONDS if self._backlog else PACED_LOOK_SECONDS
        settings = self._cloud.settings
        watcher = Watcher(wiring.dynamodb(settings), settings.tables.spans, every)
        watcher.start()
        self._ends.callback(watcher.stop)
        return watcher

    @staticmethod
    def _watch(watcher: Watcher | None, events: Iterable[Message], at: float) -> None:
        for one in events:
            if watcher is not None and one.probe is not None:
                watcher.add(one.probe, at)

    def _measure(self, sampler: Sampler, worker: BenchWorker, sender: PacedSender | None, total: int) -> bool:
        done_before = sampler.samples[0].settled

        def look(sample: Sample) -> None:
            worker.check()
            if sender is not None:
                sender.check()
            self._tell("measuring", sample.settled - done_before, total - done_before)

        options = self._options
        seconds = options.naive_seconds if self._side == NAIVE else options.seconds
        return sampler.until(lambda sample: sample.settled >= total, seconds, look)


def _batches(rows: Sequence[dict[str, dict[str, str]]]) -> Iterator[list[dict[str, dict[str, str]]]]:
    remaining = iter(rows)
    while some := list(itertools.islice(remaining, BATCH)):
        yield some
