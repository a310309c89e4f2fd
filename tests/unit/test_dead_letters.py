"""What is set aside, with its reason and the raw record, once however often it is sent."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import date
from typing import Any

import pytest

from kcl_app.clock import Clock
from kcl_app.engine.dead_letters import MAX_BLOB_KEY, MAX_INLINE_BYTES, RETENTION_SECONDS, DeadLetters, Letter
from kcl_app.stores.base import Outcome, Put, Row, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from processors.envelope import Event, Record
from processors.errors import Fatal, Retry

RECORD = Record(b"\x00raw", "123", 4, "partition", 1_700_000_000.5)


def event(tenant: str = "ac/me") -> Event:
    """An envelope."""
    return Event.model_validate_json(
        '{"specversion":"1.0","id":"e1","source":"s","type":"t","time":"2026-03-01T00:00:00Z","emr":"x","tenant":"'
        + tenant
        + '"}'
    )


class Pinned(Clock):
    """Real time stands still."""

    def seconds(self) -> float:
        """Always the same."""
        return 1_000_000.0


def sender(store: MemoryStore, blobs: MemoryBlobs | None = None) -> DeadLetters:
    """What sends letters."""
    return DeadLetters(store, blobs or MemoryBlobs(), Pinned(date(2026, 3, 9)))


def stored(store: MemoryStore) -> list[Row]:
    """All letters."""
    return list(store.scan(Table.DEAD_LETTERS))


def test_a_letter_holds_all_that_a_person_needs_to_look_into_it() -> None:
    store = MemoryStore()
    sender(store).send([Letter("invalid_data", "data.start: is required", "shard-0", RECORD, event())])
    (row,) = stored(store)
    assert row["pk"] == "ac%2Fme"
    assert str(row["sk"]).startswith("shard-0#")
    expected = {
        "reason": "invalid_data",
        "detail": "data.start: is required",
        "origin": "shard-0",
        "tenant": "ac/me",
        "emr": "x",
        "event_id": "e1",
        "event_source": "s",
        "event_type": "t",
        "sequence_number": "123",
        "sub_sequence_number": 4,
        "partition_key": "partition",
        "arrived_at": 1_700_000_000,
        "raw": base64.b64encode(b"\x00raw").decode(),
        "raw_key": None,
        "provider": None,
        "days": None,
        "expires_at": 1_000_000 + RETENTION_SECONDS,
    }
    assert {name: row[name] for name in expected} == expected


def test_a_letter_of_an_unreadable_record_stands_under_no_tenant() -> None:
    store = MemoryStore()
    sender(store).send([Letter("not_json", "x", "shard-0", RECORD)])
    assert stored(store)[0]["pk"] == "-"


def test_a_letter_is_there_once_and_the_first_stays() -> None:
    store = MemoryStore()
    letters = sender(store)
    letters.send([Letter("first", "x", "shard-0", RECORD)] * 2)
    letters.send([Letter("second", "x", "shard-0", RECORD)])
    assert [row["reason"] for row in stored(store)] == ["first"]


def test_a_letter_about_days_stands_beside_that_about_the_record() -> None:
    letters = [
        Letter("a", "x", "shard-0", RECORD, event()),
        Letter("a", "x", "shard-0", RECORD, event(), "x", "ac%2Fme#x#p1", ("2026-03-09",)),
        Letter("a", "x", "shard-0", RECORD, event(), "x", "ac%2Fme#x#p1", ("2026-03-09", "2026-03-10")),
        Letter("a", "x", "shard-0", RECORD, event(), "x", "ac%2Fme#x#p2", ("2026-03-09",)),
        Letter("a", "x", "shard-1", RECORD, event()),
    ]
    store = MemoryStore()
    sender(store).send(letters)
    assert len(stored(store)) == len(letters)


def test_a_letter_of_a_job_stands_under_the_tenant_of_its_provider() -> None:
    store = MemoryStore()
    sender(store).send(
        [Letter("a", "x", "advance-horizon", None, None, "x", "ac%2Fme#x#p1", ("2026-03-09",))]
    )
    (row,) = stored(store)
    assert (row["pk"], row["raw"], row["days"]) == ("ac%2Fme", None, '["2026-03-09"]')


@pytest.mark.parametrize("over", [0, 1])
def test_raw_records_past_a_size_go_to_the_bucket(over: int) -> None:
    store, blobs = MemoryStore(), MemoryBlobs()
    data = b"x" * (MAX_INLINE_BYTES // 4 * 3 + over)
    sender(store, blobs).send([Letter("too_large", "x", "shard-0", Record(data, "1"))])
    (row,) = stored(store)
    if over:
        assert row["raw"] is None
        assert blobs.blobs == {row["raw_key"]: data}
    else:
        assert base64.b64decode(str(row["raw"])) == data
        assert blobs.blobs == {}


def test_the_name_of_a_blob_fits_into_a_bucket() -> None:
    store, blobs = MemoryStore(), MemoryBlobs()
    data = b"x" * MAX_INLINE_BYTES
    sender(store, blobs).send(
        [Letter("too_large", "x", "shard-0", Record(data, "1"), event("\U0001f600" * 128))]
    )
    assert [len(key) <= MAX_BLOB_KEY for key in blobs.blobs] == [True]
    assert stored(store)[0]["raw_key"] in blobs.blobs


class Lossy(MemoryStore):
    """Gives the outcomes that it is told to, and applies writes only where it says so."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__()
        self.outcomes = list(outcomes)
        self.calls = 0

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        """By the script; when that is over, as usual."""
        self.calls += 1
        told: Any = self.outcomes.pop(0) if self.outcomes else None
        return super().write(puts) if told is None else [told] * len(puts)


def test_a_lost_answer_is_asked_for_again_until_the_letter_is_known_to_be_there() -> None:
    store = Lossy(Outcome.UNKNOWN, Outcome.UNKNOWN)
    sender(store).send([Letter("a", "x", "shard-0", RECORD)])
    assert (store.calls, len(stored(store))) == (3, 1)


def test_letters_that_cannot_be_confirmed_hold_the_batch_back() -> None:
    with pytest.raises(Retry):
        sender(Lossy(*[Outcome.UNKNOWN] * 99)).send([Letter("a", "x", "shard-0", RECORD)])


def test_a_letter_that_no_table_takes_is_fatal() -> None:
    with pytest.raises(Fatal):
        sender(Lossy(Outcome.TOO_LARGE)).send([Letter("a", "x", "shard-0", RECORD)])


def test_no_letters_ask_nothing_of_the_store() -> None:
    store = Lossy()
    sender(store).send([])
    assert store.calls == 0
