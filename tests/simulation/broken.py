"""Ways to break each rule about records, items and checkpoints: they change the code under test until undone."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from kcl_app.engine import batch, upserting
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.upserting import Upserter
from kcl_app.stores.base import Outcome, Put, Table
from kcl_app.stores.memory import MemoryStore
from kcl_app.testing import checks, simulation
from kcl_app.testing.faults import FaultyStore
from kcl_app.worker.record_processor import RecordProcessor
from processors import decoding, envelope, upserts
from processors.errors import Retry
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


def only_the_newest_of_a_batch(patch: pytest.MonkeyPatch) -> None:
    """Of a batch, the newest revision of each item is looked at, and no other."""
    real = decoding.coalesce

    def coalesce(decoded: Any) -> Any:
        groups = real(decoded)
        for group in groups:
            del group.candidates[1:]
        return groups

    patch.setattr(batch, "coalesce", coalesce)


def rejected_supersedes(patch: pytest.MonkeyPatch) -> None:
    """A change that is set aside supersedes the older ones of its batch."""
    real = Upserter._next

    def leave(self: Upserter, group: Any, done: Any, reject: Any) -> bool:
        real(self, group, done, reject)
        done.superseded.extend(group.candidates)
        group.candidates.clear()
        return True

    patch.setattr(Upserter, "_next", leave)


def too_large_in_two_writes(patch: pytest.MonkeyPatch) -> None:
    """The owner record of a new item is inserted before anybody knows whether its copy fits."""
    patch.setattr(simulation, "marks_are_size", nullcontext)


def availability_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    """A pre-calculated day is written whatever revision is stored."""
    real = upserts.judge

    def judge(new: Any, copy: Any, expires_at: Any) -> Verdict:
        verdict = real(new, copy, expires_at)
        if new.key.kind == "availability" and verdict is Verdict.SUPERSEDED:
            return Verdict.STEADY
        return verdict

    patch.setattr(upserting, "judge", judge)


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


def killers_tried_for_ever(patch: pytest.MonkeyPatch) -> None:
    """No mark of an attempt is kept."""
    patch.setattr(BatchEngine, "run_unproven", BatchEngine.run)


def taken_is_checkpointed(patch: pytest.MonkeyPatch) -> None:
    """What was taken is checkpointed; its spans are written with those of what comes next."""
    settle = BatchEngine.settle

    def late(self: BatchEngine) -> None:
        before, self._unsettled = self.__dict__.get("_late"), self._unsettled
        self.__dict__["_late"] = self._unsettled
        self._unsettled = before or batch.Unsettled()
        settle(self)

    patch.setattr(BatchEngine, "settle", late)
