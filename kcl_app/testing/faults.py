"""What goes wrong: how often, for whom, and a store in memory on which all of it does."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.testing.clocks import VirtualClock
from processors.errors import Retry

LONG_OUTAGE = 25
"""Writes refused in an outage: a child gives up after about a dozen."""

TOKEN = re.compile(r"\b[0-9a-f]{32}\b")
"""What a unique token looks like."""


class Crash(BaseException):
    """The process is gone; nothing of it catches this."""


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as probabilities.

    Attributes:
        crash: of a store call: the worker dies before it, after it, or between two of its writes.
        retry: of a store call: the store cannot be used now, before it or after some of its writes.
        lost: of a single write: its answer is lost; it was applied, was not, or is applied later.
        checkpoint: of a checkpoint: the daemon answers with an error.
        checkpoint_crash: of a checkpoint: the worker dies before or after it is stored.
        exit: of a checkpoint: the daemon answers with the one error after which the child must end.
        unsettled: of a write of documents: the worker dies just before it, so that items stand without their days.
        freeze: of a step: the process stands still while others go on.
        outage: of a write of documents: their table cannot be used for longer than a child waits.
        slip: of an item that was just written: the engine itself fails as it takes it into memory.
        steal: of a batch: another worker takes the shard, while this one goes on and does not know.
        stop: of a batch: the worker is asked to stop, and another goes on.
        jump: of a batch: the worker's clock jumps.
        jump_seconds: how far clocks are wrong, at most, either way.
        ahead: whether clocks can be ahead, too.
        jobs: runs of the horizon job beside the workers, at most.
        budget: faults of all kinds after which none comes any more, so that a run ends.
        patient: whether faults hold off where leases have begun at one checkpoint so often that a record could be taken
            for one that kills its process.
        switching: how often a pause lets another process go on.
    """

    crash: float = 0.0
    retry: float = 0.0
    lost: float = 0.0
    checkpoint: float = 0.0
    checkpoint_crash: float = 0.0
    exit: float = 0.0
    unsettled: float = 0.0
    freeze: float = 0.0
    outage: float = 0.0
    slip: float = 0.0
    steal: float = 0.0
    stop: float = 0.0
    jump: float = 0.0
    jump_seconds: float = 0.0
    ahead: bool = True
    jobs: int = 0
    budget: int = 12
    patient: bool = True
    switching: float = 0.3

    def wrong_by(self, rng: random.Random) -> float:
        """By how many seconds a clock is ahead that is wrong."""
        return rng.uniform(-self.jump_seconds, self.jump_seconds if self.ahead else 0.0)


EVERYTHING = Faults(
    crash=0.01,
    retry=0.01,
    lost=0.02,
    checkpoint=0.1,
    checkpoint_crash=0.05,
    exit=0.03,
    unsettled=0.02,
    freeze=0.005,
    steal=0.1,
    stop=0.05,
)
"""Some of everything, but clocks that are right."""


class Trace:
    """What happened, in order; made into text only when somebody asks."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def note(self, who: str, what: str, *details: object) -> None:
        """Add a line: who did what, and with which values."""
        self.lines.append((who, what, *details))

    def __str__(self) -> str:
        text = "\n".join(
            f"{number:5} {line[0]:12} {line[1]} {' '.join(str(one) for one in line[2:])}".rstrip()
            for number, line in enumerate(self.lines, start=1)
        )
        # Unique tokens are other ones in every run; numbers in the order of appearance are not.
        tokens = {
            token: f"token{number}"
            for number, token in enumerate(dict.fromkeys(TOKEN.findall(text)), start=1)
        }
        return TOKEN.sub(lambda found: tokens[found[0]], text)


class Luck:
    """Decides what goes wrong, until the budget is used up.

    Args:
        rng: decides.
        budget: how many faults there are, at most.
        holds_off: whether there is to be none now.

    Attributes:
        refusals: writes of documents that are refused before an outage is over.
    """

    def __init__(
        self, rng: random.Random, budget: int, holds_off: Callable[[], bool] = lambda: False
    ) -> None:
        self.rng = rng
        self.budget = budget
        self._holds_off = holds_off
        self.refusals = 0

    def fails(self, probability: float) -> bool:
        """Whether something goes wrong now."""
        if probability <= 0 or self.budget <= 0 or self.rng.random() >= probability:
            return False
        if self._holds_off():
            return False
        self.budget -= 1
        return True


@dataclass
class Process:
    """A worker: the daemon and its children, which end together.

    Attributes:
        name: for the trace.
        clock: which it reads.
        alive: False once any part of it died.
    """

    name: str
    clock: VirtualClock
    alive: bool = True

    def check(self) -> None:
        """Raise Crash if it is dead."""
        if not self.alive:
            raise Crash

    def die(self) -> None:
        """It is dead from now on."""
        self.alive = False
        raise Crash


@dataclass
class FaultyStore(Store):
    """A process's view of the tables.

    Single writes of a call are not atomic together, a query's pages are read at different moments, and another process
    may do anything before and after each.

    Args:
        inner: the tables, shared with other processes.
        who: whose calls these are, for the trace.
        process: what dies with a crash.
        luck: decides what goes wrong.
        faults: how often.
        pause: called between any two effects.
        stand_still: lets others have so many turns.
        late: writes whose answers were lost and that are yet to come; shared with other processes.
        trace: told what happens.
    """

    inner: MemoryStore
    who: str
    process: Process
    luck: Luck
    faults: Faults
    pause: Callable[[], None]
    stand_still: Callable[[int], None]
    late: list[list[Put]]
    trace: Trace
    crashes: bool = field(default=False, init=False)

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        """A query in two pages."""
        self._before("query", table, pk)
        first = self.inner.query(table, pk, between)
        cut = str(first[len(first) // 2]["sk"]) if first else ""
        self._step()
        second = self.inner.query(table, pk, between)
        self._after()
        rows = [row for row in first if str(row["sk"]) <= cut]
        rows += [row for row in second if str(row["sk"]) > cut]
        return [{n: v for n, v in row.items() if attributes is None or n in attributes} for row in rows]

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        """Each key read at a moment of its own."""
        self._before("get", table, len(keys))
        found: dict[Key, Row] = {}
        for key in sorted(keys):  # sets have another order in every run of Python
            found |= self.inner.get(table, [key])
            self._step()
        self._after()
        return found

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        """All rows."""
        self._before("scan", table, "")
        rows = list(self.inner.scan(table, attributes))
        self._after()
        yield from rows

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Each by itself; a crash or an outage may come between two of them."""
        if not puts:
            return []
        self._before("write", puts[0].table, len(puts))
        outcomes = []
        for put in puts:
            if self.luck.fails(self.faults.crash / 4):
                self._dies("between two writes")
            if self.luck.fails(self.faults.retry / 4):
                self.trace.note(self.who, "throttled", "after some writes")
                raise Retry("some were written")
            outcomes.append(self._one([put]))
            self._step()
        self._after()
        return outcomes

    def transact(self, puts: Sequence[Put]) -> Outcome:
        """All or none."""
        self._before("transact", puts[0].table, len(puts))
        outcome = self._one(puts)
        self._after()
        return outcome

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        """One row; the answer may be lost, whether it is deleted or not."""
        self._before("delete", table, key)
        lost = self.luck.fails(self.faults.lost)
        outcome = Outcome.UNKNOWN
        if not lost or self.luck.rng.random() < 0.5:
            outcome = self.inner.delete(table, key, expect)
        self._after()
        return Outcome.UNKNOWN if lost else outcome

    def _one(self, puts: Sequence[Put]) -> Outcome:
        if not self.luck.fails(self.faults.lost):
            outcome = self.inner.transact(puts)
            self.trace.note(
                self.who, "  put", [(p.table.setting, *p.key, p.expect) for p in puts], outcome.name
            )
            return outcome
        how = self.luck.rng.choice(["applied", "not applied", "late"])
        if how == "applied":
            self.inner.transact(puts)
        elif how == "late":
            self.late.append(list(puts))
        self.trace.note(self.who, "  answer lost", [put.key for put in puts], how)
        return Outcome.UNKNOWN

    def _before(self, call: str, table: Table, about: object) -> None:
        """What comes before a call."""
        self._step()
        if self.late and self.luck.rng.random() < 0.2:
            land(self.inner, self.late, self.luck.rng.randrange(len(self.late)), self.trace)
        self.trace.note(self.who, call, table.setting, about)
        if call == "write" and table is Table.SPANS and self.luck.fails(self.faults.unsettled):
            self._dies("before the first document")
        if call == "write" and table is Table.SPANS:
            if self.luck.fails(self.faults.outage):
                self.luck.refusals = LONG_OUTAGE
            if self.luck.refusals:
                self.luck.refusals -= 1
                raise Retry("the table cannot be used")
        self.crashes = self.luck.fails(self.faults.crash)
        if self.crashes and self.luck.rng.random() < 0.5:
            self._dies(f"before the {call}")
        if self.luck.fails(self.faults.retry):
            self.trace.note(self.who, "throttled")
            raise Retry("throttled")

    def _after(self) -> None:
        if self.crashes:
            self._dies("after the call")
        self._step()

    def _step(self) -> None:
        self.pause()
        if self.luck.fails(self.faults.freeze):
            self.trace.note(self.who, "stands still")
            self.stand_still(self.luck.rng.randint(5, 80))
            self.trace.note(self.who, "goes on")
        self.process.check()

    def _dies(self, when: str) -> None:
        self.trace.note(self.who, f"{self.process.name} dies", when)
        self.process.die()


def land(inner: MemoryStore, late: list[list[Put]], index: int, trace: Trace) -> None:
    """Apply one of the writes that are yet to come."""
    puts = late.pop(index)
    outcome = inner.transact(puts)
    trace.note("network", "a late write comes in", [put.key for put in puts], outcome.name)
