"""Dead letters, recompute and replay by their commands, after the real KCL has set things aside.

One history: a plugin fails, tables lose rows, records of every bad kind come, one of them packed by the Kinesis
Producer Library. Then what a person does about it, command by command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from command_line import event
from kpl import aggregated
from pipelines import (
    Environment,
    PipelineWorker,
    environment,
    kcl_app,
    ndjson,
    processed,
    said_by_try,
    stored,
    wait_until,
)

from kcl_app import wiring
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak import resharding
from kcl_app.settings import Settings
from kcl_app.stores.base import Row, Table
from processors.keys import ProviderKey

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

HORIZON = 10
BRITTLE = """
from datetime import date
from emr_plugins.standard import StandardPlugin

class Brittle(StandardPlugin):
    name = "brittle"

    def spans(self, day, items, context):
        if {broken} and day.day % 2:
            raise RuntimeError("an odd day")
        return super().spans(day, items, context)
"""


def install(folder: Path, version: str, *, broken: bool) -> None:
    """A version of a plugin's package, instead of the one before."""
    for old in folder.glob("brittle*"):
        for file in old.iterdir() if old.is_dir() else []:
            file.unlink()
        old.rmdir() if old.is_dir() else old.unlink()
    (folder / f"brittle_{version}.py").write_text(BRITTLE.format(broken=broken))
    info = folder / f"brittle-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: brittle\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[emr_plugins]\nbrittle = brittle_{version}:Brittle\n")


def hours(provider: str, **over: Any) -> dict[str, Any]:
    """Working hours of a provider, all days, as an event of tenant `t`."""
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    weekly = [{"days": days, "start": "09:00", "end": "12:00"}]
    data = {"id": f"wh-{provider}", "provider_id": provider, "version": 1, "weekly": weekly}
    return event("working_hours", data, id=f"e-{provider}", **over)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[Environment], PipelineWorker]]:
    """Starts a worker, and sees to it that nothing of it is left."""
    started: list[PipelineWorker] = []

    def start(env: Environment) -> PipelineWorker:
        started.append(PipelineWorker(env, tmp_path / "worker.log"))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


def rows(settings: Settings, table: Table) -> list[Row]:
    """All of a table, marks of attempts left out."""
    return [row for row in wiring.store(settings).scan(table) if not str(row["pk"]).startswith("#")]


def of_records(settings: Settings) -> dict[tuple[str, str], str]:
    """The letters about records, and their reasons."""
    return {
        (str(row["pk"]), str(row["sk"])): str(row["reason"])
        for row in rows(settings, Table.DEAD_LETTERS)
        if row["sequence_number"] is not None
    }


def blobs(settings: Settings) -> list[str]:
    """What is in the bucket."""
    answer = wiring.s3(settings).list_objects_v2(Bucket=settings.tables.dead_letter_bucket)
    return [one["Key"] for one in answer.get("Contents", [])]


def forget(settings: Settings, table: str, is_meant: Callable[[str, str], bool]) -> int:
    """Delete rows as only an accident does it."""
    client, number = wiring.dynamodb(settings), 0
    name = settings.tables.model_dump()[table]
    for row in client.scan(TableName=name)["Items"]:
        if is_meant(row["pk"]["S"], row["sk"]["S"]):
            client.delete_item(TableName=name, Key={"pk": row["pk"], "sk": row["sk"]})
            number += 1
    return number


def half_of_the_items(pk: str, sk: str) -> bool:
    """Tells by the item, so that its copies and its owner record go together."""
    item = pk.split("#", 3)[3] if sk == "owner" else sk
    return pk.startswith("demo#") and crc32(item.encode()) % 2 == 0


def test_what_was_set_aside_or_lost_is_made_good_by_the_commands(
    cloud: StartCloud, worker: Callable[[Environment], PipelineWorker], tmp_path: Path
) -> None:
    settings = cloud(shards=2, horizon={"days": HORIZON})
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    install(plugins, "1", broken=True)
    env = environment(settings, tmp_path, PYTHONPATH=str(plugins))

    # What comes: traffic, two providers of a plugin that fails, and what cannot be understood.
    traffic = tmp_path / "traffic.ndjson"
    arguments = ["--providers", "12", "--days", "8", "--events", "600", "--seed", "5", "--handovers", "0.1"]
    traffic.write_text(kcl_app("simulate", *arguments, env=env))
    kcl_app("put", str(traffic), env=env)
    large = event("x", {"text": ["x" * 200_000, "y" * 200_000]}, emr="unheard", id="large")
    strange = event("x", {"mrn": "MRN-1"}, emr="unheard", id="strange")
    others = [hours("b1", emr="brittle"), hours("b2", emr="brittle"), large]
    kcl_app("put", str(ndjson(tmp_path / "others.ndjson", others)), env=env)
    kinesis, stream = wiring.kinesis(settings), settings.stream.name
    packed = [("t#standard#k1", json.dumps(hours("k1")).encode()), ("k", b"{packed and broken"), ("k", b"")]
    direct = [
        ("k", b"\xff\x1b]0;owned\x07"),
        ("k1", json.dumps(strange).encode()),
        ("k1", aggregated(packed)),
    ]
    for key, data in direct:
        kinesis.put_record(StreamName=stream, PartitionKey=key, Data=data)

    one = worker(env)
    wait_until("through", lambda: processed([one]) >= 600 + 3 + 2 + 3, [one], 180)
    assert one.stop() == 0
    before = of_records(settings)
    about = sorted(before.values())
    assert about == ["not_json"] * 3 + ["plugin_failed"] * 2 + ["unknown_emr"] * 2
    assert len(blobs(settings)) == 1

    # A replay finds its letters there: also those of packed records, by the places that the KCL gave them.
    printed = kcl_app("replay", "--from", "1h", env=env, status=1)
    assert "608 records read, 608 run" in printed, printed
    assert of_records(settings) == before
    assert len(blobs(settings)) == 1

    # All rows of half of the items are lost, and other rows of other tables; the tenant's events are run again.
    wanted = said_by_try(traffic, env, HORIZON)
    assert forget(settings, "items", half_of_the_items) > 50
    some = sorted({pk for pk, _ in wanted})[::2]
    assert forget(settings, "spans", lambda pk, sk: pk in some) > 50
    gone = {tuple(pk.rsplit("#", 1)) for pk in some[::2]}
    assert forget(settings, "providers", lambda pk, sk: (pk, sk) in gone) == len(gone)
    printed = kcl_app("replay", "--from", "1h", "--tenant", "demo", env=env)
    assert "608 records read, 600 run" in printed, printed
    documents = stored(settings)
    found = {day: json.loads(str(documents[day]["spans"])) for day in wanted if day in documents}
    assert found == wanted
    assert {documents[day]["status"] for day in wanted} == {"fresh"}

    # The list names each and holds no record; `show` does.
    listed = [json.loads(line) for line in kcl_app("dead-letters", "list", "--json", env=env).splitlines()]
    assert {one["reason"] for one in listed} == {"not_json", "plugin_failed", "unknown_emr"}
    everything = kcl_app("dead-letters", "list", env=env) + json.dumps(listed)
    assert "MRN-1" not in everything
    assert "3 not_json" in everything
    (id_,) = [one["id"] for one in listed if one["event_id"] == "strange"]
    assert '"mrn": "MRN-1"' in kcl_app("dead-letters", "show", id_[:8], env=env)
    shown = "".join(
        kcl_app("dead-letters", "show", one["id"], env=env) for one in listed if one["reason"] == "not_json"
    )
    assert "\x1b" not in shown
    assert "not text, here in base64" in shown

    # The plugin is still broken: its letters stay, and there are no more of them.
    brittle = ["dead-letters", "redrive", "--plugin", "brittle", "--yes"]
    number = len(listed)
    kcl_app(*brittle, env=env, status=1)
    assert len(rows(settings, Table.DEAD_LETTERS)) == number
    kcl_app("recompute", "--tenant", "t", "--emr", "brittle", env=env, status=1)
    number = len(rows(settings, Table.DEAD_LETTERS))

    # Its next version is not: first one provider alone, then every day that version 1 has made.
    install(plugins, "2", broken=False)
    key = ProviderKey("t", "brittle", "b1").pk()
    assert "fresh, 0 stale" in kcl_app("recompute", "--tenant", "t", "--provider", "b1", env=env)
    versions = {
        pk: {row["plugin_version"] for (k, _), row in stored(settings).items() if k == pk} for pk in [key]
    }
    assert versions == {key: {"2"}}
    printed = kcl_app("recompute", "--plugin", "brittle", env=env)
    assert printed == f"1 provider, {HORIZON + 2} days: {HORIZON + 2} fresh, 0 stale\n"
    assert {row["status"] for row in stored(settings).values()} == {"fresh"}

    # Redriven, the letters are gone and the events are on the stream, with the sequence that they counted.
    printed = kcl_app(*brittle, env=env)
    assert " 2 events on the stream" in printed, printed
    printed = kcl_app("dead-letters", "redrive", "--all", "--yes", env=env)
    assert "5 of 5 letters redriven: 5 events on the stream" in printed, printed
    assert rows(settings, Table.DEAD_LETTERS) == []
    assert blobs(settings) == []
    reader = wiring.stream_reader(settings)
    records = [
        record for shard in reader.shards() for page in reader.read(shard.id, 0) for record in page.records
    ]
    assert len(records) == 608 + 7
    again = [record for record in records if b'"strange"' in record.data]
    first, second = sorted(again, key=lambda record: record.sequence_number)
    assert first.partition_key == second.partition_key == "k1"
    assert json.loads(second.data) == {**strange, "sequence": first.sequence()}

    # What is no event is set aside again, and can be dropped with its record in the bucket.
    kcl_app("replay", "--from", "1h", env=env)
    assert len(blobs(settings)) == 2
    printed = kcl_app("dead-letters", "drop", "--reason", "unknown_emr", "--yes", env=env)
    assert printed == "4 of 4 letters dropped\n"
    assert set(of_records(settings).values()) == {"not_json"}
    assert blobs(settings) == []


@pytest.fixture
def closing(private_settings: Callable[..., Settings], local_cloud_venv: Path) -> Iterator[Settings]:
    """A local cloud with shards that close, as Kinesis' do, and of which three reads in ten are throttled."""
    settings = private_settings(horizon={"days": HORIZON})
    throttle = settings.local.directory / "throttle"
    program = ("-P", resharding.__file__, "ministack", str(throttle))
    local = LocalCloud(settings, venv=local_cloud_venv, program=program)
    try:
        local.start(shards=2)
        throttle.write_text("0.3")
        yield settings
    finally:
        local.stop(save=False)


def test_a_replay_reads_closed_shards_before_those_made_of_them(closing: Settings, tmp_path: Path) -> None:
    """The stream was split, and two shards merged, since the events came; no worker has ever run."""
    settings = closing
    env = environment(settings, tmp_path)
    arguments = ["--providers", "12", "--days", "8", "--events", "3000", "--seed", "6", "--handovers", "0.1"]
    traffic = kcl_app("simulate", *arguments, env=env).splitlines(keepends=True)
    (tmp_path / "all.ndjson").write_text("".join(traffic))
    kinesis, stream = wiring.kinesis(settings), settings.stream.name

    def put(number: int) -> None:
        piece = tmp_path / f"{number}.ndjson"
        piece.write_text("".join(traffic[number * 1000 : (number + 1) * 1000]))
        kcl_app("put", str(piece), env=env)

    put(0)
    first, second = [one["ShardId"] for one in kinesis.list_shards(StreamName=stream)["Shards"]]
    kinesis.split_shard(StreamName=stream, ShardToSplit=first, NewStartingHashKey=str(2**126))
    put(1)
    children = [one.id for one in wiring.stream_reader(settings).shards() if one.parents == (first,)]
    kinesis.merge_shards(StreamName=stream, ShardToMerge=children[1], AdjacentShardToMerge=second)
    put(2)

    printed = kcl_app("replay", "--from", "1h", env=env)
    assert "3000 records read, 3000 run" in printed, printed
    wanted = said_by_try(tmp_path / "all.ndjson", env, HORIZON)
    found = {day: json.loads(str(row["spans"])) for day, row in stored(settings).items() if day in wanted}
    assert found == wanted
    assert rows(settings, Table.DEAD_LETTERS) == []

    # In part, and then the rest; what was done is found.
    printed = kcl_app("replay", "--from", "1h", "--shard", second, "--tenant", "demo", env=env)
    assert " replayed" in printed
    assert " applied" not in printed
    assert {row["status"] for row in stored(settings).values()} == {"fresh"}
