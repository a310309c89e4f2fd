"""What each role of deploy/ecs/service.yaml allows, statement by statement, since that is what its processes call.

The installed program does not have the template, so it stands here once more; a test holds the two to each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kcl_app.settings import Settings

TEMPLATE = "deploy/ecs/service.yaml"
KEY_STATEMENT = "DataKey"
"""The statement for the key that encrypts stream, tables and bucket."""


class On(Enum):
    """What an action is done to."""

    STREAM = "stream"
    ITEMS = "items"
    SPANS = "spans"
    PROVIDERS = "providers"
    DEAD_LETTERS = "dead_letters"
    BUCKET = "bucket"
    OBJECTS = "objects"
    LEASES = "leases"
    LEASES_BY_OWNER = "leases_by_owner"
    COORDINATOR = "coordinator"
    WORKER_METRICS = "worker_metrics"


TABLES = (On.ITEMS, On.SPANS, On.PROVIDERS, On.DEAD_LETTERS)
KCL_TABLES = {On.LEASES: "leaseKey", On.COORDINATOR: "key", On.WORKER_METRICS: "wid"}
"""The tables that the KCL makes for itself, each with its key: leases, coordinator, how loaded the workers are."""
OF_THE_KCL = (*KCL_TABLES, On.LEASES_BY_OWNER)
OWNER_INDEX = "LeaseOwnerToLeaseKeyIndex"


def name_of(on: On, settings: Settings) -> str:
    """The name of a stream, table or bucket in the settings; of an index, with its table's before it."""
    application, tables = settings.stream.application, settings.tables
    if on in TABLES:
        return tables.names()[on.value]
    return {
        On.STREAM: settings.stream.name,
        On.BUCKET: tables.dead_letter_bucket,
        On.OBJECTS: tables.dead_letter_bucket,
        On.LEASES: application,
        On.LEASES_BY_OWNER: f"{application}/index/{OWNER_INDEX}",
        On.COORDINATOR: f"{application}-CoordinatorState",
        On.WORKER_METRICS: f"{application}-WorkerMetricStats",
    }[on]


def shown(on: On, settings: Settings) -> str:
    """What it is, for a person: ``table scheduling-items``."""
    kind = {On.STREAM: "stream", On.BUCKET: "bucket", On.OBJECTS: "objects of bucket"}.get(on, "table")
    return f"{'KCL ' if on in OF_THE_KCL else ''}{kind} {name_of(on, settings)}"


@dataclass(frozen=True)
class Need:
    """One statement of a role.

    Attributes:
        statement: its Sid.
        on: what its actions are done to.
        actions: as IAM names them.
    """

    statement: str
    on: On
    actions: tuple[str, ...]


@dataclass(frozen=True)
class Role:
    """A role, or a managed policy.

    Attributes:
        word: how a person calls it.
        resource: its name in the template.
        needs: its statements, but for that of the key and for those of the collector beside a worker.
    """

    word: str
    resource: str
    needs: tuple[Need, ...]

    def may(self, action: str, on: On) -> bool:
        """Whether it allows an action."""
        return any(need.on is on and action in need.actions for need in self.needs)


def _need(statement: str, on: On, actions: str) -> Need:
    service = {On.STREAM: "kinesis", On.BUCKET: "s3", On.OBJECTS: "s3"}.get(on, "dynamodb")
    return Need(statement, on, tuple(f"{service}:{action}" for action in actions.split()))


WORKER = Role(
    "worker",
    "WorkerRole",
    (
        _need("Stream", On.STREAM, "DescribeStreamSummary ListShards GetShardIterator GetRecords"),
        _need("Items", On.ITEMS, "DescribeTable Query BatchGetItem PartiQLInsert PartiQLUpdate PutItem"),
        _need("Spans", On.SPANS, "DescribeTable Query PartiQLInsert PartiQLUpdate"),
        _need("Providers", On.PROVIDERS, "DescribeTable BatchGetItem PartiQLInsert PartiQLUpdate"),
        _need("DeadLetters", On.DEAD_LETTERS, "DescribeTable BatchGetItem PartiQLInsert PartiQLUpdate"),
        _need("DeadLetterBucket", On.BUCKET, "ListBucket"),
        _need("LargeDeadLetters", On.OBJECTS, "PutObject DeleteObject"),
        _need(
            "Leases",
            On.LEASES,
            "DescribeTable GetItem Scan PutItem UpdateItem DeleteItem CreateTable UpdateTable",
        ),
        _need("LeasesByOwner", On.LEASES_BY_OWNER, "Query"),
        _need(
            "CoordinatorState",
            On.COORDINATOR,
            "DescribeTable GetItem PutItem UpdateItem DeleteItem CreateTable",
        ),
        _need("WorkerMetrics", On.WORKER_METRICS, "DescribeTable Scan UpdateItem DeleteItem CreateTable"),
    ),
)
HORIZON = Role(
    "horizon",
    "HorizonRole",
    (
        _need("Items", On.ITEMS, "Query"),
        _need("Spans", On.SPANS, "Query PartiQLInsert PartiQLUpdate"),
        _need("Providers", On.PROVIDERS, "Scan BatchGetItem PartiQLUpdate"),
        _need("DeadLetters", On.DEAD_LETTERS, "BatchGetItem PartiQLInsert PartiQLUpdate"),
    ),
)
_LOOKS = "DescribeTable DescribeTimeToLive DescribeContinuousBackups"
OPERATOR = Role(
    "operator",
    "OperatorRole",
    (
        _need("Stream", On.STREAM, "DescribeStreamSummary ListShards GetShardIterator GetRecords PutRecords"),
        _need("Items", On.ITEMS, f"{_LOOKS} Query BatchGetItem PartiQLInsert PartiQLUpdate PutItem"),
        _need("Spans", On.SPANS, f"{_LOOKS} Query Scan PartiQLInsert PartiQLUpdate"),
        _need(
            "Providers",
            On.PROVIDERS,
            "DescribeTable DescribeContinuousBackups Query BatchGetItem Scan PartiQLInsert PartiQLUpdate",
        ),
        _need(
            "DeadLetters",
            On.DEAD_LETTERS,
            f"{_LOOKS} Query BatchGetItem Scan PartiQLInsert PartiQLUpdate DeleteItem",
        ),
        _need("DeadLetterBucket", On.BUCKET, "ListBucket"),
        _need("LargeDeadLetters", On.OBJECTS, "GetObject PutObject DeleteObject"),
        _need("Leases", On.LEASES, "Scan"),
    ),
)
PRODUCER = Role("producer", "ProducerPolicy", (_need("Stream", On.STREAM, "PutRecords"),))
READER = Role("reader", "ReaderPolicy", (_need("Spans", On.SPANS, "Query"),))

ROLES = {role.word: role for role in (WORKER, HORIZON, OPERATOR, PRODUCER, READER)}

NOT_TRIED = {
    "dynamodb:CreateTable": "makes a table",
    "dynamodb:UpdateTable": "changes a table",
    "kinesis:PutRecords": "sends a record",
    "s3:DeleteObject": "leaves a mark in a bucket that keeps versions",
}
"""Actions that cannot be tried without that something is changed, and what that would be."""
