"""The smaller parts of the soak: load, ledger, sender, schedule, the watch over checkpoints, the report."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.local.soak import schedule
from kcl_app.local.soak.chaos import Chaos, Strike
from kcl_app.local.soak.faults import MODES
from kcl_app.local.soak.leases import LeaseWatch
from kcl_app.local.soak.ledger import Accepted, Ledger
from kcl_app.local.soak.load import Load
from kcl_app.local.soak.report import Report, complaints, table
from kcl_app.local.soak.schedule import Planned
from kcl_app.local.soak.sender import SteadySender
from kcl_app.local.soak.surroundings import TODAY
from kcl_app.put import Outgoing
from kcl_app.settings import load
from kcl_app.stores.memory import MemoryStore
from kcl_app.stream.leases import END, START, checkpoint_of
from processors.decoding import Decoded, Rejected, decode
from processors.envelope import read_event
from processors.errors import Reject

SETTINGS = load()
LIMITS = SETTINGS.limits.limits()


def records(seed: int, events: int) -> list[list[Outgoing]]:
    pieces = Load(seed, TODAY, LIMITS, wiring.providers_of(SETTINGS)).pieces()
    return [next(pieces) for _ in range(events)]


def without_sequence(piece: list[Outgoing]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for one in piece:
        try:
            event = json.loads(one.data)
            event.pop("sequence", None)
            found.append((one.partition_key, event))
        except ValueError:
            found.append((one.partition_key, one.data))
    return found


def test_the_load_is_the_same_for_the_same_seed() -> None:
    one, same, other = records(4, 500), records(4, 500), records(5, 500)
    assert [without_sequence(piece) for piece in one] == [without_sequence(piece) for piece in same]
    assert [without_sequence(piece) for piece in one] != [without_sequence(piece) for piece in other]


def test_the_load_has_all_that_a_soak_wants() -> None:
    kinds: Counter[str] = Counter()
    seen: set[str] = set()
    for piece in records(1, 6000):
        kinds["of several providers"] += len(piece) > 1
        for record in piece:
            try:
                event = read_event(record.data, LIMITS)
            except Reject as reject:
                kinds[reject.reason] += 1
                continue
            kinds[event.type] += 1
            kinds["duplicate"] += event.id in seen
            seen.add(event.id)
            assert event.sequence is not None
            data = event.data
            kinds["names nobody"] += event.emr == "standard" and not {"provider_id", "date"} & data.keys()
            kinds["zone change"] += str(data.get("id", "")).startswith("a-zone-")
            kinds["unknown emr"] += event.emr == "no_such_emr"
    for kind in (
        "appointment", "time_off", "working_hours", "date_override", "slot", "availability", "fhir.resource.updated",
        "of several providers", "duplicate", "names nobody", "zone change", "unknown emr", "not_json",
        "invalid_envelope",
    ):  # fmt: skip
        assert kinds[kind] > 0, kind


def accepted(shard: str, number: int, data: bytes = b"{}", at: float = 1.5) -> Accepted:
    return Accepted(shard, f"{number:030d}", at, "key", data)


def test_the_ledger_keeps_bytes_places_and_order(tmp_path: Path) -> None:
    with Ledger(tmp_path / "sent.ndjson") as ledger:
        ledger.add([accepted("a", 5, b"\xff\x00"), accepted("b", 6)])
        ledger.add([accepted("a", 9), accepted("a", 7, b"seven")])
        assert [place.number for place in ledger.after("a", 5)] == [7, 9]
        assert [place.number for place in ledger.between("a", START, 7)] == [5, 7]
        assert ledger.read(ledger.between("a", 5, 7)[0]) == accepted("a", 7, b"seven")
        assert ledger.after("c", 0) == []
        assert ledger.records == 4
        assert [int(one.sequence_number) for one in ledger.all()] == [5, 6, 9, 7], (
            "in the order of acceptance"
        )
        assert next(ledger.all()).data == b"\xff\x00"


class Stream:
    """PutRecords that fails in every way in turn."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.calls = 0

    def put_records(self, **request: Any) -> Any:
        from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

        self.calls += 1
        if self.calls % 5 == 2:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        given = [one["Data"] for one in request["Records"]]
        refused = 1 if self.calls % 5 == 3 and len(given) > 1 else 0
        taken = given[refused:]
        self.records += taken
        if self.calls % 5 == 4:
            raise ReadTimeoutError(endpoint_url="http://127.0.0.1:1")  # they are there all the same
        outcomes: list[dict[str, str]] = [{"ErrorCode": "ProvisionedThroughputExceededException"}] * refused
        outcomes += [
            {"ShardId": "s", "SequenceNumber": f"{len(self.records) + n}"} for n in range(len(taken))
        ]
        return {"Records": outcomes}


def test_what_fails_is_sent_again_until_it_is_accepted_and_written_down(tmp_path: Path) -> None:
    stream = Stream()
    pieces = ([Outgoing(0, f"key-{number % 7}", b"%d" % number)] for number in range(10**9))
    with Ledger(tmp_path / "sent.ndjson") as ledger:
        sender = SteadySender(pieces, ledger, cast(Any, stream), SETTINGS, 400)
        sender.start()
        end = time.monotonic() + 30
        while stream.calls < 12 and time.monotonic() < end:
            time.sleep(0.05)
        sender.stop(30)
        written = {one.data for one in ledger.all()}
    assert sender.failures > 0
    assert sender.events > 100
    assert written == {b"%d" % number for number in range(sender.events)}
    assert set(stream.records) == written


def test_a_load_that_cannot_be_sent_is_told(tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("no more")
        yield

    with Ledger(tmp_path / "sent.ndjson") as ledger:
        sender = SteadySender(broken(), ledger, cast(Any, Stream()), SETTINGS, 400)
        sender.start()
        end = time.monotonic() + 30
        while sender.error is None and time.monotonic() < end:
            time.sleep(0.02)
        with pytest.raises(UserError, match="no more"):
            sender.stop(30)


@pytest.mark.parametrize("minutes", [3, 5, 20, 60])
def test_every_kind_of_fault_comes_within_the_time_there_is(minutes: int) -> None:
    for seed in range(20):
        planned = schedule.plan(minutes * 60, seed)
        assert planned == schedule.plan(minutes * 60, seed)
        for track, kinds in schedule.TRACKS.items():
            faults = planned[track]
            assert {one.kind for one in faults} == set(kinds)
            for one, following in itertools.pairwise(faults):
                assert one.at + one.seconds <= following.at, "those of one track come one after the other"
            assert faults[-1].at + faults[-1].seconds <= minutes * 60
    assert set(MODES) == set(schedule.TRACKS["network"])
    assert schedule.plan(180, 1) != schedule.plan(180, 2)


class Leases:
    """The KCL's lease table, as boto3 shows it."""

    class exceptions:  # noqa: N801 - as boto3 names it
        """Of the client."""

        class ResourceNotFoundException(Exception):  # noqa: N818
            """There is no such table."""

    def __init__(self) -> None:
        self.checkpoints: dict[str, str] = {}

    def get_paginator(self, _operation: str) -> Leases:
        return self

    def paginate(self, **_request: Any) -> list[dict[str, Any]]:
        rows = [
            {"leaseKey": {"S": shard}, "checkpoint": {"S": checkpoint}, "leaseOwner": {"S": "w"}}
            for shard, checkpoint in self.checkpoints.items()
        ]
        return [{"Items": rows}]


class Shards:
    """ListShards: `closed` are."""

    closed: tuple[str, ...] = ()

    def list_shards(self, **_request: Any) -> dict[str, Any]:
        return {
            "Shards": [
                {"ShardId": shard, "SequenceNumberRange": {"EndingSequenceNumber": "9"}}
                for shard in self.closed
            ]
        }


def watch(ledger: Ledger, leases: Leases, shards: Shards, said: list[str]) -> LeaseWatch:
    host = wiring.plugin_host(SETTINGS)

    def decoded(one: Accepted) -> Decoded | Rejected:
        return decode(one.record(), host.decode, LIMITS)

    return LeaseWatch(
        cast(Any, leases),
        cast(Any, shards),
        MemoryStore(),
        "app",
        "stream",
        ledger,
        decoded,
        random.Random(1),
        said.append,
    )


def test_checkpoints_compare_as_the_kcl_means_them() -> None:
    def row(text: str, sub: int = 0) -> dict[str, Any]:
        return {"checkpoint": {"S": text}, "checkpointSubSequenceNumber": {"N": str(sub)}}

    order = [row("TRIM_HORIZON"), row("9"), row("10"), row("10", 3), row("1" + "0" * 55), row("SHARD_END")]
    assert sorted(map(checkpoint_of, order)) == list(map(checkpoint_of, order))
    assert checkpoint_of({}) == (START, 0)
    assert checkpoint_of(row("SHARD_END")) == (END, 0)


def test_a_checkpoint_that_goes_back_or_ahead_of_the_tables_is_wrong(tmp_path: Path) -> None:
    said: list[str] = []
    with Ledger(tmp_path / "sent.ndjson") as ledger:
        leases = Leases()
        one = watch(ledger, leases, Shards(), said)
        leases.checkpoints = {"a": "TRIM_HORIZON"}
        one.look()
        leases.checkpoints = {"a": "4"}
        one.look()
        assert said == []
        leases.checkpoints = {"a": "3"}
        one.look()
        assert said == ["WRONG: the checkpoint of a went back from 4 to 3"]
        ledger.add([accepted("a", 5, b"no event", time.time())])
        leases.checkpoints = {"a": "5"}
        one.look()
    assert said[1:] == [f"WRONG: the checkpoint of a passed {5:030d}, which is in no table"]
    assert one.progress.wrong == [line.removeprefix("WRONG: ") for line in said]
    assert one.progress.looked_up == 1


def test_it_is_drained_when_all_is_checkpointed_and_closed_shards_are_at_their_end(tmp_path: Path) -> None:
    with Ledger(tmp_path / "sent.ndjson") as ledger:
        leases, shards = Leases(), Shards()
        one = watch(ledger, leases, shards, [])
        ledger.add([accepted("a", 5, at=time.time() - 60), accepted("a", 7, at=time.time())])
        leases.checkpoints = {"a": "TRIM_HORIZON"}
        one.look()
        assert not one.drained()
        assert one.progress.backlog == 2
        assert 59 < one.progress.lag < 70
        leases.checkpoints = {"a": "5"}
        one.look()
        assert one.progress.backlog == 1
        leases.checkpoints = {"a": "7"}
        one.look()
        assert one.drained()
        assert one.progress.most_lag > 59
        shards.closed = ("a",)
        assert not one.drained()
        leases.checkpoints = {"a": "SHARD_END"}
        one.look()
        assert one.drained()
        leases.checkpoints = {}  # the KCL has cleaned up
        one.look()
        assert one.drained()


def shown(report: Report) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table(report))
    return captured.get()


def test_the_report_is_good_only_where_all_is() -> None:
    def report(**over: Any) -> Report:
        return Report(1, 3, 2, 3, 100, **{"seconds_to_drain": 5.0, "faults": {"kill a child": 2}, **over})

    assert report().good()
    assert "kill a child" in shown(report())
    assert complaints(report()) == []
    assert not report(seconds_to_drain=None).good()
    assert "never" in shown(report(seconds_to_drain=None))
    assert not report(wrong=["a checkpoint went back"]).good()
    bad = report(differences={"items": [f"item {number}" for number in range(30)]}, unexplained=["w1 ended"])
    assert not bad.good()
    assert bad.found() == 30
    lines = complaints(bad)
    assert lines[0] == "items: item 0"
    assert "items: and 10 more" in lines
    assert lines[-1] == "note: w1 ended"
    assert json.loads(json.dumps(bad.as_json()))["good"] is False


def test_a_plan_is_done_in_order_and_what_is_not_done_is_told() -> None:
    told: list[str] = []
    end = threading.Event()
    strikes: dict[str, Strike] = {
        "works": lambda seconds: f"for {seconds} s",
        "cannot": lambda seconds: None,
        "waits": lambda seconds: "let go" if end.wait(60) else None,
    }
    planned = {
        "one": [Planned(0, "works", 2), Planned(0, "cannot", 2)],
        "other": [Planned(0, "waits", 1), Planned(0.1, "works", 1)],
    }
    chaos = Chaos(planned, strikes, end, told.append)
    chaos.start()
    chaos.finish(0.5)
    assert chaos.done == {"works": 1, "waits": 1}
    assert sorted(chaos.left_out) == ["cannot", "works"]
    assert sorted(told) == ["waits: let go", "works: for 2 s"]
    assert chaos.errors == []


def test_a_fault_that_breaks_is_an_error_of_the_soak() -> None:
    def broken(seconds: float) -> str:
        raise KeyError("a bug")

    chaos = Chaos({"one": [Planned(0, "breaks", 1)]}, {"breaks": broken}, threading.Event(), print)
    chaos.start()
    chaos.finish(10)
    assert [type(error) for error in chaos.errors] == [KeyError]
