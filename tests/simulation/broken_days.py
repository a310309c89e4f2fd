"""Ways to break each rule about impacts, memory and days: they change the code under test until undone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from several_providers import FAILING

from emr_plugins.host import PluginHost
from kcl_app.engine import providers, settling, upserting
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.providers import Providers
from kcl_app.engine.settling import Settler
from kcl_app.engine.upserting import Upserter
from kcl_app.stores.base import Table
from kcl_app.stores.rows import document_row
from kcl_app.testing import checks
from processors import upserts
from processors.errors import Retry
from processors.impacts import Impacts, days_touched
from processors.times import day_intervals


def _zone_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Take the second net away: that documents made in another zone than the provider's row has are all done again."""
    days = Settler._days

    def blind(self: Settler, state: Any, work: Any, zone: str, *arguments: Any) -> Any:
        known = state.known
        if known is not None:
            state.known = replace(known, zone=zone)
        try:
            return days(self, state, work, zone, *arguments)
        finally:
            state.known = known

    patch.setattr(Settler, "_days", blind)


def impacts_as_dates(patch: pytest.MonkeyPatch) -> None:
    """Impacts are stored as the local dates of the zone known at writing, and stay these dates in any zone."""
    exact, days, touched = Upserter._impact, Settler._days, days_touched
    stored: list[bool] = []

    def impact(self: Upserter, key: Any, change: Any) -> Any:
        intervals = exact(self, key, change)
        if intervals is None:
            return None
        zone = self._providers.get(key).calendar.zone(self._host.zone(key.tenant))
        dates = touched(intervals, zone, date(2026, 1, 1), date(2026, 12, 31))
        return tuple(day_intervals("UTC", day)[0] for day in dates)

    def of_stored(self: Settler, *arguments: Any) -> Any:
        stored.append(True)
        try:
            return days(self, *arguments)
        finally:
            stored.pop()

    def as_written(intervals: Any, zone: str, first: date, last: date) -> Any:
        return touched(intervals, "UTC" if stored else zone, first, last)

    patch.setattr(Upserter, "_impact", impact)
    patch.setattr(Settler, "_days", of_stored)
    patch.setattr(settling, "days_touched", as_written)


def no_day_in_common(patch: pytest.MonkeyPatch) -> None:
    """What is touched near the edges of the window is written, and no day besides."""
    days = Settler._days

    def alone(self: Settler, state: Any, work: Any, zone: str, today: date, last: date) -> Any:
        found = days(self, state, work, zone, today, last)
        if state.new or work.intervals is None or (state.known and state.known.zone != zone):
            return found
        touched = {*days_touched(work.intervals, zone, today - timedelta(days=9), last), *work.days}
        return [day for day in found if day in touched]

    patch.setattr(Settler, "_days", alone)


def only_missing_days_enter(patch: pytest.MonkeyPatch) -> None:
    """The horizon job computes the days that have no document."""
    run = Settler.run

    def sparing(self: Settler, work: Any) -> None:
        for key, one in work.items():
            if one.origin == "advance-horizon":
                versions = self._providers.get(key).versions
                one.days = frozenset(day for day in one.days if day.isoformat() not in versions)
        run(self, work)

    patch.setattr(Settler, "run", sparing)


def failed_records_distrust_nothing(patch: pytest.MonkeyPatch) -> None:
    """A record on which the engine fails is set aside, and no day is marked."""
    patch.setattr(Settler, "distrust", lambda self, *arguments: None)


def no_impact_is_none(patch: pytest.MonkeyPatch) -> None:
    """A plugin whose `impact` fails gets no day."""
    impact = PluginHost.impact

    def nothing(self: PluginHost, key: Any, zone: Any, change: Any) -> Any:
        item = change.new or change.old
        return () if item.key.id == FAILING else impact(self, key, zone, change)

    patch.setattr(PluginHost, "impact", nothing)


def memory_is_kept(patch: pytest.MonkeyPatch) -> None:
    """What is in memory stays there, whatever a run of the engine ended with."""
    real, trim = Providers.forget_all, Providers.trim

    def trimmed(self: Providers, written: int) -> None:
        with patch.context() as other_days:
            other_days.setattr(Providers, "forget_all", real)
            trim(self, written)

    patch.setattr(Providers, "forget_all", lambda self: None)
    patch.setattr(Providers, "trim", trimmed)


def nothing_inherited(patch: pytest.MonkeyPatch) -> None:
    """Whoever replaces a revision takes its impacts for settled."""
    patch.setattr(Providers, "has_settled", lambda self, copy: True)


def replay_does_nothing(patch: pytest.MonkeyPatch) -> None:
    """A revision that is found stored is done with."""
    patch.setattr(Upserter, "_take_over", lambda self, *arguments: None)


def not_read_afresh(patch: pytest.MonkeyPatch) -> None:
    """What is in memory is believed, whatever impacts were found stored."""
    patch.setattr(Upserter, "_mark_stale", staticmethod(lambda *arguments: None))


def zones_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    """A change of zone impacts what the item itself touches."""
    _zone_not_compared(patch)
    patch.setattr(upserts, "rezones", lambda change: False)


def versions_after_items(patch: pytest.MonkeyPatch) -> None:
    """Write versions are read after the items."""
    load = Providers._load

    def late(self: Providers, key: Any) -> Any:
        state = load(self, key)
        state.versions = self.versions(key)
        return state

    patch.setattr(Providers, "_load", late)


def only_versions_again(patch: pytest.MonkeyPatch) -> None:
    """After a conflict the versions are read again, and the items believed."""
    write = Settler._write

    def again(self: Settler, documents: Any, work: Any, again: Any) -> None:
        held = {one.provider: self._providers.get(one.provider) for one in documents}
        write(self, documents, work, again)
        for key in again:
            if key in held and key not in self._providers._states:
                state = self._providers.get(key)
                state.copies, state.calendar = held[key].copies, held[key].calendar

    patch.setattr(Settler, "_write", again)


def same_spans_not_written(patch: pytest.MonkeyPatch) -> None:
    """A document whose spans came out the same is left as it is."""
    write = Settler._write

    def sparing(self: Settler, documents: Any, work: Any, again: Any) -> None:
        changed = []
        for one in documents:
            key = (one.provider.pk(), one.day.isoformat())
            row = self._store.get(Table.SPANS, [key]).get(key)
            if row is not None and (row["spans"], row["status"]) == (one.spans, one.status):
                work[one.provider].done[1].add(one.day)
            else:
                changed.append(one)
        write(self, changed, work, again)

    patch.setattr(Settler, "_write", sparing)


def nothing_past_the_horizon(patch: pytest.MonkeyPatch) -> None:
    """Workers compute the horizon and no day more."""
    patch.setattr(providers, "MARGIN", 0)
    patch.setattr(checks, "MARGIN", 0)


def redrive_without_days(patch: pytest.MonkeyPatch) -> None:
    """A redrive puts events back and computes nothing."""
    from kcl_app.engine import redriving

    patch.setattr(redriving, "recompute", lambda *arguments: None)
    patch.setattr(redriving, "stale_days", lambda *arguments: [])


def stale_as_fresh(patch: pytest.MonkeyPatch) -> None:
    """A day that could not be computed is shown as one without spans."""
    real = document_row

    def row(document: Any, *arguments: Any) -> Any:
        return real(replace(document, status="fresh", reason=None), *arguments)

    patch.setattr(settling, "document_row", row)


def no_letter_for_days(patch: pytest.MonkeyPatch) -> None:
    """A day that could not be computed is marked, and no letter says why."""
    patch.setattr(Settler, "_send_letters", lambda self, *arguments: None)


def only_the_new_time(patch: pytest.MonkeyPatch) -> None:
    """A change impacts the item's new time alone."""
    real = upserts.impacts_at

    def impacts_at(provider: str, old: Any, new: Any, impact: Any) -> Impacts:
        return real(provider, old, new, lambda name, change: impact(name, replace(change, old=None)))

    patch.setattr(upserts, "impacts_at", impacts_at)
    patch.setattr(upserting, "impacts_at", impacts_at)


def memory_is_kept_in_an_outage(patch: pytest.MonkeyPatch) -> None:
    """What is in memory stays there after an outage; after other errors it is forgotten."""
    run = BatchEngine._run

    def kept(self: BatchEngine, *arguments: Any) -> Any:
        self.providers.__dict__.pop("forget_all", None)
        try:
            return run(self, *arguments)
        except Retry:
            self.providers.__dict__["forget_all"] = lambda: None
            raise

    patch.setattr(BatchEngine, "_run", kept)


def conflicts_forget_nothing(patch: pytest.MonkeyPatch) -> None:
    """A conflict leaves memory as it is."""
    patch.setattr(Providers, "forget", lambda self, key: None)


def neither_forgets(patch: pytest.MonkeyPatch) -> None:
    """Memory stays as it is after an outage, and after a conflict: each of these makes up for the other."""
    memory_is_kept_in_an_outage(patch)
    conflicts_forget_nothing(patch)
