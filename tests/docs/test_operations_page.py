"""The outputs shown in docs/operations.md are what the commands print of what they claim to have seen."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from kcl_app.cli.doctor import show
from kcl_app.doctor import cloud, permissions
from kcl_app.doctor.checks import Check, failed, ok, summary, warning
from kcl_app.doctor.needs import NOT_TRIED, WORKER, On
from kcl_app.doctor.permissions import Denied
from kcl_app.scrape import Samples
from kcl_app.settings import PROJECT_ROOT, Settings
from kcl_app.status.facts import Count, Facts, Scraped, StreamShard
from kcl_app.status.render import render
from kcl_app.status.verdict import status
from kcl_app.stream.leases import Lease

PAGE = (PROJECT_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SETTINGS = Settings.model_validate({"environment": "production", "tables": {"dead_letter_bucket": "letters"}})


def block(name: str) -> str:
    """The fenced block with this word behind ``text``, each line without the blanks at its end."""
    match = re.search(rf"^```text {name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert match is not None, name
    return match[1].rstrip("\n")


def printed(*parts: RenderableType) -> str:
    console = Console(width=80, file=io.StringIO(), record=True, highlight=False)
    for part in parts:
        console.print(part)
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


def samples(lag: dict[str, float], states: dict[str, str], events: float) -> Samples:
    lines = []
    for shard, seconds in lag.items():
        trend = 0.75 if states[shard] == "slow" else 0.0
        lines += [
            f'scheduling_lag_seconds{{shard="{shard}"}} {seconds}',
            f'scheduling_lag_trend_ratio{{shard="{shard}"}} {trend}',
            f'scheduling_shard_state{{shard="{shard}",state="{states[shard]}"}} 1',
            f'scheduling_checkpoint_age_seconds{{shard="{shard}"}} {1.2 + seconds / 10:.1f}',
            f'scheduling_records_total{{shard="{shard}"}} {events / len(lag)}',
        ]
    lines += [
        f'scheduling_events_total{{outcome="applied"}} {events}',
        f"scheduling_shards_owned {len(lag)}",
        "scheduling_worker_ready 1",
        'scheduling_build_info{version="0.1.0",kcl_version="3.1.3",python_version="3.11.7"} 1',
        f'scheduling_process_cpu_seconds_total{{process="child"}} {events / 1500}',
        'scheduling_process_resident_memory_bytes{process="jvm"} 512000000',
        f'scheduling_plugin_duration_seconds_count{{plugin="standard",method="spans"}} {2 * events}',
        f'scheduling_plugin_duration_seconds_sum{{plugin="standard",method="spans"}} {events / 5000}',
        f'scheduling_pipeline_age_seconds_bucket{{le="60.0"}} {events - 2 if events else 0}',
        f"scheduling_pipeline_age_seconds_count {events}",
    ]
    return Samples("\n".join(lines) + "\n")


def picture(lag: tuple[float, float, float], states: tuple[str, str, str], letters: Count) -> str:
    names = [f"shardId-{number:012d}" for number in range(4)]
    hosts = [
        "ip-10-0-1-23-3f2a9c10-1111-4111-8111-111111111111",
        "ip-10-0-2-87-b81d04e2-2222-4222-8222-222222222222",
    ]
    leases = [
        Lease(names[0], None, "SHARD_END"),
        *(
            Lease(name, hosts[place // 2], "49590338271490256608559692538361")
            for place, name in enumerate(names[1:])
        ),
    ]
    workers = []
    for url, mine in (("http://10.0.1.23:9464", (1, 2)), ("http://10.0.2.87:9464", (3,))):
        of = {names[place]: lag[place - 1] for place in mine}
        word = {names[place]: states[place - 1] for place in mine}
        workers.append(
            Scraped(url, samples(of, word, 9000.0 * len(mine)), samples(of, word, 8400.0 * len(mine)), 2.0)
        )
    facts = Facts(
        datetime(2026, 3, 9, 3, 0, 5, tzinfo=UTC).timestamp(),
        "scheduling-event-stream",
        "scheduling-kcl-app",
        tuple(StreamShard(name, name != names[0]) for name in names),
        tuple(leases),
        frozenset(),
        tuple(workers),
        {},
        letters,
        None,
    )
    return printed(render(status(facts), 80))


def test_the_status_that_is_shown_is_what_the_command_prints() -> None:
    none = Count(0, {}, 0, True)
    assert block("keeps-up") == picture((0.3, 0.2, 0.4), ("ok", "ok", "ok"), none)


def test_the_status_of_trouble_is_what_the_command_prints() -> None:
    letters = Count(12, {"plugin_failed": 12}, 12, True)
    assert block("falling-behind") == picture((84.0, 0.2, 0.4), ("slow", "ok", "ok"), letters)


@pytest.fixture
def examination() -> list[Check]:
    stream = {
        "StreamStatus": "ACTIVE",
        "OpenShardCount": 8,
        "RetentionPeriodHours": 24,
        "EncryptionType": "KMS",
    }
    arn = "arn:aws:dynamodb:us-east-1:111122223333:table/scheduling-items"
    denied = [Denied("dynamodb:PartiQLUpdate", arn)]
    (items,) = [need for need in WORKER.needs if need.on is On.ITEMS]
    return [
        ok("kcl jars", "79 jars, amazon-kinesis-client-multilang-3.1.3"),
        *cloud.stream_of(SETTINGS, stream),
        cloud.clock_of(1000.0, 1000.2, 1000.4),
        failed(
            "permissions: table scheduling-items",
            f"denied: dynamodb:PartiQLUpdate on {arn}",
            permissions.mended(WORKER, items, denied, SETTINGS),
        ),
        warning("open files", "1024 may be open at once", "ulimit -n 4096"),
        ok("worker", "none runs here; 0.0.0.0 port 9464 is free"),
    ]


def test_the_doctors_words_are_what_it_says(examination: list[Check]) -> None:
    console = Console(width=100, file=io.StringIO(), record=True, highlight=False)
    for check in examination:
        show(check, console)
    console.print(summary(examination))
    shown = "\n".join(line.rstrip() for line in console.export_text().splitlines())
    assert block("doctor") == shown


def test_what_the_doctor_does_not_try_is_named_with_the_reason() -> None:
    for action, what in NOT_TRIED.items():
        assert f"`{action}` {what}" in PAGE.replace("\n", " ")
