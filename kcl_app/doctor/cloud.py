"""The stream, the tables, the bucket, the KCL's own tables, and whether the clock is right."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from kcl_app import wiring
from kcl_app.doctor.checks import Check, failed, ok, skipped, warning
from kcl_app.doctor.needs import KCL_TABLES, On, name_of
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings
from kcl_app.worker import preflight

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_s3 import S3Client

RETENTION_HOURS = 168
"""What `deploy/ecs/data.yaml` keeps: what is not processed by then is lost."""
KEYS = {"pk": "HASH", "sk": "RANGE"}
EXPIRES = "expires_at"
SKEW_SECONDS, SKEW_REFUSED_SECONDS = 30.0, 240.0
"""AWS refuses signatures that are five minutes old; documents carry the time as well."""


@dataclass(frozen=True)
class Clients:
    """The clients that the checks share."""

    preflight: preflight.Preflight
    kinesis: KinesisClient
    dynamodb: DynamoDBClient
    kcl_dynamodb: DynamoDBClient
    s3: S3Client


def clients(settings: Settings) -> Clients:
    """Clients for settings; building them asks nobody."""
    return Clients(
        preflight.Preflight(settings),
        wiring.kinesis(settings),
        wiring.dynamodb(settings),
        wiring.kcl_dynamodb(settings),
        wiring.s3(settings),
    )


def stream_of(settings: Settings, summary: Mapping[str, Any]) -> Iterator[Check]:
    """What is to be said of a stream.

    Args:
        settings: whose stream.
        summary: as DescribeStreamSummary gives it.
    """
    name, local = settings.stream.name, settings.aws.endpoint_url is not None
    at = f"--stream-name {name} --region {settings.aws.region}"
    hours = int(summary["RetentionPeriodHours"])
    mode = summary.get("StreamModeDetails", {}).get("StreamMode", "PROVISIONED")
    encrypted = summary.get("EncryptionType", "NONE") != "NONE"
    shown = (
        f"{summary['StreamStatus']}, {summary['OpenShardCount']} open shards ({mode}), keeps {hours} h, "
        f"{'encrypted' if encrypted else 'not encrypted'}"
    )
    yield ok(f"stream {name}", shown)
    if hours < RETENTION_HOURS and not local:
        yield warning(
            f"stream {name}: retention",
            f"{hours} h: what is not processed within that time is lost",
            f"aws kinesis increase-stream-retention-period {at} --retention-period-hours {RETENTION_HOURS}",
        )
    if not encrypted and not local:
        yield warning(
            f"stream {name}: encryption",
            "events hold patients' data and are not encrypted at rest",
            f"aws kinesis start-stream-encryption {at} --encryption-type KMS --key-id alias/aws/kinesis",
        )


def table(settings: Settings, clients: Clients, name: str) -> Iterator[Check]:
    """One of the four tables."""
    yield from table_of(settings, name, clients.preflight.table(name))


def time_to_live(settings: Settings, clients: Clients, name: str) -> Iterator[Check]:
    """Whether a table's rows go when they have expired."""
    call = partial(clients.dynamodb.describe_time_to_live, TableName=name)
    told = preflight.ask(settings, f"table {name}", call)["TimeToLiveDescription"]
    yield from ttl_of(settings, name, told)


def backups(settings: Settings, clients: Clients, name: str) -> Iterator[Check]:
    """Whether a table can be restored; the local cloud keeps nothing that matters."""
    call = partial(clients.dynamodb.describe_continuous_backups, TableName=name)
    told = preflight.ask(settings, f"table {name}", call)["ContinuousBackupsDescription"]
    if settings.aws.endpoint_url is None:
        yield from backups_of(settings, name, told)


def table_of(settings: Settings, name: str, description: Mapping[str, Any]) -> Iterator[Check]:
    """What is to be said of a table.

    Args:
        settings: whose table.
        name: its name.
        description: as DescribeTable gives it.
    """
    keys = {one["AttributeName"]: one["KeyType"] for one in description["KeySchema"]}
    types = {
        one["AttributeName"]: one["AttributeType"] for one in description.get("AttributeDefinitions", [])
    }
    if keys != KEYS or any(types.get(key, "S") != "S" for key in KEYS):
        shown = ", ".join(f"{key} ({kind}, {types.get(key, '?')})" for key, kind in keys.items())
        yield failed(
            f"table {name}",
            f"its key is {shown}; pk (HASH, S) and sk (RANGE, S) are needed",
            f"name another table in the settings, or make it anew: {preflight.how_to_make(settings)}",
        )
        return
    billing = description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if billing != "PAY_PER_REQUEST":
        units = description.get("ProvisionedThroughput", {})
        yield warning(
            f"table {name}: billing",
            f"{units.get('WriteCapacityUnits', '?')} write units a second are provisioned: a burst is throttled",
            f"aws dynamodb update-table --table-name {name} --billing-mode PAY_PER_REQUEST "
            f"--region {settings.aws.region}",
        )
    yield ok(f"table {name}", f"{description['TableStatus']}, keys pk and sk, {billing}")


def ttl_of(settings: Settings, name: str, told: Mapping[str, Any]) -> Iterator[Check]:
    """Whether rows go when they have expired. `told` is as DescribeTimeToLive gives it."""
    if told.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING") or told.get("AttributeName") != EXPIRES:
        yield warning(
            f"table {name}: time to live",
            "rows that have expired are never deleted: the table grows for ever",
            f"aws dynamodb update-time-to-live --table-name {name} --region {settings.aws.region} "
            f"--time-to-live-specification Enabled=true,AttributeName={EXPIRES}",
        )


def backups_of(settings: Settings, name: str, told: Mapping[str, Any]) -> Iterator[Check]:
    """Whether the table can be restored. `told` is as DescribeContinuousBackups gives it."""
    if told.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        yield warning(
            f"table {name}: backup",
            "no point-in-time recovery: what is deleted by mistake cannot be brought back",
            f"aws dynamodb update-continuous-backups --table-name {name} --region {settings.aws.region} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )


def bucket(settings: Settings, clients: Clients) -> Iterator[Check]:
    """The bucket for large dead letters."""
    clients.preflight.bucket()
    yield ok(f"bucket {settings.tables.dead_letter_bucket}", "there")


def kcl_table(settings: Settings, clients: Clients, on: On) -> Iterator[Check]:
    """A table of the KCL's own, which it makes at the first start of an application."""
    name, key = name_of(on, settings), KCL_TABLES[on]
    call = partial(clients.kcl_dynamodb.describe_table, TableName=name)
    try:
        found = preflight.ask(settings, f"table {name}", call)["Table"]
    except PreflightError as error:
        if error.kind != "missing":
            raise
        yield ok(f"KCL table {name}", "not there yet: the first worker makes it")
        return
    keys = [one["AttributeName"] for one in found.get("KeySchema", [])]
    if keys != [key]:
        yield failed(
            f"KCL table {name}",
            f"is somebody else's: its key is {', '.join(keys)}, not {key}",
            "choose another stream.application: the KCL names its tables after it",
        )
        return
    yield ok(f"KCL table {name}", str(found.get("TableStatus", "there")))


def clock(settings: Settings, clients: Clients) -> Iterator[Check]:
    """This machine's clock against the service's."""
    before = time.time()
    try:
        answer: Mapping[str, Any] = clients.kinesis.list_shards(StreamName=settings.stream.name, MaxResults=1)
    except ClientError as error:  # an answer nonetheless, with its time
        answer = error.response
    after = time.time()
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if told is None:
        yield skipped("clock", f"{preflight.where_of(settings)} does not say what time it is")
        return
    yield clock_of(parsedate_to_datetime(told).timestamp(), before, after)


def clock_of(told: float, before: float, after: float) -> Check:
    """Whether the clock is right.

    Args:
        told: the service's time, in whole seconds since the epoch.
        before: ours, before asking.
        after: ours, after the answer.
    """
    # The service's answer lies somewhere between, and was cut to a second.
    skew = before - (told + 1) if before > told + 1 else min(0.0, after - told)
    mend = "set the clock: timedatectl set-ntp true, or the host's time service"
    if abs(skew) >= SKEW_REFUSED_SECONDS:
        return failed("clock", f"{skew:+.0f} s off: AWS refuses signatures", mend)
    if abs(skew) >= SKEW_SECONDS:
        return warning("clock", f"{skew:+.0f} s off: lag and ages are wrong by that much", mend)
    return ok("clock", f"within {max(1.0, abs(skew)):.0f} s of the service's")
