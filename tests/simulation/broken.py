"""Ways to break each rule: functions that change the code under test until their patch is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kcl_app.engine import batch, providers, settling, upserting
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.providers import Providers
from kcl_app.engine.settling import Settler
from kcl_app.engine.upserting import Upserter
from kcl_app.stores.base import Outcome, Put, Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.stores.rows import document_row
from kcl_app.testing import checks
from kcl_app.testing.faults import FaultyStore
from kcl_app.worker.record_processor import RecordProcessor
from processors import decoding, envelope, upserts
from processors.errors import Retry
from processors.impacts import Impacts
from processors.revisions import Revision
from processors.upserts import Verdict


def older_than_mine(patch: pytest.MonkeyPatch) -> None:
    """Items are written on the condition that what is there is older."""
    exact = MemoryStore._check

    def check(self: MemoryStore, put: Put) -> Outcome:
        stored = self.tables[put.table].get(put.key[0], {}).get(put.key[1])
        if put.table is Table.ITEMS and put.expect is not None and stored is not None:
            older = str(stored["revision"]) <= str(put.row["revision"])
            return Outcome.APPLIED if older else Outcome.CONFLICT
        return exact(self, put)

    patch.setattr(MemoryStore, "_check", check)


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


def availability_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    """A pre-calculated day is written whatever revision is stored."""
    real = upserts.judge

    def judge(new: Any, copy: Any, expires_at: Any) -> Verdict:
        verdict = real(new, copy, expires_at)
        if new.key.kind == "availability" and verdict is Verdict.SUPERSEDED:
            return Verdict.STEADY
        return verdict

    patch.setattr(upserting, "judge", judge)


def redrive_without_days(patch: pytest.MonkeyPatch) -> None:
    """A redrive puts events back and computes nothing."""
    from kcl_app.engine import redriving

    patch.setattr(redriving, "recompute", lambda *arguments: None)
    patch.setattr(redriving, "stale_days", lambda *arguments: [])


def revisions_from_kinesis(patch: pytest.MonkeyPatch) -> None:
    """A revision is the record's place in its shard."""
    real = decoding.decode

    def decode(record: Any, plugins: Any, limits: Any) -> Any:
        one = real(record, plugins, limits)
        if not isinstance(one, decoding.Decoded):
            return one
        revision = Revision(0, "", record.sequence())
        return replace(one, items=tuple(replace(item, revision=revision) for item in one.items))

    patch.setattr(batch, "decode", decode)
    patch.setattr(checks, "decode", decode)


def numbers_of_38_digits(patch: pytest.MonkeyPatch) -> None:
    """Sequence numbers are numbers, of as many digits as a DynamoDB number holds."""

    def rounded(sequence_number: str, sub_sequence_number: int) -> str:
        digits = sequence_number[:38].ljust(len(sequence_number), "0")
        return f"{digits:0>64}.{sub_sequence_number:0>10}"

    patch.setattr(envelope, "kinesis_sequence", rounded)


def numbers_without_zeros(patch: pytest.MonkeyPatch) -> None:
    """Sequence numbers are compared as the text that they come as."""
    patch.setattr(envelope, "kinesis_sequence", lambda number, sub: f"{number}.{sub}")


def no_sub_sequence(patch: pytest.MonkeyPatch) -> None:
    """Records of one aggregated record count as one."""
    patch.setattr(envelope, "kinesis_sequence", lambda number, sub: f"{number:0>64}")


def early_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """The checkpoint comes before the work."""
    process = RecordProcessor._process

    def early(self: RecordProcessor, given: Any) -> None:
        if given.records:
            last = given.records[-1]
            self._settled = (last.sequence_number, last.sub_sequence_number)
            self._checkpoint(given.checkpointer)
        process(self, given)

    patch.setattr(RecordProcessor, "_process", early)


def checkpoint_without_number(patch: pytest.MonkeyPatch) -> None:
    """A checkpoint names no sequence number."""

    def bare(self: RecordProcessor, checkpointer: Any) -> None:
        if self._settled is not None and self._settled != self._checkpointed:
            self._try_checkpoint(checkpointer.checkpoint)
            self._checkpointed = self._settled

    patch.setattr(RecordProcessor, "_checkpoint", bare)


def swallowed(patch: pytest.MonkeyPatch) -> None:
    """A batch that is given up is reported as done, and the next checkpoint passes it."""

    def run(self: RecordProcessor, given: Any) -> None:
        try:
            self._process(given)
        except Exception:
            return

    patch.setattr(RecordProcessor, "process_records", run)


def left_to_kclpy(patch: pytest.MonkeyPatch) -> None:
    """What goes wrong in a batch is raised, and kclpy swallows it."""
    patch.setattr(RecordProcessor, "process_records", RecordProcessor._process)


def outage_ends_the_batch(patch: pytest.MonkeyPatch) -> None:
    """A batch that meets an outage is left, and the next one goes on."""
    real = BatchEngine.run

    def run(self: BatchEngine, records: Any, origin: str) -> Any:
        try:
            return real(self, records, origin)
        except Retry:
            return batch.BatchResult()

    patch.setattr(BatchEngine, "run", run)


def lost_is_applied(patch: pytest.MonkeyPatch) -> None:
    """A write whose answer is lost counts as written."""
    one = FaultyStore._one

    def sure(self: FaultyStore, puts: Sequence[Put]) -> Outcome:
        outcome = one(self, puts)
        return Outcome.APPLIED if outcome is Outcome.UNKNOWN else outcome

    patch.setattr(FaultyStore, "_one", sure)


def no_letter(patch: pytest.MonkeyPatch) -> None:
    """What cannot be read is skipped."""
    patch.setattr(BatchEngine, "_set_aside", lambda self, *arguments: None)


def letter_after_checkpoint(patch: pytest.MonkeyPatch) -> None:
    """Dead letters are sent with the next batch."""
    real = BatchEngine._set_aside

    def later(self: BatchEngine, *arguments: Any) -> None:
        waiting = self.__dict__.setdefault("_later", [])
        waiting.append(arguments)
        if len(waiting) > 1:
            real(self, *waiting.pop(0))

    patch.setattr(BatchEngine, "_set_aside", later)


def stale_as_fresh(patch: pytest.MonkeyPatch) -> None:
    """A day that could not be computed is shown as one without spans."""
    real = document_row

    def row(document: Any, *arguments: Any) -> Any:
        return real(replace(document, status="fresh", reason=None), *arguments)

    patch.setattr(settling, "document_row", row)


def no_letter_for_days(patch: pytest.MonkeyPatch) -> None:
    """A day that could not be computed is marked, and no letter says why."""
    patch.setattr(Settler, "_send_letters", lambda self, *arguments: None)


def shard_ended_unsaid(patch: pytest.MonkeyPatch) -> None:
    """The end of a shard is not checkpointed."""
    patch.setattr(RecordProcessor, "shard_ended", lambda self, given: None)


def shard_ended_unsettled(patch: pytest.MonkeyPatch) -> None:
    """A batch waits for the next one, and the end of the shard does not wait for it."""
    process = RecordProcessor._process

    def later(self: RecordProcessor, given: Any) -> None:
        held = self.__dict__.setdefault("_held", [])
        held.append(given)
        if len(held) > 1:
            first = held.pop(0)
            first._checkpointer = given.checkpointer
            process(self, first)

    patch.setattr(RecordProcessor, "_process", later)


def older_overwrites(patch: pytest.MonkeyPatch) -> None:
    """What comes last is right."""
    real = upserts.judge

    def judge(new: Any, copy: Any, expires_at: Any) -> Verdict:
        verdict = real(new, copy, expires_at)
        return Verdict.STEADY if verdict is Verdict.SUPERSEDED else verdict

    patch.setattr(upserting, "judge", judge)


def former_holders_keep_it(patch: pytest.MonkeyPatch) -> None:
    """A hand-over writes the copies of the new providers alone."""
    real = upserts.judge_full

    def judge(new: Any, *arguments: Any) -> Any:
        verdict, impacts, rewrite = real(new, *arguments)
        if rewrite is not None:
            live = tuple(copy for copy in rewrite.copies if copy.live)
            rewrite = replace(rewrite, copies=live or rewrite.copies)
        return verdict, impacts, rewrite

    patch.setattr(upserting, "judge_full", judge)


def no_transaction(patch: pytest.MonkeyPatch) -> None:
    """Owner record and copies are written one after the other."""

    def transact(self: FaultyStore, puts: Sequence[Put]) -> Outcome:
        outcomes = set(self.write(puts)) - {Outcome.APPLIED}
        return outcomes.pop() if outcomes else Outcome.APPLIED

    patch.setattr(FaultyStore, "transact", transact)


def only_the_new_time(patch: pytest.MonkeyPatch) -> None:
    """A change impacts the item's new time alone."""
    real = upserts.impacts_at

    def impacts_at(provider: str, old: Any, new: Any, impact: Any) -> Impacts:
        return real(provider, old, new, lambda name, change: impact(name, replace(change, old=None)))

    patch.setattr(upserts, "impacts_at", impacts_at)
    patch.setattr(upserting, "impacts_at", impacts_at)


def killers_tried_for_ever(patch: pytest.MonkeyPatch) -> None:
    """No mark of an attempt is kept."""
    patch.setattr(BatchEngine, "run_unproven", BatchEngine.run)
