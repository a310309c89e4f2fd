"""What `kcl-app status` makes of canned answers of stream, lease table and workers, and how it shows it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import moto
import pytest
from botocore.exceptions import ClientError
from rich.console import Console

from kcl_app import wiring
from kcl_app.scrape import Samples
from kcl_app.settings import load
from kcl_app.status.facts import Count, Facts, Scraped, StreamShard
from kcl_app.status.gather import Gatherer, base_url
from kcl_app.status.live import Watcher, picture
from kcl_app.status.questions import behind, letters_in, stale_in
from kcl_app.status.render import owner, render
from kcl_app.status.verdict import Status, status
from kcl_app.status.words import seconds, share, short, trend
from kcl_app.status.workers import plugins, within_slo, worker
from kcl_app.stream.leases import Lease, Renewals, lease_of

A, B, C = (f"shardId-{number:012d}" for number in range(3))
HOST = "ip-10-0-1-23-1a2b3c4d-0000-4000-8000-000000000000"
URL = "http://127.0.0.1:9464"
AT = datetime(2026, 3, 9, 3, 0, tzinfo=UTC).timestamp()


def samples(
    lag: dict[str, float], *, events: float = 0, states: dict[str, str] | None = None, more: str = ""
) -> Samples:
    """A worker's metrics, as text."""
    lines = [f'scheduling_lag_seconds{{shard="{shard}"}} {value}' for shard, value in lag.items()]
    lines += [f'scheduling_stores_available{{shard="{shard}"}} 1' for shard in lag]
    lines += [f'scheduling_checkpoint_age_seconds{{shard="{shard}"}} 1.5' for shard in lag]
    lines += [f'scheduling_records_total{{shard="{shard}"}} {events / len(lag)}' for shard in lag]
    for shard, state in (states or {}).items():
        lines += [
            f'scheduling_shard_state{{shard="{shard}",state="{word}"}} {int(word == state)}'
            for word in ("ok", "slow", "stalled", "stopped", "unknown")
        ]
        lines.append(f'scheduling_lag_trend_ratio{{shard="{shard}"}} {0.8 if state == "slow" else 0}')
    lines += [
        f'scheduling_events_total{{outcome="applied"}} {events}',
        f"scheduling_shards_owned {len(lag)}",
        "scheduling_worker_ready 1",
        'scheduling_build_info{version="0.1.0",kcl_version="3.1.3",python_version="3.11"} 1',
        f'scheduling_process_cpu_seconds_total{{process="child"}} {events / 1000}',
        'scheduling_process_resident_memory_bytes{process="jvm"} 262144000',
    ]
    return Samples("\n".join(lines) + "\n" + more)


def leases(*shards: str, owner: str | None = HOST) -> tuple[Lease, ...]:
    return tuple(
        Lease(shard, owner, "49590338271490256608559692538361571095921575989136588898") for shard in shards
    )


def facts(**over: Any) -> Facts:
    """Two shards, read by one worker that keeps up."""
    ok = {A: "ok", B: "ok"}
    before, now = samples({A: 0.2, B: 0.4}, events=100), samples({A: 0.2, B: 0.4}, events=500, states=ok)
    given: dict[str, Any] = {
        "shards": (StreamShard(A, True), StreamShard(B, True)),
        "leases": leases(A, B),
        "workers": (Scraped(URL, now, before, 2.0),),
        "letters": Count(0, {}, 0, True),
        "stale": Count(0, {}, 0, True),
        **over,
    }
    return Facts(AT, "scheduling-event-stream", "scheduling-kcl-app", **given)


def reading(lag: dict[str, float], states: dict[str, str]) -> tuple[Scraped, ...]:
    return (Scraped(URL, samples(lag, states=states), samples(lag), 2.0),)


def test_it_keeps_up_where_the_judge_says_so_of_every_shard() -> None:
    found = status(facts())
    assert found.verdict.ok
    assert found.verdict.line == "keeps up: worst lag 0.4 s over 2 shards, 200 events/s"
    first, second = found.shards
    assert (first.shard, second.shard) == (B, A), "the one furthest behind first"
    assert (first.owner, first.url, first.state, first.lag_from) == (HOST, URL, "ok", "worker")
    assert first.records_per_second == 100
    assert found.workers[0].cpu == pytest.approx(0.2)


def test_a_high_lag_that_the_judge_calls_ok_keeps_up() -> None:
    """A shard that catches up after a burst is behind, and well."""
    workers = reading({A: 500.0, B: 0.0}, {A: "ok", B: "ok"})
    assert status(facts(workers=workers)).verdict.ok


@pytest.mark.parametrize(
    ("state", "word"),
    [("slow", "falling behind"), ("stalled", "stands still"), ("stopped", "stands still")],
)
def test_the_judges_words_become_the_verdict(state: str, word: str) -> None:
    found = status(facts(workers=reading({A: 84.0, B: 0.1}, {A: state, B: "ok"})))
    assert found.verdict.word == word
    growing = ", +0.8 s/s" if state == "slow" else ""
    assert found.verdict.line == f"{word}: shard 0 ({state.upper()}, lag 84 s{growing})"


@pytest.mark.parametrize(("lag", "ok"), [(59.0, True), (61.0, False)])
def test_while_the_judge_has_no_word_the_slo_decides(lag: float, ok: bool) -> None:
    assert status(facts(workers=reading({A: lag, B: 0.1}, {A: "unknown", B: "unknown"}))).verdict.ok is ok
    # No worker says: the stream was asked what comes after the checkpoint.
    unasked = status(facts(workers=(), behind={A: lag, B: 0.0}))
    assert unasked.verdict.ok is ok
    assert {shard.lag_from for shard in unasked.shards} == {"stream"}


def test_a_shard_without_an_owner_stands_still_whatever_its_lag() -> None:
    found = status(facts(leases=(*leases(A), *leases(B, owner=None)), workers=reading({A: 0.0}, {A: "ok"})))
    assert found.verdict.line == "stands still: shard 1 has no owner"


def test_owners_that_died_still_stand_in_the_table_and_are_not_believed() -> None:
    found = status(facts(workers=(Scraped(URL, None),), silent=frozenset({A, B}), behind={A: 0.0, B: 0.0}))
    assert found.verdict.line == "stands still: no worker runs that has any of the 2 shards"
    found = status(facts(workers=reading({A: 0.0}, {A: "ok"}), silent=frozenset({B}), behind={B: 0.0}))
    assert found.verdict.line == "stands still: shard 1 has an owner that is gone"


def test_a_stream_without_any_lease_has_no_worker() -> None:
    assert status(facts(leases=(), workers=())).verdict.line == (
        "stands still: no worker runs that has any of the 2 shards"
    )


def test_a_reshard_is_shown_and_alarms_nobody() -> None:
    shards = (StreamShard(A, False), StreamShard(B, True, (A,)), StreamShard(C, True, (A,)))
    parent = leases(A)
    children = tuple(replace(lease, owner=None, parents=(A,)) for lease in leases(B, C))
    found = status(facts(shards=shards, leases=parent + children, workers=reading({A: 1.0}, {A: "ok"})))
    assert {shard.shard: shard.phase for shard in found.shards} == {
        A: "read",
        B: "waits for its parent",
        C: "waits for its parent",
    }
    assert found.verdict.ok
    ended = (replace(parent[0], checkpoint="SHARD_END", owner=None),)
    found = status(
        facts(
            shards=shards, leases=ended + leases(B, C), workers=reading({B: 0.0, C: 0.0}, {B: "ok", C: "ok"})
        )
    )
    assert (found.ended, [shard.shard for shard in found.shards]) == ((A,), [B, C])
    # The KCL deletes the lease of a shard that it is done with; the stream lists the shard for days more.
    found = status(
        facts(shards=shards, leases=leases(B, C), workers=reading({B: 0.0, C: 0.0}, {B: "ok", C: "ok"}))
    )
    assert found.verdict.ok
    assert [shard.shard for shard in found.shards] == [B, C]


def test_what_cannot_be_told_is_not_called_well() -> None:
    found = status(facts(shards=None, leases=None, workers=(), missing=("the stream: cannot reach it",)))
    assert (found.verdict.word, found.verdict.line) == (
        "cannot tell",
        "cannot tell: the stream: cannot reach it",
    )
    # One worker's shards may be all well, and others' not.
    found = status(facts(shards=None, leases=None))
    assert found.verdict.word == "cannot tell"
    assert "have a lag of 0.4 s" in found.verdict.line
    found = status(facts(workers=()))
    assert found.verdict.line == "cannot tell: nobody says how far behind shard 0, shard 1 is"


def test_of_two_workers_that_speak_of_a_shard_the_one_with_the_newer_checkpoint_is_believed() -> None:
    zombie = Samples(
        f'scheduling_lag_seconds{{shard="{A}"}} 90\nscheduling_checkpoint_age_seconds{{shard="{A}"}} 95\n'
    )
    workers = (Scraped("http://z", zombie), *reading({A: 0.1, B: 0.0}, {A: "ok", B: "ok"}))
    found = status(facts(workers=workers))
    assert {shard.url for shard in found.shards} == {URL}


def test_a_worker_that_is_not_ready_counts_if_it_has_shards() -> None:
    (one,) = facts().workers
    why = ("stores do not answer shard 0",)
    found = status(facts(workers=(replace(one, unready=why),)))
    assert (
        found.verdict.line == f"stands still: the worker at {URL} is not ready: stores do not answer shard 0"
    )
    starting = Scraped(
        "http://new", Samples("scheduling_shards_owned 0\n"), unready=("the KCL sets up its leases",)
    )
    found = status(facts(workers=(one, starting)))
    assert found.verdict.ok
    assert found.notes == ("the worker at http://new is not ready: the KCL sets up its leases",)


PLUGIN = """\
scheduling_plugin_duration_seconds_count{plugin="acme",method="spans"} 400
scheduling_plugin_duration_seconds_sum{plugin="acme",method="spans"} 0.8
scheduling_plugin_failures_total{plugin="acme",method="spans",outcome="raised"} 7
scheduling_plugin_suspended{plugin="acme",method="spans",scope="tenant"} 2
scheduling_plugin_suspended{plugin="acme",method="decode",scope="all"} 0
scheduling_pipeline_age_seconds_bucket{le="60.0"} 199
scheduling_pipeline_age_seconds_bucket{le="90.0"} 200
scheduling_pipeline_age_seconds_bucket{le="+Inf"} 200
scheduling_pipeline_age_seconds_count 200
"""


def test_plugins_with_failures_breakers_and_refusals() -> None:
    one = Scraped(URL, samples({A: 0.0}, more=PLUGIN), refused={"odd": "it has no method decode"})
    acme, odd = plugins([one, one])
    assert (acme.name, acme.failures, acme.suspended) == ("acme", 14, ("spans for a tenant (4)",))
    assert acme.milliseconds == pytest.approx(2.0)
    assert odd.refused == "it has no method decode"
    assert within_slo([one]) == pytest.approx(0.995)
    assert within_slo([Scraped(URL, Samples(""))]) is None


def test_a_worker_that_was_restarted_between_two_scrapes_has_no_rate_for_once() -> None:
    one = Scraped(URL, samples({A: 0.0}, events=5), samples({A: 0.0}, events=900), 2.0)
    assert worker(one).events_per_second is None


def test_letters_and_stale_days_are_notes_with_the_command() -> None:
    letters = Count(3, {"invalid_data": 2, "plugin_failed": 1}, 3, True)
    found = status(facts(letters=letters, stale=Count(40, {"plugin_failed": 40}, 20_000, False)))
    assert found.verdict.ok, "they are no lag"
    assert found.notes == (
        "3 dead letters (2 invalid_data, 1 plugin_failed): kcl-app dead-letters list",
        "at least 40 stale provider-days (of the first 20,000 rows) (40 plugin_failed): kcl-app recompute --stale",
    )


def test_the_json_is_json_and_says_whether_it_is_well() -> None:
    told = json.loads(json.dumps(status(facts()).as_json()))
    assert told["verdict"]["ok"] is True
    assert told["at"] == "2026-03-09T03:00:00+00:00"
    assert [shard["lag_seconds"] for shard in told["shards"]] == [0.4, 0.2]
    assert {"shards", "ended", "workers", "plugins", "letters", "stale", "notes", "missing"} <= told.keys()


def shown(found: Status, width: int = 80, height: int | None = None) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, highlight=False)
    console.print(render(found, width, height))
    return console.export_text().splitlines()


def many(number: int) -> Facts:
    names = [f"shardId-{place:012d}" for place in range(number)]
    lag = {name: float(place) for place, name in enumerate(names)}
    return facts(
        shards=tuple(StreamShard(name, True) for name in names),
        leases=leases(*names),
        workers=reading(lag, dict.fromkeys(names, "ok")),
    )


def test_a_picture_fits_into_80_columns_and_names_everything() -> None:
    found = status(
        facts(
            workers=reading({A: 84.0, B: 0.1}, {A: "slow", B: "ok"}),
            letters=Count(1, {"invalid_data": 1}, 1, True),
            missing=("stale provider-days: DynamoDB cannot be reached",),
            stale=None,
        )
    )
    lines = shown(found)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "falling behind: shard 0 (SLOW, lag 84 s, +0.8 s/s)"
    assert lines[2].split() == ["shard", "state", "lag", "trend", "records/s", "checkpoint", "owner"]
    assert lines[3].split() == [
        "0",
        "SLOW",
        "84",
        "s",
        "+0.8",
        "s/s",
        "0",
        "1.5",
        "s",
        "ago",
        owner(HOST, 80),
    ]
    text = "\n".join(lines)
    assert "1 dead letter (1 invalid_data); stale provider-days: not seen" in text
    assert "look: 1 dead letter (1 invalid_data): kcl-app dead-letters list" in text
    assert "not seen: stale provider-days: DynamoDB cannot be reached" in text


def test_a_small_terminal_shows_the_worst_shards_and_how_many_more_there_are() -> None:
    lines = shown(status(many(30)), height=20)
    assert len(lines) <= 20
    assert lines[3].split()[0] == "29"
    assert any("more" in line for line in lines)
    assert len(shown(status(many(30)))) > 30, "paper has room for all"


def test_a_status_without_anything_can_be_shown() -> None:
    lines = shown(status(Facts(AT, "s", "a")))
    assert lines[0] == "cannot tell: the stream has no shards and no worker answers"


def test_nothing_from_elsewhere_reaches_the_terminal_as_a_command() -> None:
    text = "\n".join(shown(status(facts(missing=("it says \x1b[31m[red]this",)))))
    assert "\x1b" not in text
    assert "[red]this" in text


def test_words_for_numbers() -> None:
    assert [seconds(value) for value in (0.04, 9.9, 84, 600, 10_000, 400_000)] == [
        "0.0 s",
        "9.9 s",
        "84 s",
        "10 min",
        "3 h",
        "5 d",
    ]
    assert [trend(value) for value in (0.0, 0.05, 0.8, -2.0)] == [
        "steady",
        "+0.05 s/s",
        "+0.8 s/s",
        "-2.0 s/s",
    ]
    assert (share(1.0), share(0.99999), share(0.5)) == ("100 %", "99.99 %", "50.00 %")
    assert (short(A), short("odd")) == ("0", "odd")
    assert owner(HOST, 120) == HOST
    assert len(owner(HOST, 80)) <= 21


# What is asked --------------------------------------------------------------------------------------------------------


def test_an_address_is_taken_as_people_write_it() -> None:
    for given in ("w1:9464", "http://w1:9464", "http://w1:9464/", "http://w1:9464/metrics"):
        assert base_url(given) == "http://w1:9464"


def test_a_lease_row_of_the_kcl_is_read() -> None:
    row = {
        "leaseKey": {"S": B},
        "leaseOwner": {"S": HOST},
        "checkpoint": {"S": "SHARD_END"},
        "parentShardId": {"SS": [A]},
        "leaseCounter": {"N": "7"},
    }
    assert lease_of(row) == Lease(B, HOST, "SHARD_END", (A,), 7)
    assert lease_of({"leaseKey": {"S": A}}) == Lease(A, None, "TRIM_HORIZON")
    assert lease_of(row).ended


def test_an_owner_is_sure_once_it_renews_and_gone_once_it_does_not_for_a_failover_time() -> None:
    renewals = Renewals(10.0)
    living, dead = Lease(A, "w", "1", (), 1), Lease(B, "x", "1", (), 5)
    renewals.look([living, dead], 0.0)
    assert renewals.unsure(1.0) == {A, B}
    renewals.look([replace(living, counter=2), dead], 4.0)
    assert (renewals.unsure(4.0), renewals.silent(4.0)) == ({B}, set())
    renewals.look([replace(living, counter=3), dead], 10.5)
    assert (renewals.unsure(10.5), renewals.silent(10.5)) == (set(), {B})


class Shelf:
    """A stream that answers reads one after the other."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: dict[str, Any] = {}

    def get_shard_iterator(self, **asked: Any) -> dict[str, str]:
        self.asked = asked
        return {"ShardIterator": "i"}

    def get_records(self, **_: Any) -> dict[str, Any]:
        return {"NextShardIterator": "i", "Records": [], **self.answers.pop(0)}


def test_the_stream_itself_says_how_far_a_checkpoint_is_behind() -> None:
    arrived = {"Records": [{"ApproximateArrivalTimestamp": datetime.fromtimestamp(AT - 90, UTC)}]}
    shelf: Any = Shelf({"MillisBehindLatest": 5000}, arrived)
    assert behind(shelf, "s", Lease(A, None, "123"), AT) == 90
    assert (shelf.asked["ShardIteratorType"], shelf.asked["StartingSequenceNumber"]) == (
        "AFTER_SEQUENCE_NUMBER",
        "123",
    )
    idle: Any = Shelf({"MillisBehindLatest": 0})
    assert behind(idle, "s", Lease(A, None, "TRIM_HORIZON"), AT) == 0
    assert idle.asked["ShardIteratorType"] == "TRIM_HORIZON"


class Pages:
    """A table that gives its pages one after the other."""

    def __init__(self, *pages: list[str]) -> None:
        self.pages = [[{"reason": {"S": reason}} for reason in page] for page in pages]
        self.asked: list[dict[str, Any]] = []

    def scan(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(dict(asked))
        at = asked.get("ExclusiveStartKey", 0)
        more = {"LastEvaluatedKey": at + 1} if at + 1 < len(self.pages) else {}
        return {"Items": self.pages[at], "ScannedCount": 100, **more}


def test_a_count_reads_one_page_and_more_only_while_there_is_time() -> None:
    table: Any = Pages(["invalid_data"], ["invalid_data", "plugin_failed"], [])
    assert letters_in(table, "t", AT, lambda: False) == Count(1, {"invalid_data": 1}, 100, False)
    assert len(table.asked) == 1
    assert "ConsistentRead" not in table.asked[0], "twice the price"
    whole = Count(3, {"invalid_data": 2, "plugin_failed": 1}, 300, True)
    assert letters_in(table, "t", AT, lambda: True) == whole
    assert letters_in(Pages([]), "t", AT, lambda: False).complete  # type: ignore[arg-type]


def test_counts_pass_over_marks_fresh_days_and_what_has_expired() -> None:
    rows: list[dict[str, Any]] = [
        {"pk": {"S": "#attempts"}, "reason": {"NULL": True}},
        {"pk": {"S": "t"}, "reason": {"S": "invalid_data"}},
        {"pk": {"S": "u"}, "reason": {"S": "invalid_data"}, "expires_at": {"NULL": True}},
        {"pk": {"S": "v"}, "reason": {"S": "invalid_data"}, "expires_at": {"N": str(int(AT) + 1)}},
        {"pk": {"S": "w"}, "reason": {"S": "invalid_data"}, "expires_at": {"N": str(int(AT) - 1)}},
        {"pk": {"S": "#d"}, "status": {"S": "stale"}, "reason": {"S": "plugin_failed: it raised"}},
        {"pk": {"S": "#e"}, "status": {"S": "fresh"}, "reason": {"NULL": True}},
    ]
    with moto.mock_aws():
        dynamodb = boto3.client("dynamodb", "us-east-1", aws_access_key_id="k", aws_secret_access_key="s")
        dynamodb.create_table(
            TableName="t",
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for row in rows:
            dynamodb.put_item(TableName="t", Item=row)
        assert letters_in(dynamodb, "t", AT, lambda: False) == Count(3, {"invalid_data": 3}, 7, True)
        assert stale_in(dynamodb, "t", AT, lambda: False) == Count(1, {"plugin_failed": 1}, 7, True)


class Denying(Gatherer):
    """May read nothing of the tables."""

    def __init__(self, count_seconds: float) -> None:
        super().__init__(load(aws={"endpoint_url": None, "region": "eu-west-1"}), [], count_seconds)


def test_what_may_not_be_counted_is_told_with_the_call_and_the_table_and_what_nobody_wanted_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scan(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Scan")

    monkeypatch.setattr(wiring, "dynamodb", lambda _: SimpleNamespace(scan=scan))
    for seconds_, stale in ((0.0, False), (1.0, True)):
        gatherer = Denying(seconds_)
        gatherer.count()
        missing = gatherer.facts([]).missing
        told = "the credentials may not call Scan on table scheduling-dead-letters in AWS eu-west-1"
        assert (
            f"dead letters: not allowed: {told}; kcl-app doctor --role operator says what to add" in missing
        )
        assert any(line.startswith("stale provider-days: not allowed") for line in missing) is stale
        text = "\n".join(shown(status(gatherer.facts([]))))
        assert ("stale provider-days: not seen" in text) is stale
        assert ("stale provider-days: not counted (--count)" in text) is not stale


def test_top_asks_at_once_and_then_each_as_often_as_it_is_due() -> None:
    asked: list[str] = []

    class Quiet(Gatherer):
        def scrape(self) -> list[Scraped]:
            asked.append("scrape")
            return []

        def stream(self) -> None:
            asked.append("stream")

        def leases(self) -> None:
            asked.append("leases")

        def count(self) -> None:
            asked.append("count")

        def probe(self, scraped: Any) -> None:
            asked.append("probe")

    watcher = Watcher(Quiet(load(), []), 1.0)
    watcher.look(0.0)
    assert asked == ["scrape", "leases", "stream", "probe", "count"]
    asked.clear()
    watcher.look(1.0)
    assert asked == ["scrape"]
    watcher.look(2.0)
    assert asked == ["scrape", "scrape", "leases"]
    watcher.look(61.0)
    assert asked.count("count") == 1
    console = Console(width=80, height=24, file=io.StringIO(), record=True)
    console.print(picture(None, console, 2.0))
    console.print(picture(watcher.newest, console, 2.0))
    assert "q ends; every 2 s" in console.export_text()
