"""The soak's verifier: silent where the engine has done right, and nothing that is wrong in a table escapes it."""

from __future__ import annotations

import copy
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kcl_app import wiring
from kcl_app.clock import Clock
from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.settling import Observer
from kcl_app.local.soak.ledger import Accepted, Ledger
from kcl_app.local.soak.load import Load
from kcl_app.local.soak.surroundings import TODAY
from kcl_app.local.soak.verifier import Expected, Findings, verify
from kcl_app.settings import load
from kcl_app.stores.base import Row, Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore

HORIZON = 5
EVENTS = 1500
SHARDS = 3


@dataclass
class Sound:
    """Tables as an engine has left them, and the ledger of what it was given."""

    store: MemoryStore
    expected: Expected

    def verify(self) -> Findings:
        """Compare as they are now."""

        def no_blob(key: str) -> bytes:
            raise AssertionError(f"nothing is that large: {key}")

        return verify(self.expected, self.store, no_blob, Clock(TODAY).today, HORIZON)

    def row(self, table: Table, wanted: Callable[[Row], bool]) -> Row:
        """The first row that is as wanted, to be changed where it stands."""
        for partition in self.store.tables[table].values():
            for row in partition.values():
                if wanted(row):
                    return row
        raise AssertionError("no row is like that")

    def remove(self, table: Table, row: Row) -> None:
        """Take a row away."""
        del self.store.tables[table][str(row["pk"])][str(row["sk"])]


def accepted(seed: int) -> list[Accepted]:
    """Some load, as a stream of several shards would take it."""
    settings = load()
    pieces = Load(seed, TODAY, settings.limits.limits(), wiring.providers_of(settings)).pieces()
    records = [record for _ in range(EVENTS) for record in next(pieces)]
    found = []
    for number, one in enumerate(records):
        shard = f"shard-{zlib.crc32(one.partition_key.encode()) % SHARDS}"
        found.append(Accepted(shard, str(1000 + number), float(number), one.partition_key, one.data))
    return found


@pytest.fixture
def sound(settled: Sound) -> Iterator[Sound]:
    """The same for every test, which may spoil its tables."""
    kept = copy.deepcopy(settled.store.tables)
    yield settled
    settled.store.tables = kept


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """A load that engines on three shards have been through, in batches of any size, some of them twice."""
    settings = load()
    given = accepted(seed=5)
    store = MemoryStore()
    rng = random.Random(7)
    for shard in sorted({one.shard for one in given}):
        engine = BatchEngine(
            store,
            MemoryBlobs(),
            wiring.plugin_host(settings),
            Clock(TODAY),
            settings.limits.limits(),
            Observer(),
            history_days=3,
            horizon_days=HORIZON,
        )
        left = [one.record() for one in given if one.shard == shard]
        while left:
            size = rng.randint(1, 200)
            for _ in range(rng.choice((1, 1, 2))):
                engine.run(left[:size], shard)
            left = left[size:]
    with Ledger(tmp_path_factory.mktemp("soak") / "sent.ndjson") as ledger:
        ledger.add(given)
        expected = Expected.of(ledger, wiring.plugin_host(settings), settings.limits.limits())
    return Sound(store, expected)


def test_nothing_differs_where_the_engine_has_done_right(sound: Sound) -> None:
    found = sound.verify()
    assert found.differences == {}
    assert found.records == len(accepted(seed=5))
    assert found.days == HORIZON * len(sound.expected.run.known) > 300
    assert found.items == len(sound.expected.run.items) > 500
    assert set(found.letters) == {"not_json", "invalid_envelope", "invalid_data", "unknown_emr"}


def _free(row: Row) -> bool:
    return row["spans"] != "[]" and str(row["sk"]) == TODAY.isoformat()


def _live(row: Row) -> bool:
    """A booked appointment under the one provider who has it."""
    if not str(row["sk"]).startswith("appointment#") or row["status"] != "booked":
        return False
    return bool(json.loads(str(row["providers"])) == [str(row["pk"]).rpartition("#")[2]])


def wrong_spans(sound: Sound) -> None:
    sound.row(Table.SPANS, _free)["spans"] = "[]"


def stale(sound: Sound) -> None:
    sound.row(Table.SPANS, _free).update(status="stale", reason="plugin_failed", spans="[]")


def no_document(sound: Sound) -> None:
    sound.remove(Table.SPANS, sound.row(Table.SPANS, _free))


def document_of_nobody(sound: Sound) -> None:
    row = sound.row(Table.SPANS, _free)
    sound.store.tables[Table.SPANS]["soak#standard#ghost"] = {
        str(row["sk"]): {**row, "pk": "soak#standard#ghost"}
    }


def provider_forgotten(sound: Sound) -> None:
    sound.remove(Table.PROVIDERS, sound.row(Table.PROVIDERS, lambda row: True))


def item_lost(sound: Sound) -> None:
    sound.remove(Table.ITEMS, sound.row(Table.ITEMS, _live))


def older_item(sound: Sound) -> None:
    row = sound.row(Table.ITEMS, _live)
    owner = sound.row(
        Table.ITEMS, lambda one: one["sk"] == "owner" and str(one["pk"]).endswith(str(row["sk"]))
    )
    row["revision"] = owner["revision"] = "0" + str(row["revision"])[1:-1] + "!"


def other_body(sound: Sound) -> None:
    row = sound.row(Table.ITEMS, _live)
    row["body"] = json.dumps({**json.loads(str(row["body"])), "status": "pending"})


def no_owner(sound: Sound) -> None:
    sound.remove(Table.ITEMS, sound.row(Table.ITEMS, lambda row: row["sk"] == "owner"))


def two_owners(sound: Sound) -> None:
    row = sound.row(Table.ITEMS, _live)
    pk = "soak#standard#p00099"
    copy = {**row, "pk": pk, "providers": '["p00099"]'}
    sound.store.tables[Table.ITEMS][pk] = {str(row["sk"]): copy}


def item_of_nowhere(sound: Sound) -> None:
    row = sound.row(Table.ITEMS, _live)
    sound.store.tables[Table.ITEMS][str(row["pk"])]["appointment#ghost"] = {**row, "sk": "appointment#ghost"}


def no_letter(sound: Sound) -> None:
    sound.remove(Table.DEAD_LETTERS, sound.row(Table.DEAD_LETTERS, lambda row: "reason" in row))


def other_reason(sound: Sound) -> None:
    sound.row(Table.DEAD_LETTERS, lambda row: row.get("reason") == "invalid_data")["reason"] = "too_large"


def other_record(sound: Sound) -> None:
    sound.row(Table.DEAD_LETTERS, lambda row: row.get("reason") == "invalid_data")["raw"] = "e30="


def letter_of_a_good_event(sound: Sound) -> None:
    row = sound.row(Table.DEAD_LETTERS, lambda row: row.get("reason") == "invalid_data")
    letter = {**row, "sk": "ghost", "sequence_number": "1", "reason": "processing_failed"}
    sound.store.tables[Table.DEAD_LETTERS][str(row["pk"])]["ghost"] = letter


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (wrong_spans, "provider-days"),
        (stale, "stale without cause"),
        (no_document, "provider-days"),
        (document_of_nobody, "provider-days"),
        (provider_forgotten, "providers"),
        (item_lost, "items"),
        (older_item, "items"),
        (other_body, "items"),
        (no_owner, "items"),
        (two_owners, "items"),
        (item_of_nowhere, "items"),
        (no_letter, "dead letters"),
        (other_reason, "dead letters"),
        (other_record, "dead letters"),
        (letter_of_a_good_event, "dead letters"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_whatever_is_wrong_is_found_and_named(
    sound: Sound, spoil: Callable[[Sound], None], kind: str
) -> None:
    spoil(sound)
    found: Any = sound.verify().differences
    assert set(found) == {kind}
    assert 1 <= len(found[kind]) <= 2
