"""Steps 5 to 7 of a batch: recompute the provider-days impacted and write them, whatever else writes there.

A document is written on the condition that its `write_version` is the one read before the items it was computed from.
If it is not, another process computed it meanwhile, perhaps from other items: both are read again, and all days of
that provider still to do are done again, with those done that the items changed meanwhile touch. An impacted day is
written even if its spans came out the same: the version must move, or a slower worker with older items could still
overwrite it.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from emr_plugins.host import PluginHost
from kcl_app.clock import Clock
from kcl_app.engine.dead_letters import DeadLetters, Letter
from kcl_app.engine.providers import KNOWN_ROW, Providers, ProviderState
from kcl_app.stores.base import Outcome, Put, Store, Table
from kcl_app.stores.rows import Document, Known, document_row, known_row, refuse_newer
from processors import times
from processors.decoding import Decoded
from processors.errors import Reject, Retry
from processors.impacts import Change, days_touched
from processors.keys import ProviderKey
from processors.spans import Span, encode_spans
from processors.times import Interval

ROUNDS = 25
"""How often a provider's days are computed again before the batch as a whole waits: others keep writing them."""

APART = timedelta(days=2)
"""By how many dates two zones can differ at one instant: UTC-12:00 and UTC+14:00."""

WRITES_AT_ONCE = 1000
"""Documents computed before they are written; bounds memory."""


@dataclass(slots=True)
class Work:
    """What is to be recomputed of a provider.

    Attributes:
        intervals: instants touched; None: every day.
        days: days to compute besides, document or not (the horizon job's).
        source: the record that is the cause.
        origin: the shard or the job that asks, for dead letters.
        done: days written, in the zone they were computed in.
        seen: the provider's state that they were computed from.
    """

    intervals: Iterable[Interval] | None = ()
    days: frozenset[date] = frozenset()
    source: Decoded | None = None
    origin: str = ""
    done: tuple[str, set[date]] = field(default_factory=lambda: ("", set()))
    seen: ProviderState | None = None

    def include(self, earlier: Work) -> None:
        """Take in what was to be recomputed before; days done before the items changed again count no more."""
        if self.intervals is not None:
            self.intervals = None if earlier.intervals is None else {*earlier.intervals, *self.intervals}
        self.days |= earlier.days


class Observer:
    """Told what was written, for metrics; this one does not listen."""

    def provider_day(self, plugin: str, status: str, spans: int) -> None:
        """One provider-day was written."""

    def dead_letter(self, reason: str) -> None:
        """One dead letter was sent."""

    def bisected(self) -> None:
        """A batch on which the engine failed was halved."""

    def killed(self) -> None:
        """A record was set aside because it ended processes."""


class Settler:
    """Recomputes provider-days.

    Args:
        store: the tables.
        providers: what is in memory of them.
        host: the plugins.
        dead_letters: where failures go.
        clock: the clock.
        document_bytes: size of a document's spans at most.
        observer: told what was written.
    """

    def __init__(
        self,
        store: Store,
        providers: Providers,
        host: PluginHost,
        dead_letters: DeadLetters,
        clock: Clock,
        document_bytes: int,
        observer: Observer,
    ) -> None:
        self._store = store
        self._providers = providers
        self._host = host
        self._dead_letters = dead_letters
        self._clock = clock
        self._document_bytes = document_bytes
        self._observer = observer
        self._token = uuid.uuid4().hex
        self._writes = itertools.count()

    def run(self, work: Mapping[ProviderKey, Work]) -> None:
        """Recompute and write until every day of the work is durable, fresh or stale.

        Raises:
            Retry: a store cannot be used now.
        """
        pending = dict(work)
        for _ in range(ROUNDS):
            pending = self._round(pending)
            if not pending:
                break
        else:
            raise Retry("provider-days keep changing under this worker's hands")
        self._register(work)

    def _round(self, work: Mapping[ProviderKey, Work]) -> dict[ProviderKey, Work]:
        """One pass over all providers; what is left to do again."""
        again: dict[ProviderKey, Work] = {}
        documents: list[Document] = []
        for key, one in work.items():
            documents.extend(self._compute(key, one))
            if len(documents) >= WRITES_AT_ONCE:
                self._write(documents, work, again)
                documents = []
        self._write(documents, work, again)
        return again

    def _compute(self, key: ProviderKey, work: Work) -> list[Document]:
        state = self._providers.get(key)
        zone, today, last = self._providers.window(key)
        done = work.done[1] if work.done[0] == zone else set()
        if done and work.seen is not None and work.seen is not state:
            done -= self._touched_between(key, zone, work.seen, state, done)
        work.done, work.seen = (zone, done), state
        days = [day for day in self._days(state, work, zone, today, last) if day not in done]
        plugin, version = self._host.version(key.emr)
        newest = [item.revision.time for item in work.source.items] if work.source else []
        unreadable = [state.unreadable(day.isoformat()) for day in days] if state.newer else []
        asked = [(day, state.on(day, zone)) for day in days]
        answers = self._host.spans_of_days(key, zone, asked)
        documents = []
        for place, ((day, items), answer) in enumerate(zip(asked, answers, strict=True)):
            as_of = max([*newest, *[item.revision.time for item in items]], default=None)
            try:
                if unreadable and (number := unreadable[place]):
                    raise refuse_newer(number)
                if isinstance(answer, Reject):
                    raise answer
                spans: tuple[Span, ...] = answer
                text, status, reason = encode_spans(spans, self._document_bytes), "fresh", None
            except Reject as reject:
                spans, text, status, reason = (), "[]", "stale", f"{reject.reason}: {reject.detail}"
            documents.append(Document(key, day, text, len(spans), status, reason, as_of, plugin, version))
        self._send_letters(key, work, documents, plugin)
        return documents

    def _days(self, state: ProviderState, work: Work, zone: str, today: date, last: date) -> list[date]:
        """The local dates to compute: those touched, all of them for a provider that is new."""
        history = self._providers.history_start(today)
        if state.new:
            # Others may be about to make it known: what they have written, perhaps for another today, counts too.
            written = [day for day in times.days_between(history, today) if day.isoformat() in state.versions]
            return sorted({*written, *times.days_between(today, last), *work.days})
        # Documents in another zone than the provider's now (the tenant's setting may have changed) are all wrong.
        moved = state.known is not None and state.known.zone != zone
        intervals = None if moved else work.intervals
        touched = days_touched(intervals, zone, min(history, today - 2 * APART), last + 2 * APART)
        # Another process may be changing the zone at this moment, and would take these instants for other dates.
        # It computes every day; so that its writes and these cannot pass each other by, write a day that both have.
        if any(today - 2 * APART <= day < today + APART for day in touched):
            touched.append(today + APART)
        if any(day > last for day in touched):
            touched.append(last)
        touched = [day for day in touched if history <= day <= last]
        # Past days age out: they are kept right while they have a document, and never made.
        return sorted(
            {day for day in touched if day >= today or day.isoformat() in state.versions} | work.days
        )

    def _touched_between(
        self, key: ProviderKey, zone: str, before: ProviderState, after: ProviderState, days: set[date]
    ) -> set[date]:
        """Those of some days that the difference between two states touches.

        Who changed an item meanwhile writes its days as well. But it may still know another zone, and take the
        item's time for other dates; or its dates' documents may have been written over since.
        """
        touched: set[date] = set()
        for name in {*before.copies, *after.copies}:
            old, new = before.copies.get(name), after.copies.get(name)
            if old is None or new is None or old.item.revision != new.item.revision:
                change = Change(
                    old.item if old is not None and old.live else None,
                    new.item if new is not None and new.live else None,
                )
                intervals = self._host.impact(key, lambda: zone, change)
                touched.update(days_touched(intervals, zone, min(days), max(days)))
        return touched & days

    def _send_letters(self, key: ProviderKey, work: Work, documents: Iterable[Document], plugin: str) -> None:
        """Dead letters for the days that failed: durable before the days are marked stale."""
        failed: dict[str, list[str]] = {}
        for document in documents:
            if document.reason is not None:
                failed.setdefault(document.reason, []).append(document.day.isoformat())
        letters = []
        for text, days in failed.items():
            reason, _, detail = text.partition(": ")
            record = work.source.record if work.source else None
            event = work.source.event if work.source else None
            letters.append(Letter(reason, detail, work.origin, record, event, plugin, key.pk(), tuple(days)))
            self._observer.dead_letter(reason)
        self._dead_letters.send(letters)

    def distrust(self, key: ProviderKey, letter: Letter, since: date) -> None:
        """Mark all of a provider's documents stale, without looking at its items: nobody knows what they should be.

        Args:
            key: whose.
            letter: why; it is sent first, with provider and days.
            since: the first day that matters.

        Raises:
            Retry: a store cannot be used now.
        """
        self._providers.forget(key)
        plugin, version = self._host.version(key.emr)
        reason = f"{letter.reason}: {letter.detail}"
        done: set[str] = set()
        for _ in range(ROUNDS):
            versions = self._providers.versions(key)
            days = [day for day in versions if day >= since.isoformat() and day not in done]
            if not days:
                return
            self._dead_letters.send([replace(letter, plugin=plugin, provider=key.pk(), days=tuple(days))])
            documents = [
                Document(key, date.fromisoformat(day), "[]", 0, "stale", reason, None, plugin, version)
                for day in days
            ]
            outcomes = self._store.write(self._puts(documents, versions))
            for document, outcome in zip(documents, outcomes, strict=True):
                if outcome is Outcome.APPLIED:
                    done.add(document.day.isoformat())
                    self._observer.provider_day(plugin, "stale", 0)
        raise Retry("provider-days keep changing under this worker's hands")

    def _puts(self, documents: Iterable[Document], versions: Mapping[str, str] | None = None) -> list[Put]:
        """The writes of documents in place of those that were read, with memory or as `versions`."""
        now = self._clock.now().isoformat()
        puts = []
        expiries: dict[date, int] = {}
        for document in documents:
            day = document.day
            if (expires_at := expiries.get(day)) is None:
                end = times.hull_of_dates(day, day)[1] / times.SECOND
                expires_at = self._clock.expiry_at(end + self._providers.history_days * 86_400)
                expiries[day] = expires_at
            read = self._providers.get(document.provider).versions if versions is None else versions
            row = document_row(document, self._new_version(), now, expires_at)
            puts.append(Put(Table.SPANS, row, read.get(str(row["sk"]))))
        return puts

    def _write(
        self, documents: list[Document], work: Mapping[ProviderKey, Work], again: dict[ProviderKey, Work]
    ) -> None:
        if not documents:
            return
        puts = self._puts(documents)
        for document, put, outcome in zip(documents, puts, self._store.write(puts), strict=True):
            key = document.provider
            if outcome is Outcome.APPLIED:
                work[key].done[1].add(document.day)
                self._observer.provider_day(document.plugin, document.status, document.count)
                if key not in again:
                    self._providers.get(key).versions[str(put.row["sk"])] = str(put.row["write_version"])
            else:
                again[key] = work[key]
                self._providers.forget(key)

    def _new_version(self) -> str:
        """A `write_version` that no document ever had."""
        return f"{self._token}-{next(self._writes)}"

    def _register(self, keys: Iterable[ProviderKey]) -> None:
        """Make providers known, once their documents are durable; keep their zones up to date."""
        pending = list(keys)
        for _ in range(ROUNDS):
            rows = [row for key in pending if (row := self._registration(key)) is not None]
            pending = self._write_known(rows)
            if not pending:
                return
        raise Retry("a provider keeps changing under this worker's hands")

    def _registration(self, key: ProviderKey) -> tuple[Known, str | None] | None:
        """The row that a provider needs and the version it replaces; None where it stands right."""
        state = self._providers.get(key)
        known = state.known
        zone, today, _ = self._providers.window(key)
        if known is None:
            if not state.new:
                return None  # a newer version's row is left alone
            end = self._providers.horizon_end(today)
            return Known(key, zone, today, end, self._new_version()), None
        if known.zone == zone:
            return None
        return replace(known, zone=zone, write_version=self._new_version()), known.write_version

    def _write_known(self, rows: Sequence[tuple[Known, str | None]]) -> list[ProviderKey]:
        """Write rows of providers; those to look at again."""
        now = self._clock.now().isoformat()
        puts = [Put(Table.PROVIDERS, known_row(known, now), expect) for known, expect in rows]
        again = []
        for (known, _), outcome in zip(rows, self._store.write(puts), strict=True):
            if outcome is Outcome.APPLIED:
                self._providers.get(known.provider).known = known
            else:
                again.append(known.provider)
        # Mostly another process met the same provider at the same time, and wrote the same of it.
        self._providers.read_known(again)
        for key in again:
            if self._registration(key) is not None:  # which of two zones is right, only the items tell
                self._providers.forget(key)
        return again

    def advance(self, key: ProviderKey) -> bool:
        """The horizon job's part: compute the days that entered the horizon; True if there were any.

        A day that enters is computed whether it has a document or not: workers that took another date for today may
        have left it out.

        Raises:
            Reject: a newer version of the application keeps this provider.
            Retry: a store cannot be used now.
        """
        state = self._providers.get(key)
        known = state.known
        if number := state.newer.get(KNOWN_ROW):
            raise refuse_newer(number)
        if known is None:
            return False
        zone, today, _ = self._providers.window(key)
        end = self._providers.horizon_end(today)
        start = max(today, min(known.last_day + timedelta(days=1), end + timedelta(days=1)))
        missing = {day for day in times.days_between(today, end) if day.isoformat() not in state.versions}
        entering = missing | set(times.days_between(start, end))
        if not entering and known.first_day >= today and known.zone == zone:
            return False
        intervals = None if known.zone != zone else ()
        self.run({key: Work(intervals, days=frozenset(entering), origin="advance-horizon")})
        for _ in range(ROUNDS):
            known = self._providers.get(key).known
            if known is None or (known.last_day >= end and known.first_day >= today):
                break
            row = replace(
                known,
                first_day=max(today, known.first_day),
                last_day=max(end, known.last_day),
                write_version=self._new_version(),
            )
            self._write_known([(row, known.write_version)])
        return bool(entering)
