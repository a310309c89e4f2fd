"""Dead letters as stored: renewed where a worker needs them, and taken away only by who saw them last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from kcl_app.clock import Clock
from kcl_app.engine.dead_letters import DeadLetters, Letter
from kcl_app.engine.reading_letters import NoSuchLetter, Selection, drop, find, raw_record
from kcl_app.stores.base import Key, Outcome, Put, Row, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from processors.envelope import Record
from processors.errors import Fatal, Retry
from processors.keys import ProviderKey

RECORD = Record(b"\x00raw", "123", 4, "partition", 1_700_000_000.5)
KEY = ProviderKey("ac/me", "x#y", "p%1")
ABOUT_DAYS = Letter(
    "plugin_failed", "x", "shard-0", RECORD, None, "x", KEY.pk(), ("2026-03-09", "2026-03-10")
)
LARGE = Letter("too_large", "x", "shard-0", Record(b"x" * 400_000, "7"))


def send(store: MemoryStore, *letters: Letter, blobs: Any = None) -> None:
    """As a worker does it."""
    DeadLetters(store, blobs or MemoryBlobs(), Clock(date(2026, 3, 9))).send(letters)


def versions(store: MemoryStore) -> list[object]:
    """The `write_version`s of all letters."""
    return [row["write_version"] for row in store.scan(Table.DEAD_LETTERS)]


def test_a_letter_comes_back_as_it_was_sent() -> None:
    store = MemoryStore()
    send(store, ABOUT_DAYS)
    (letter,) = find(store, Selection(), 0)
    assert (letter.provider, letter.tenant, letter.emr, letter.days) == (KEY, "ac/me", "x#y", ABOUT_DAYS.days)
    assert letter.record(raw_record(store, MemoryBlobs(), letter) or b"") == Record(
        RECORD.data, "123", 4, "partition", 1_700_000_000.0
    )
    assert find(store, Selection(tenant="ac/me"), 0) == [letter]
    assert find(store, Selection(tenant="ac"), 0) == []
    assert find(store, Selection(ids=(letter.id, letter.id[:5])), 0) == [letter], (
        "once, however often it is named"
    )
    with pytest.raises(NoSuchLetter):
        find(store, Selection(ids=("",)), 0)


def test_a_letter_about_days_that_is_sent_again_cannot_be_dropped_by_who_saw_it_before() -> None:
    store = MemoryStore()
    send(store, ABOUT_DAYS)
    (letter,) = find(store, Selection(), 0)
    send(store, ABOUT_DAYS)
    assert not drop(store, MemoryBlobs(), letter)
    (again,) = find(store, Selection(), 0)
    assert (again.key, again.dead_at) == (letter.key, letter.dead_at)
    assert drop(store, MemoryBlobs(), again)


def test_a_letter_about_a_record_is_written_once_however_often_it_is_sent() -> None:
    store = MemoryStore()
    letter = Letter("not_json", "x", "shard-0", RECORD)
    send(store, letter)
    before = versions(store)
    send(store, letter, letter)
    assert versions(store) == before


def test_who_sends_a_large_letter_again_leaves_the_first_record_and_none_of_its_own() -> None:
    store, blobs = MemoryStore(), MemoryBlobs()
    send(store, LARGE, blobs=blobs)
    first = dict(blobs.blobs)
    send(store, LARGE, blobs=blobs)
    assert blobs.blobs == first
    assert next(iter(store.scan(Table.DEAD_LETTERS)))["raw_key"] in first


class NoDeleting(MemoryBlobs):
    """May not be deleted from."""

    def delete(self, key: str) -> None:
        """Refused."""
        raise Fatal("AccessDenied")


def test_a_worker_that_may_not_delete_from_the_bucket_goes_on() -> None:
    store, blobs = MemoryStore(), NoDeleting()
    send(store, LARGE, blobs=blobs)
    send(store, LARGE, blobs=blobs)
    assert len(blobs.blobs) == 2, "the second expires"
    assert next(iter(store.scan(Table.DEAD_LETTERS)))["raw_key"] in blobs.blobs


class Between(MemoryStore):
    """Something happens between a refused write and the read after it."""

    happens: Any = None

    def get(self, table: Table, keys: Any) -> dict[Key, Row]:
        """That first."""
        if self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return super().get(table, keys)


def test_a_letter_dropped_while_it_is_sent_again_is_sent_by_the_next_try_of_the_batch() -> None:
    store = Between()
    send(store, ABOUT_DAYS)
    (letter,) = find(store, Selection(), 0)
    store.happens = lambda: drop(store, MemoryBlobs(), letter)
    with pytest.raises(Retry):
        send(store, ABOUT_DAYS)
    send(store, ABOUT_DAYS)
    assert len(versions(store)) == 1


class Lossy(MemoryStore):
    """Gives no answer to writes and deletions, at first; they may have been done."""

    def __init__(self, lost: int, *, done: bool) -> None:
        super().__init__()
        self.lost, self.done = lost, done

    def _loses(self) -> bool:
        self.lost -= 1
        return self.lost >= 0

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """Lost, or as usual."""
        if not self._loses():
            return super().write(puts)
        if self.done:
            super().write(puts)
        return [Outcome.UNKNOWN] * len(puts)

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        """Lost, or as usual."""
        if not self._loses():
            return super().delete(table, key, expect)
        if self.done:
            super().delete(table, key, expect)
        return Outcome.UNKNOWN


@pytest.mark.parametrize("done", [False, True])
def test_lost_answers_leave_one_letter_with_its_record(done: bool) -> None:
    store, blobs = Lossy(2, done=done), MemoryBlobs()
    send(store, LARGE, ABOUT_DAYS, blobs=blobs)
    assert len(versions(store)) == 2
    assert len(blobs.blobs) == 1
    assert {row["raw_key"] for row in store.scan(Table.DEAD_LETTERS)} == {None, *blobs.blobs}


@pytest.mark.parametrize("done", [False, True])
def test_a_deletion_whose_answer_is_lost_is_known_in_the_end(done: bool) -> None:
    store, blobs = Lossy(0, done=done), MemoryBlobs()
    send(store, LARGE, blobs=blobs)
    (letter,) = find(store, Selection(), 0)
    store.lost = 2
    assert drop(store, blobs, letter)
    assert versions(store) == []
    assert blobs.blobs == {}


def test_a_deletion_that_is_never_answered_is_no_success() -> None:
    store = Lossy(0, done=False)
    send(store, ABOUT_DAYS)
    (letter,) = find(store, Selection(), 0)
    store.lost = 99
    with pytest.raises(Retry):
        drop(store, MemoryBlobs(), letter)


def test_days_that_a_standing_letter_names_get_no_other() -> None:
    store = MemoryStore()
    letters = DeadLetters(store, MemoryBlobs(), Clock(date(2026, 3, 9)))
    job = Letter("plugin_failed", "x", "redrive", None, None, "x", KEY.pk(), ("2026-03-10",))
    with letters.naming(KEY.pk(), ABOUT_DAYS.days):
        letters.send([job])
        assert versions(store) == []
        letters.send([Letter("plugin_failed", "x", "redrive", None, None, "x", KEY.pk(), ("2026-03-11",))])
        letters.send([Letter("plugin_failed", "x", "redrive", None, None, "x", "a#b#c", ("2026-03-10",))])
        assert len(versions(store)) == 2, "other days, another provider"
    letters.send([job])
    assert len(versions(store)) == 3
