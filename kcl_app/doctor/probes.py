"""Each action of IAM in a form that changes nothing.

A read is a read, of a key that is nobody's. A write is conditional on what cannot be, or names a key that no table
takes: AWS looks at permissions first, so an answer that the condition does not hold says that the write is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from kcl_app.doctor.cloud import Clients
from kcl_app.doctor.needs import KCL_TABLES, NOT_TRIED, OF_THE_KCL, OWNER_INDEX, TABLES, Need, On, name_of
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NOBODY = "kcl-app-doctor"
"""A key that is nobody's."""
_NEVER = {"ConditionExpression": "attribute_exists(#key) AND attribute_not_exists(#key)"}
_WRONG_DIGEST = "AAAAAAAAAAAAAAAAAAAAAA=="
"""Of nothing that could be sent."""

Call = Callable[[], Any]


@dataclass(frozen=True)
class Probe:
    """One action tried.

    Attributes:
        action: as IAM names it.
        call: tries it.
    """

    action: str
    call: Call


def probes(need: Need, settings: Settings, clients: Clients) -> list[Probe]:
    """What tries each action of a statement, but for those that cannot be tried.

    Args:
        need: the statement.
        settings: how things are named.
        clients: make the calls.
    """
    name = name_of(need.on, settings)
    if need.on is On.STREAM:
        calls = _stream(clients, name)
    elif need.on in (On.BUCKET, On.OBJECTS):
        calls = _bucket(clients, name)
    elif need.on in OF_THE_KCL:
        calls = _kcl_table(clients.kcl_dynamodb, need.on, name)
    else:
        assert need.on in TABLES
        calls = _table(clients.dynamodb, name)
    return [
        Probe(action, calls[action.partition(":")[2]]) for action in need.actions if action not in NOT_TRIED
    ]


def _stream(clients: Clients, name: str) -> dict[str, Call]:
    kinesis = clients.kinesis
    shards: list[str] = []
    iterators: list[str] = []

    def list_shards() -> None:
        shards.extend(one["ShardId"] for one in kinesis.list_shards(StreamName=name, MaxResults=1)["Shards"])

    def get_iterator() -> None:
        shard = (shards or ["shardId-000000000000"])[0]
        answer = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType="LATEST")
        iterators.append(answer["ShardIterator"])

    def get_records() -> None:
        if not iterators:
            raise PreflightError("there is no iterator to read with")
        kinesis.get_records(ShardIterator=iterators[0], Limit=1)

    return {
        "DescribeStreamSummary": partial(kinesis.describe_stream_summary, StreamName=name),
        "ListShards": list_shards,
        "GetShardIterator": get_iterator,
        "GetRecords": get_records,
    }


def _table(dynamodb: DynamoDBClient, name: str) -> dict[str, Call]:
    key = {"pk": {"S": NOBODY}, "sk": {"S": "-"}}
    never: dict[str, Any] = {**_NEVER, "ExpressionAttributeNames": {"#key": "pk"}}

    def statement(text: str) -> None:
        (answer,) = dynamodb.batch_execute_statement(Statements=[{"Statement": text}])["Responses"]
        if error := answer.get("Error"):
            code, message = str(error.get("Code", "")), str(error.get("Message", ""))
            raise ClientError({"Error": {"Code": code, "Message": message}}, "BatchExecuteStatement")

    query: dict[str, Any] = {
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": NOBODY}},
    }
    # No table takes an empty key.
    insert = f"INSERT INTO \"{name}\" VALUE {{'pk': '', 'sk': '-'}}"
    where = f"pk = '{NOBODY}' AND sk = '-' AND reason = 'never'"
    update = f"UPDATE \"{name}\" SET reason = 'never' WHERE {where}"
    put: Any = {"TableName": name, "Item": key, **never}
    return {
        "DescribeTable": partial(dynamodb.describe_table, TableName=name),
        "DescribeTimeToLive": partial(dynamodb.describe_time_to_live, TableName=name),
        "DescribeContinuousBackups": partial(dynamodb.describe_continuous_backups, TableName=name),
        "Query": partial(dynamodb.query, TableName=name, Limit=1, **query),
        "BatchGetItem": partial(dynamodb.batch_get_item, RequestItems={name: {"Keys": [key]}}),
        "Scan": partial(dynamodb.scan, TableName=name, Limit=1),
        "PartiQLInsert": partial(statement, insert),
        "PartiQLUpdate": partial(statement, update),
        # In a transaction, as a worker does; its permissions are those of its parts.
        "PutItem": partial(dynamodb.transact_write_items, TransactItems=[{"Put": put}]),
        "DeleteItem": partial(dynamodb.delete_item, TableName=name, Key=key, **never),
    }


def _kcl_table(dynamodb: DynamoDBClient, on: On, name: str) -> dict[str, Call]:
    if on is On.LEASES_BY_OWNER:
        query: Any = {
            "TableName": name.partition("/")[0],
            "IndexName": OWNER_INDEX,
            "KeyConditionExpression": "leaseOwner = :nobody",
            "ExpressionAttributeValues": {":nobody": {"S": NOBODY}},
            "Limit": 1,
        }
        return {"Query": partial(dynamodb.query, **query)}
    key = KCL_TABLES[on]
    nobody = {key: {"S": NOBODY}}
    never: dict[str, Any] = {**_NEVER, "ExpressionAttributeNames": {"#key": key}}
    removed: dict[str, Any] = {
        **_NEVER,
        "UpdateExpression": "REMOVE #never",
        "ExpressionAttributeNames": {"#key": key, "#never": "never"},
    }
    return {
        "DescribeTable": partial(dynamodb.describe_table, TableName=name),
        "GetItem": partial(dynamodb.get_item, TableName=name, Key=nobody),
        "Scan": partial(dynamodb.scan, TableName=name, Limit=1),
        "PutItem": partial(dynamodb.put_item, TableName=name, Item=nobody, **never),
        "UpdateItem": partial(dynamodb.update_item, TableName=name, Key=nobody, **removed),
        "DeleteItem": partial(dynamodb.delete_item, TableName=name, Key=nobody, **never),
    }


def _bucket(clients: Clients, name: str) -> dict[str, Call]:
    s3 = clients.s3
    # What comes with a wrong digest is not kept.
    put: Any = {"Bucket": name, "Key": NOBODY, "Body": b"never", "ContentMD5": _WRONG_DIGEST}
    return {
        "ListBucket": partial(s3.head_bucket, Bucket=name),
        "GetObject": partial(s3.get_object, Bucket=name, Key=NOBODY),
        "PutObject": partial(s3.put_object, **put),
    }
