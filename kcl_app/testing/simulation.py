"""Workers, zombies and the horizon job on one stream, with everything that can go wrong, decided by a seed.

A run is the same every time: the seed decides whose turn it is between any two effects, what fails, where batches end
and which worker takes a shard.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial

import structlog
from prometheus_client import CollectorRegistry

from kcl_app.clock import Clock
from kcl_app.engine.attempts import TRIES
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.horizon import advance
from kcl_app.engine.queries import known_providers
from kcl_app.engine.reading_letters import Selection, find
from kcl_app.engine.redriving import Redriver
from kcl_app.metrics import WorkerMetrics
from kcl_app.put import Outgoing
from kcl_app.stores.base import Put
from kcl_app.stores.memory import MemoryBlobs
from kcl_app.testing.checks import Checks, History, Place, first_few
from kcl_app.testing.clocks import VirtualClock, VirtualTime
from kcl_app.testing.faults import Crash, Faults, FaultyStore, Luck, Process, Trace, land
from kcl_app.testing.sessions import Failed, Session, World
from kcl_app.testing.slips import let_slip
from kcl_app.testing.small_rows import SmallRows, marks_are_size
from kcl_app.testing.stream import Shard
from kcl_app.testing.turns import Turns
from kcl_app.worker.record_processor import FIRST_SLICE, RecordProcessor
from processors.envelope import Record

GIVE_UP_SECONDS = 100.0
"""How long a child tries a batch again before it ends."""

MOST_SESSIONS = 60
"""Leases after which a run is taken to go on for ever."""


class SimulationError(AssertionError):
    """What must hold did not.

    Args:
        seed: of the run.
        why: what did not hold.
        trace: all that happened.
        found: whether a check found it; otherwise something raised an error.
    """

    def __init__(self, seed: int, why: str, trace: Trace, found: bool) -> None:
        super().__init__(f"seed {seed}: {why}")
        self.seed = seed
        self.why = why
        self.trace = trace
        self.found = found


@cache
def metrics() -> WorkerMetrics:
    """One for all runs of a process: nobody reads them, and making them takes longer than a run."""
    return WorkerMetrics(CollectorRegistry())


def record_processor(
    engine: BatchEngine, counted: WorkerMetrics, time: VirtualTime, first_slice: int = FIRST_SLICE
) -> RecordProcessor:
    """The real record processor, in virtual time."""
    return RecordProcessor(
        engine,
        counted,
        GIVE_UP_SECONDS,
        sleep=time.pass_,
        monotonic=lambda: time.seconds,
        now=lambda: time.seconds,
        first_slice=first_slice,
        behind_seconds=1.5,
        together_records=6,
    )


@contextmanager
def quiet_and_seeded(seed: int) -> Iterator[None]:
    """No logs, and the same random pauses every time."""
    logs, state = structlog.get_config(), random.getstate()
    structlog.configure(
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
        structlog.configure(**logs)


class Simulation:
    """One run.

    Args:
        history: what is played; a run uses it up.
        faults: how often what goes wrong.
        seed: decides everything.
        recovery: how often, as a probability by checkpoint, the tables are held to what a replay from the checkpoints
            of that moment would make of them; once in a run at most.
    """

    def __init__(self, history: History, faults: Faults, seed: int, recovery: float = 0.15) -> None:
        self._history = history
        self._faults = faults
        self._seed = seed
        self._recovery = recovery
        self._rng = random.Random(seed)
        self._turns = Turns(self._rng, faults.switching)
        self._late: list[list[Put]] = []
        self._workers: dict[str, Process] = {}
        self._begun: set[str] = set()
        self._sessions = 0
        self.store = SmallRows()
        self.trace = Trace()
        self.checks = Checks(history, self.store)
        self._world = World(
            faults,
            Luck(self._rng, faults.budget, self._holds_off),
            VirtualTime(history.start),
            history.step_seconds,
            self._turns.pause,
            self.checks,
            self._recovers,
            self.trace,
        )

    @property
    def clock(self) -> Clock:
        """The true time."""
        return VirtualClock(self._world.time)

    def run(self) -> None:
        """Play the history, and check.

        Raises:
            SimulationError: something does not hold, or raised an error.
        """
        self._attempt(self._play)

    def deliver(self) -> None:
        """Let workers process what is on the stream by now, and check only what must hold at each checkpoint.

        All is done in this thread, one shard after the other: it is where calls into plugins can be limited.

        Raises:
            SimulationError: something does not hold, or raised an error.
        """
        self._begun.clear()
        self._attempt(self._deliver)

    def _deliver(self) -> None:
        for serve in self._starting():
            serve()

    def _attempt(self, action: Callable[[], None]) -> None:
        with quiet_and_seeded(self._seed), marks_are_size():
            try:
                action()
            except (Failed, Exception) as error:
                found = isinstance(error, Failed)
                why = str(error) if found else f"{type(error).__name__}: {error}"
                raise SimulationError(self._seed, why, self.trace, found) from error

    def _play(self) -> None:
        jobs = [self._jobs] if self._faults.jobs else []
        self._turns.run([*self._starting(), *jobs])
        self._finish()
        self._must(self.checks.accounts())
        self._must(self.checks.unbelievable_days())
        suspects = self.checks.suspects()
        if not suspects:
            self._must(self.checks.wrong_days(self.clock.today, self._history.days_compared()))
        if suspects or self._history.repair is not None:
            if self._history.repair is not None:
                self._history.repair()
                self.checks.forget()
            self._redrive(suspects)
            self._must(self.checks.wrong_days(self.clock.today, self._history.days_compared()))

    def _holds_off(self) -> bool:
        shards = self._history.stream.shards.values()
        return self._faults.patient and any(shard.starts[shard.checkpoint] >= TRIES for shard in shards)

    def _starting(self) -> list[Callable[[], None]]:
        ready = self._history.stream.ready(self._begun)
        self._begun.update(shard.name for shard in ready)
        return [partial(self._serve, shard) for shard in ready]

    def _serve(self, shard: Shard) -> None:
        """One worker after the other takes the shard, until it is done or somebody has stolen it."""
        while not shard.done():
            self._sessions += 1
            if self._sessions > MOST_SESSIONS:
                raise Failed("the shards are never done")
            token, process = shard.take(), self._worker()
            session = Session(
                self._world, shard, process, lambda: self._turns.spawn(partial(self._serve, shard))
            )
            session.hold(self._processor(session.who, process))
            if shard.token != token:
                return
        for start in self._starting():
            self._turns.spawn(start)

    def _worker(self) -> Process:
        name = self._rng.choice("ab")
        worker = self._workers.get(name)
        if worker is None or not worker.alive:
            worker = self._workers[name] = self._process(name)
        return worker

    def _process(self, name: str) -> Process:
        wrong = self._faults.jump_seconds and self._rng.random() < 0.5
        wrong_by = self._faults.wrong_by(self._rng) if wrong else 0.0
        return Process(name, VirtualClock(self._world.time, wrong_by))

    def _engine(self, who: str, process: Process) -> BatchEngine:
        world = self._world
        store = FaultyStore(
            self.store,
            who,
            process,
            world.luck,
            self._faults,
            world.pause,
            self._turns.stand_still,
            self._late,
            self.trace,
        )
        engine = self._history.engine(store, process.clock, self._rng.choice([4, 12, 1000]))
        if self._faults.slip:
            let_slip(engine.providers, lambda: self._slips(who))
        return engine

    def _slips(self, who: str) -> bool:
        slips = self._world.luck.fails(self._faults.slip)
        if slips:
            self.trace.note(who, "the engine fails on an item that is written")
        return slips

    def _processor(self, who: str, process: Process) -> RecordProcessor:
        # Processes here are short. With one record at first they would seldom come to batches, which is where most can
        # go wrong; a record that ends its process, though, is found only where it is alone.
        first_slice = FIRST_SLICE if self._history.killers else 128
        return record_processor(self._engine(who, process), metrics(), self._world.time, first_slice)

    def _jobs(self) -> None:
        """The horizon job, some times."""
        for number in range(self._rng.randint(0, self._faults.jobs)):
            self._turns.stand_still(self._rng.randint(20, 200))  # until workers have done something
            process = self._process("job")
            try:
                engine = self._engine(f"job/{number}", process)
                advance(engine, known_providers(self.store), self._world.pause)
            except Crash:
                continue

    def _finish(self) -> None:
        """The date may have moved on, so the horizon job runs once more; what is late comes in at last."""
        self.trace.note("end", "calm")
        if not self._history.settled_date:
            advance(self._history.engine(self.store, self.clock), known_providers(self.store), lambda: None)
        while self._late:
            land(self.store, self._late, 0, self.trace)

    def _redrive(self, suspects: Sequence[Place]) -> None:
        """Redrive the dead letters of days that failed, and of records taken for killers that are none."""
        self.trace.note("end", "dead letters are redriven")
        engine = self._history.engine(self.store, self.clock)
        back: list[Record] = []

        def send(records: Sequence[Outgoing]) -> None:
            back.extend(Record(one.data, str(number), 0, "") for number, one in enumerate(records, start=1))

        letters = [
            letter
            for letter in find(self.store, Selection(), self.clock.seconds())
            if letter.days or letter.place() in suspects
        ]
        blobs, limit = MemoryBlobs(), self._history.limits.record_bytes
        Redriver(engine, self.store, blobs, send, limit, self._world.time.pass_).run(letters)
        if back:
            self._history.engine(self.store, self.clock).run(back, "redrive")

    def _recovers(self) -> list[str]:
        if self._rng.random() >= self._recovery:
            return []
        self._recovery = 0.0
        self.trace.note("check", "if all died now")
        return self.checks.recovers(self.clock)

    @staticmethod
    def _must(faults: list[str]) -> None:
        if faults:
            raise Failed(first_few(faults))
