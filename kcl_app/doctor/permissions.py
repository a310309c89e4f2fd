"""Whether the credentials may do what a worker does, found out by doing it so that nothing changes.

A read is a read. A write is conditional on what cannot be, or names a key that no table takes: AWS looks at permissions
first, so an answer that the condition does not hold says that the write is allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app.doctor.checks import Check, failed, ok, skipped
from kcl_app.doctor.cloud import Clients
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings
from kcl_app.worker import preflight

NOBODY = "kcl-app-doctor"
"""A key that is nobody's."""
_NEVER = "attribute_exists({0}) AND attribute_not_exists({0})"
_REFUSED = frozenset(
    {
        "BadDigest",
        "ConditionalCheckFailed",
        "ConditionalCheckFailedException",
        "InvalidDigest",
        "NoSuchKey",
        "PreconditionFailed",
        "TransactionCanceledException",
        "ValidationError",
        "ValidationException",
    }
)
"""Errors that come after the question of permission."""


@dataclass(frozen=True)
class Probe:
    """One action tried.

    Attributes:
        action: as IAM names it.
        call: tries it.
    """

    action: str
    call: Callable[[], Any]


@dataclass(frozen=True)
class Denied:
    """An action that is denied.

    Attributes:
        action: as IAM names it.
        resource: its ARN, where AWS says so, or what it is.
        by: what AWS says of the reason, such as an explicit deny; empty where it does not.
    """

    action: str
    resource: str
    by: str = ""


def denied_by(error: ClientError, action: str, resource: str) -> Denied | None:
    """What is denied, if the error says that something is.

    Args:
        error: of a call.
        action: that was tried.
        resource: that it was tried on, for a person.
    """
    told = error.response.get("Error", {})
    if told.get("Code") not in (*preflight.DENIED, "AccessDenied", "KMSAccessDeniedException"):
        return None
    message = " ".join(str(told.get("Message", "")).split())
    # Such as: User: ARN is not authorized to perform: kms:Decrypt on resource: ARN because no … policy allows …
    match = re.search(r"not authorized to perform: (\S+)(?: on resource: (\S+))?(?: because (.*))?", message)
    if match is None:
        return Denied(action, resource)
    return Denied(match[1], (match[2] or resource).strip('"'), (match[3] or "").rstrip("."))


def tried(probe: Probe, what: str, settings: Settings) -> Denied | None:
    """Try one action.

    Args:
        probe: the action.
        what: it is tried on, for a person.
        settings: where AWS is.

    Raises:
        PreflightError: it failed for another reason than permission.
    """
    try:
        probe.call()
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError):
            if found := denied_by(error, probe.action, what):
                return found
            if error.response.get("Error", {}).get("Code") in _REFUSED:
                return None
        failure = error

        def again() -> None:
            raise failure

        preflight.ask(settings, what, again)
    return None


def check(what: str, probes: Sequence[Probe], settings: Settings) -> Iterator[Check]:
    """Try all actions on one thing.

    Args:
        what: for a person, such as ``table scheduling-items``.
        probes: the actions.
        settings: where AWS is.
    """
    name = f"permissions: {what}"
    denied = []
    for probe in probes:
        try:
            if found := tried(probe, what, settings):
                denied.append(found)
        except PreflightError as error:
            yield skipped(name, f"{probe.action} could not be tried: {error.wrong}", error.mend)
            return
    allowed = [probe.action for probe in probes]
    if not denied:
        yield ok(name, ", ".join(_short(allowed)))
        return
    shown = "; ".join(f"{one.action} on {one.resource}{f' ({one.by})' if one.by else ''}" for one in denied)
    yield failed(name, f"denied: {shown}", f"add to the role's policy: {statement(denied)}")


def statement(denied: Sequence[Denied]) -> str:
    """The statement that a policy lacks."""
    resources = sorted({one.resource if one.resource.startswith("arn:") else "*" for one in denied})
    return json.dumps(
        {"Effect": "Allow", "Action": sorted({one.action for one in denied}), "Resource": resources}
    )


def _short(actions: Sequence[str]) -> list[str]:
    """Actions with their service named once."""
    service = actions[0].partition(":")[0] if actions else ""
    return [actions[0], *(action.removeprefix(f"{service}:") for action in actions[1:])]


def stream(settings: Settings, clients: Clients) -> list[Probe]:
    """What the KCL does with the stream."""
    name, kinesis = settings.stream.name, clients.kinesis
    shards: list[str] = []
    iterators: list[str] = []

    def list_shards() -> None:
        shards.extend(one["ShardId"] for one in kinesis.list_shards(StreamName=name, MaxResults=1)["Shards"])

    def get_iterator() -> None:
        answer = kinesis.get_shard_iterator(
            StreamName=name,
            ShardId=(shards or ["shardId-000000000000"])[0],
            ShardIteratorType="LATEST",
        )
        iterators.append(answer["ShardIterator"])

    def get_records() -> None:
        if iterators:
            kinesis.get_records(ShardIterator=iterators[0], Limit=1)

    return [
        Probe("kinesis:DescribeStreamSummary", partial(kinesis.describe_stream_summary, StreamName=name)),
        Probe("kinesis:ListShards", list_shards),
        Probe("kinesis:GetShardIterator", get_iterator),
        Probe("kinesis:GetRecords", get_records),
    ]


def table(clients: Clients, name: str) -> list[Probe]:
    """What a worker does with one of its tables."""
    dynamodb = clients.dynamodb
    key = {"pk": {"S": NOBODY}, "sk": {"S": "-"}}

    def statement(text: str) -> None:
        (answer,) = dynamodb.batch_execute_statement(Statements=[{"Statement": text}])["Responses"]
        if error := answer.get("Error"):
            code, message = str(error.get("Code", "")), str(error.get("Message", ""))
            raise ClientError({"Error": {"Code": code, "Message": message}}, "BatchExecuteStatement")

    def transact() -> None:
        never = _NEVER.format("pk")
        dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": name, "Item": key, "ConditionExpression": never}}]
        )

    return [
        Probe(
            "dynamodb:Query",
            partial(
                dynamodb.query,
                TableName=name,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": NOBODY}},
                Limit=1,
            ),
        ),
        Probe(
            "dynamodb:BatchGetItem",
            partial(dynamodb.batch_get_item, RequestItems={name: {"Keys": [key]}}),
        ),
        Probe("dynamodb:Scan", partial(dynamodb.scan, TableName=name, Limit=1)),
        # No table takes an empty key.
        Probe(
            "dynamodb:PartiQLInsert",
            partial(statement, f"INSERT INTO \"{name}\" VALUE {{'pk': '', 'sk': '-'}}"),
        ),
        Probe(
            "dynamodb:PartiQLUpdate",
            partial(
                statement,
                f"UPDATE \"{name}\" SET reason = 'never' WHERE pk = '{NOBODY}' AND sk = '-' AND reason = 'never'",
            ),
        ),
        Probe("dynamodb:PutItem", transact),
    ]


def kcl_table(clients: Clients, name: str, key: str) -> list[Probe]:
    """What the KCL does with a table of its own."""
    dynamodb = clients.kcl_dynamodb
    nobody = {key: {"S": NOBODY}}
    never: dict[str, Any] = {
        "ConditionExpression": _NEVER.format("#key"),
        "ExpressionAttributeNames": {"#key": key},
    }

    def update() -> None:
        names = {"#key": key, "#never": "never"}
        dynamodb.update_item(
            TableName=name,
            Key=nobody,
            UpdateExpression="REMOVE #never",
            ConditionExpression=_NEVER.format("#key"),
            ExpressionAttributeNames=names,
        )

    return [
        Probe("dynamodb:GetItem", partial(dynamodb.get_item, TableName=name, Key=nobody)),
        Probe("dynamodb:Scan", partial(dynamodb.scan, TableName=name, Limit=1)),
        Probe("dynamodb:PutItem", partial(dynamodb.put_item, TableName=name, Item=nobody, **never)),
        Probe("dynamodb:UpdateItem", update),
        Probe("dynamodb:DeleteItem", partial(dynamodb.delete_item, TableName=name, Key=nobody, **never)),
    ]


def bucket(settings: Settings, clients: Clients) -> list[Probe]:
    """What a worker does with the bucket. The digest is that of nothing that could be sent, so nothing is kept."""
    name, s3 = settings.tables.dead_letter_bucket, clients.s3
    wrong = "AAAAAAAAAAAAAAAAAAAAAA=="
    return [
        Probe(
            "s3:PutObject", partial(s3.put_object, Bucket=name, Key=NOBODY, Body=b"never", ContentMD5=wrong)
        ),
    ]
