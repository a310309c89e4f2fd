"""What must hold: at every checkpoint, and in the end. Each check gives the faults it found, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from emr_plugins.host import PluginHost
from kcl_app.clock import Clock
from kcl_app.engine.attempts import TRIES
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.clean_pass import CleanPass
from kcl_app.engine.horizon import advance
from kcl_app.engine.providers import MARGIN
from kcl_app.engine.queries import known_providers
from kcl_app.engine.settling import Observer
from kcl_app.stores.base import Row, Store, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from kcl_app.stores.rows import copy_key, owner_key, provider_of, read_copy
from kcl_app.testing.slips import REASON as SLIPPED
from kcl_app.testing.small_rows import SmallRows
from kcl_app.testing.stream import FakeStream, Shard, position_of
from processors.calendars import Calendar
from processors.decoding import Decoded, Rejected, decode, providers_named
from processors.envelope import Limits, Record
from processors.errors import Reject
from processors.items import Item
from processors.spans import encode_spans

Today = Callable[[str], date]
"""The date in a zone."""

Place = tuple[str, str, int]
"""Where a record stood: shard, sequence number, sub-sequence number."""

KILLED = "killed_worker"
TOO_LARGE = "too_large"

Answer = dict[tuple[str, str], tuple[str, str, str]]
"""Key of a provider and date → status, reason, and spans."""


@dataclass
class History:
    """What a simulation plays.

    Attributes:
        host: the plugins.
        stream: the records, on their shards.
        accepted: one record for each different event, in the order of acceptance, as one shard without faults would
            hold them; what the clean pass is made of.
        start: the time at which it begins; aware.
        step_seconds: how much time goes by with each message.
        settled_date: whether no process can think that it is another day than it is, so that the days past the horizon
            can be compared too.
        horizon_days: days ahead, today the first.
        history_days: past days that stay.
        repair: called once all is done; what failed must be right after that and a redrive of the dead letters.
        killers: records that end every process that tries them; they are not among those accepted.
        too_large: records whose item is larger than a row may be: they supersede nothing.
        slips: whether the engine itself fails on records now and then; these are redriven.
    """

    host: PluginHost
    stream: FakeStream
    accepted: list[Record]
    start: datetime
    step_seconds: float = 1.0
    settled_date: bool = True
    horizon_days: int = 2
    history_days: int = 2
    limits: Limits = field(default_factory=Limits)
    repair: Callable[[], None] | None = None
    killers: frozenset[bytes] = frozenset()
    too_large: frozenset[bytes] = frozenset()
    slips: bool = False

    def engine(self, store: Store, clock: Clock, cached_items: int = 1000) -> BatchEngine:
        """A batch engine, as a fresh process has it."""
        return BatchEngine(
            store,
            MemoryBlobs(),
            self.host,
            clock,
            self.limits,
            Observer(),
            history_days=self.history_days,
            horizon_days=self.horizon_days,
            cached_items=cached_items,
        )

    def days_compared(self) -> int:
        """Days from today that the tables must hold."""
        return self.horizon_days + (MARGIN if self.settled_date else 0)


class Checks:
    """Holds tables to a history.

    Args:
        history: what was played.
        store: the tables.
    """

    def __init__(self, history: History, store: MemoryStore) -> None:
        self._history = history
        self._store = store
        self._decoded: dict[int, Decoded | Rejected] = {}
        self._clean: dict[tuple[object, ...], Answer] = {}

    def decoded(self, record: Record) -> Decoded | Rejected:
        """What a record says; asked once for each."""
        found = self._decoded.get(id(record))
        if found is None:
            if record.data in self._history.killers:
                found = Rejected(record, KILLED, "")
            else:
                found = decode(record, self._history.host.decode, self._history.limits)
            self._decoded[id(record)] = found
        return found

    def forget(self) -> None:
        """Plugins say something else from now on."""
        self._decoded.clear()
        self._clean.clear()

    def durable(self, shard: Shard, records: Iterable[Record]) -> list[str]:
        """Records that are lost if the shard goes on behind them: neither stored, nor superseded, nor set aside."""
        lost = []
        letters: dict[Place, str] | None = None
        suspects = self.suspects()
        for record in records:
            one = self.decoded(record)
            if _place(shard, record) in suspects:
                continue
            place = f"{shard.name} {record.sequence_number}.{record.sub_sequence_number}"
            if isinstance(one, Rejected):
                letters = self._record_letters() if letters is None else letters
                if (found := letters.get(_place(shard, record))) != one.reason:
                    lost.append(f"{place}: its dead letter says {found}, not {one.reason}")
                continue
            missing = [item.key for item in one.items if self._newest(item) < item.revision.encode()]
            if missing and record.data in self._history.too_large:
                letters = self._record_letters() if letters is None else letters
                if letters.get(_place(shard, record)) == TOO_LARGE:
                    continue
            lost += [f"{place}: {key.kind} {key.id} is not stored" for key in missing]
        return lost

    def _newest(self, item: Item) -> str:
        """The newest revision stored of an item, as text."""
        items = self._store.tables[Table.ITEMS]
        keys = {copy_key(item.key, provider) for provider in item.providers}
        pk, sk = owner_key(item.key)
        owner = items.get(pk, {}).get(sk)
        newest = ""
        if owner is not None:
            newest = str(owner["revision"])
            keys |= {copy_key(item.key, provider) for provider in json.loads(str(owner["holders"]))}
        for pk, sk in keys:
            row = items.get(pk, {}).get(sk)
            if row is not None:
                newest = max(newest, str(row["revision"]))
        return newest

    def _letters(self) -> list[Row]:
        """The dead letters; marks of attempts, which stand in the same table under ``#``, are none."""
        return [row for row in self._store.scan(Table.DEAD_LETTERS) if not str(row["pk"]).startswith("#")]

    def _record_letters(self) -> dict[Place, str]:
        return {
            (str(row["origin"]), str(row["sequence_number"]), int(row["sub_sequence_number"] or 0)): str(
                row["reason"]
            )
            for row in self._letters()
            if row["days"] is None
        }

    def recovers(self, clock: Clock) -> list[str]:
        """What is wrong if every process dies now and the shards are read again from their checkpoints."""
        if self._history.killers or self.suspects():
            return []  # which only a redrive makes good
        copy = SmallRows()
        copy.tables = {
            table: {pk: dict(rows) for pk, rows in partitions.items()}
            for table, partitions in self._store.tables.items()
        }
        engine = self._history.engine(copy, clock)
        for shard in self._history.stream.shards.values():
            if rest := shard.records[shard.start() :]:
                engine.run(rest, shard.name)
        advance(engine, known_providers(copy), lambda: None)
        return Checks(self._history, copy).wrong_days(clock.today, self._history.days_compared())

    def suspects(self) -> list[Place]:
        """Records set aside that are good: the engine failed on them, or they were taken for killers.

        The latter is allowed where so many leases began at one checkpoint before them.
        """
        said = self._record_letters().items()
        found = [place for place, reason in said if reason == SLIPPED and self._history.slips]
        letters = [place for place, reason in said if reason == KILLED]
        for shard in self._history.stream.shards.values() if letters else ():
            for record in shard.records:
                place = _place(shard, record)
                if place in letters and record.data not in self._history.killers:
                    begun = max(
                        shard.starts[at] for at in shard.starts if at is None or at < position_of(record)
                    )
                    if begun > TRIES:
                        found.append(place)
        return found

    def accounts(self) -> list[str]:
        """What is wrong with dead letters, and which shards are not done, in the end."""
        return [
            *self._wrong_letters(),
            *self._unexplained(),
            *[
                f"{shard.name} is not done: its checkpoint is {shard.checkpoint}"
                for shard in self._history.stream.shards.values()
                if not shard.done()
            ],
        ]

    def wrong_days(self, today: Today, days: int) -> list[str]:
        """Provider-days that differ from those of a clean pass, and providers that it does not know."""
        wanted = self.clean(today, days)
        wrong = []
        for (pk, day), answer in wanted.items():
            row = self._store.tables[Table.SPANS].get(pk, {}).get(day)
            stored = (str(row["status"]), str(row["reason"] or ""), str(row["spans"])) if row else None
            if stored != answer:
                wrong.append(f"{pk} {day}: stored is {stored}, a clean pass gives {answer}")
        if (known := self.known()) != (clean := {pk for pk, _ in wanted}):
            wrong.append(f"providers known are {sorted(known)}, a clean pass gives {sorted(clean)}")
        return wrong

    def unbelievable_days(self) -> list[str]:
        """Days served as fresh whose spans are not those of the items stored, while some records are set aside."""
        if not self._history.slips:
            return []  # the comparison with a clean pass says more
        wrong = []
        for row in self._store.scan(Table.PROVIDERS):
            key, host = provider_of(row), self._history.host
            copies = [
                read_copy(one, key.tenant, key.emr, key.provider)
                for one in self._store.query(Table.ITEMS, key.pk())
            ]
            calendar = Calendar(copy.item for copy in copies if copy.live)
            zone = calendar.zone(host.zone(key.tenant))
            for document in self._store.query(Table.SPANS, key.pk()):
                day = date.fromisoformat(str(document["sk"]))
                try:
                    spans = host.spans(key, zone, day, calendar.on(day, zone))
                except Reject:
                    continue  # which the comparison with a clean pass looks at
                text = encode_spans(spans, self._history.limits.document_bytes)
                if document["status"] == "fresh" and document["spans"] != text:
                    wrong.append(f"{key.pk()} {day} is fresh, and lacks what is stored: {document['spans']}")
        return wrong

    def known(self) -> set[str]:
        """The providers known, as `tenant#emr#provider`."""
        return {f"{row['pk']}#{row['sk']}" for row in self._store.scan(Table.PROVIDERS)}

    def clean(self, today: Today, days: int) -> Answer:
        """What one clean pass over the accepted events gives."""
        key = (today("Etc/GMT+12"), today("UTC"), today("Pacific/Kiritimati"), days)
        if key not in self._clean:
            history = self._history
            clean = CleanPass(history.host, history.limits)
            for record in history.accepted:
                if record.data in history.too_large:
                    one = self.decoded(record)
                    clean.known.update(providers_named(one.items) if isinstance(one, Decoded) else ())
                else:
                    clean.take(record)
            self._clean[key] = {
                (one.provider.pk(), one.day.isoformat()): (
                    ("stale", f"{one.stale.reason}: {one.stale.detail}", "[]")
                    if one.stale
                    else ("fresh", "", encode_spans(one.spans, history.limits.document_bytes))
                )
                for one in clean.days(today, days)
            }
        return self._clean[key]

    def _wrong_letters(self) -> list[str]:
        """Records that are set aside and should not be, or should be and are not, or with another reason."""
        wanted = {}
        for shard in self._history.stream.shards.values():
            for record in shard.records:
                one = self.decoded(record)
                if isinstance(one, Rejected):
                    wanted[_place(shard, record)] = one.reason
                elif record.data in self._history.too_large:
                    wanted[_place(shard, record)] = TOO_LARGE
        lost = [
            f"{shard.name}: {one}"
            for shard in self._history.stream.shards.values()
            for one in self.durable(shard, shard.records)
        ]
        found, suspects = self._record_letters(), self.suspects()
        return lost + [
            f"a dead letter that should not be: {place}: {reason}"
            for place, reason in found.items()
            if wanted.get(place) != reason and place not in suspects
        ]

    def _unexplained(self) -> list[str]:
        """Provider-days that are stale and no dead letter says why."""
        said = {
            (row["provider"], day, row["reason"])
            for row in self._letters()
            if row["days"] is not None
            for day in json.loads(str(row["days"]))
        }
        return [
            f"{row['pk']} {row['sk']} is stale without a dead letter: {row['reason']}"
            for row in self._store.scan(Table.SPANS)
            if row["status"] == "stale"
            and (row["pk"], row["sk"], str(row["reason"]).partition(":")[0]) not in said
        ]


def _place(shard: Shard, record: Record) -> Place:
    return shard.name, record.sequence_number, record.sub_sequence_number


def first_few(faults: Sequence[str]) -> str:
    """The first faults of many, a line each."""
    more = [f"and {len(faults) - 5} more"] if len(faults) > 5 else []
    return "\n".join([*faults[:5], *more])
