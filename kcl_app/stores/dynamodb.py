"""DynamoDB as a store.

Conditional writes go 25 to a call by BatchExecuteStatement (PartiQL): each statement has its own condition and its own
outcome, at the write units of single writes and a fraction of their client cost. An INSERT fails on a key that is
there and an UPDATE … WHERE on one that is not, which is just what `Put.expect` says.

A write that is sent again after its answer was lost, here or within botocore, may find itself written, and is then
told to be in conflict. That is safe, since whoever meets a conflict reads again and decides again: a revision equal to
one's own is a replay, a document of one's own is computed once more, and a letter that is there is sent. A transaction
is sent again with the same token (botocore adds it), so DynamoDB itself knows it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app import backoff
from processors.errors import Retry

from .base import Blobs, Key, Outcome, Put, Row, Store, Table, Value
from .recovery import BUSY, CONFLICT, code_of, is_busy, raise_if_never_sent, translated

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

STATEMENTS = 25
"""Statements of one BatchExecuteStatement call, at most."""
BATCH_GET = 100
ATTEMPTS = 6
"""Tries of a throttled statement before the batch as a whole waits."""
PATIENCE_SECONDS = 60.0
"""How long one call is tried again. With what the last try may take (botocore's two connections and two answers, at the
limits that `aws.connect_timeout_seconds` and `aws.read_timeout_seconds` set), no call takes longer than two minutes."""

Observe = Callable[[str, str], None]
"""Told of each call: operation, and `ok`, `throttled`, `conflict` or `lost`."""


class DynamoDBStore(Store):
    """The tables in DynamoDB.

    Args:
        client: with finite timeouts.
        names: table names, by `Table.setting`.
        observe: told of each call, for metrics.
        parallel: how many write calls may be under way at once.
        sleep: waits between tries, in seconds.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        names: Mapping[str, str],
        observe: Observe | None = None,
        parallel: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._monotonic = monotonic
        self._names = {table: names[table.setting] for table in Table}
        self._observe: Observe = observe or (lambda operation, outcome: None)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="dynamodb")
        self._sleep = sleep

    def query(
        self,
        table: Table,
        pk: str,
        between: tuple[str, str] | None = None,
        attributes: Sequence[str] | None = None,
    ) -> list[Row]:
        request: dict[str, Any] = {
            "TableName": self._names[table],
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": True,
        }
        if between is not None:
            request["KeyConditionExpression"] += " AND sk BETWEEN :first AND :last"
            request["ExpressionAttributeValues"] |= {":first": {"S": between[0]}, ":last": {"S": between[1]}}
        request |= _only(attributes)
        rows: list[Row] = []
        while True:
            answer = self._call("Query", self._client.query, request)
            rows.extend(_row(item) for item in answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                return rows
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        name = self._names[table]
        found: dict[Key, Row] = {}
        pending = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in dict.fromkeys(keys)]
        attempt = 0
        while attempt < ATTEMPTS:
            if not pending:
                return found
            now, later = pending[:BATCH_GET], pending[BATCH_GET:]
            answer = self._call(
                "BatchGetItem",
                self._client.batch_get_item,
                {"RequestItems": {name: {"Keys": now, "ConsistentRead": True}}},
            )
            for item in answer["Responses"].get(name, []):
                row = _row(item)
                found[str(row["pk"]), str(row["sk"])] = row
            left = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
            if len(left) == len(now):  # not even one: it is busy
                self._wait(attempt)
                attempt += 1
            pending = [*left, *later]
        raise Retry("DynamoDB leaves keys unprocessed (BatchGetItem)")

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        request: dict[str, Any] = {"TableName": self._names[table], "ConsistentRead": True}
        request |= _only(attributes)
        while True:
            answer = self._call("Scan", self._client.scan, request)
            yield from (_row(item) for item in answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        chunks = [puts[start : start + STATEMENTS] for start in range(0, len(puts), STATEMENTS)]
        if len(chunks) == 1:
            return self._write_chunk(chunks[0])
        outcomes: list[Outcome] = []
        futures = [self._pool.submit(self._write_chunk, chunk) for chunk in chunks]
        # All are waited for even if one fails: no write may be under way when the batch decides again.
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        for future in futures:
            outcomes.extend(future.result())
        return outcomes

    def _write_chunk(self, puts: Sequence[Put]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        pending = list(range(len(puts)))
        for attempt in self._tries():
            statements = [self._statement(puts[index]) for index in pending]
            try:
                answer = self._client.batch_execute_statement(Statements=statements)  # type: ignore[arg-type]
            except ClientError as error:
                if is_busy(error):
                    self._observe("BatchExecuteStatement", "throttled")
                    self._wait(attempt)
                    continue
                raise translated("DynamoDB", "BatchExecuteStatement", code_of(error)) from error
            except BotoCoreError as error:
                raise_if_never_sent("DynamoDB", error)
                self._observe("BatchExecuteStatement", "lost")
                outcomes.update(dict.fromkeys(pending, Outcome.UNKNOWN))
                return [outcomes[index] for index in range(len(puts))]
            throttled = []
            for index, response in zip(pending, answer["Responses"], strict=True):
                problem = response.get("Error")
                if problem is None:
                    outcomes[index] = Outcome.APPLIED
                elif (code := problem.get("Code", "")) in CONFLICT:
                    outcomes[index] = Outcome.CONFLICT
                elif code in BUSY:
                    throttled.append(index)
                elif "size" in problem.get("Message", "").lower():
                    outcomes[index] = Outcome.TOO_LARGE
                else:
                    where = f"a write to {self._names[puts[index].table]}"
                    raise translated("DynamoDB", where, code)
            self._observe("BatchExecuteStatement", "throttled" if throttled else "ok")
            if not throttled:
                return [outcomes[index] for index in range(len(puts))]
            pending = throttled
            self._wait(attempt)
        if outcomes:
            # Some statements of the call were done: say so, and let those that were not be decided again. Not as
            # conflicts, which would say that there is a row.
            return [outcomes.get(index, Outcome.UNKNOWN) for index in range(len(puts))]
        raise Retry("DynamoDB throttles writes (BatchExecuteStatement)")

    def _statement(self, put: Put) -> dict[str, Any]:
        name = self._names[put.table]
        if put.expect is None:
            fields = ", ".join(f"'{column}': ?" for column in put.row)
            return {
                "Statement": f'INSERT INTO "{name}" VALUE {{{fields}}}',
                "Parameters": [_value(value) for value in put.row.values()],
            }
        columns = [column for column in put.row if column not in ("pk", "sk")]
        sets = " ".join(f'SET "{column}"=?' for column in columns)
        return {
            "Statement": f'UPDATE "{name}" {sets} WHERE "pk"=? AND "sk"=? AND "{put.table.version}"=?',
            "Parameters": [_value(put.row[column]) for column in columns]
            + [{"S": put.key[0]}, {"S": put.key[1]}, {"S": put.expect}],
        }

    def transact(self, puts: Sequence[Put]) -> Outcome:
        items = []
        for put in puts:
            condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
            if put.expect is not None:
                condition = {
                    "ConditionExpression": "#v = :v",
                    "ExpressionAttributeNames": {"#v": put.table.version},
                    "ExpressionAttributeValues": {":v": {"S": put.expect}},
                }
            item = {name: _value(value) for name, value in put.row.items()}
            items.append({"Put": {"TableName": self._names[put.table], "Item": item, **condition}})
        for attempt in self._tries():
            try:
                self._client.transact_write_items(TransactItems=items)  # type: ignore[arg-type]
            except ClientError as error:
                code = code_of(error)
                if code == "TransactionCanceledException":
                    reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                    if reasons & {"ConditionalCheckFailed", "TransactionConflict"} or not reasons - {
                        "None",
                        None,
                    }:
                        self._observe("TransactWriteItems", "conflict")
                        return Outcome.CONFLICT
                    if "ValidationError" in reasons:
                        return Outcome.TOO_LARGE
                elif code == "ValidationException":
                    return Outcome.TOO_LARGE
                elif not is_busy(error):
                    raise translated("DynamoDB", "TransactWriteItems", code_of(error)) from error
                self._observe("TransactWriteItems", "throttled")
                self._wait(attempt)
            except BotoCoreError as error:
                raise_if_never_sent("DynamoDB", error)
                self._observe("TransactWriteItems", "lost")
                return Outcome.UNKNOWN
            else:
                self._observe("TransactWriteItems", "ok")
                return Outcome.APPLIED
        raise Retry("DynamoDB throttles writes (TransactWriteItems)")

    def delete(self, table: Table, key: Key, expect: str) -> Outcome:
        request: dict[str, Any] = {
            "TableName": self._names[table],
            "Key": {"pk": {"S": key[0]}, "sk": {"S": key[1]}},
            "ConditionExpression": "#v = :v",
            "ExpressionAttributeNames": {"#v": table.version},
            "ExpressionAttributeValues": {":v": {"S": expect}},
        }
        for attempt in self._tries():
            try:
                self._client.delete_item(**request)
            except ClientError as error:
                code = code_of(error)
                if code in CONFLICT:
                    self._observe("DeleteItem", "conflict")
                    return Outcome.CONFLICT
                if not is_busy(error):
                    where = f"DeleteItem of {self._names[table]}"
                    raise translated("DynamoDB", where, code_of(error)) from error
                self._observe("DeleteItem", "throttled")
                self._wait(attempt)
            except BotoCoreError as error:
                raise_if_never_sent("DynamoDB", error)
                self._observe("DeleteItem", "lost")
                return Outcome.UNKNOWN
            else:
                self._observe("DeleteItem", "ok")
                return Outcome.APPLIED
        raise Retry("DynamoDB throttles writes (DeleteItem)")

    def _call(self, operation: str, function: Callable[..., Any], request: dict[str, Any]) -> Any:
        """A read, tried again while it is throttled."""
        for attempt in self._tries():
            try:
                answer = function(**request)
            except ClientError as error:
                if not is_busy(error):
                    tables = ", ".join(
                        [request["TableName"]] if "TableName" in request else request["RequestItems"]
                    )
                    raise translated("DynamoDB", f"{operation} of {tables}", code_of(error)) from error
                self._observe(operation, "throttled")
                self._wait(attempt)
            except BotoCoreError as error:
                raise_if_never_sent("DynamoDB", error)
                self._observe(operation, "lost")
                raise Retry(f"DynamoDB cannot be reached ({type(error).__name__})") from error
            else:
                self._observe(operation, "ok")
                return answer
        raise Retry(f"DynamoDB throttles reads ({operation})")

    def _tries(self) -> Iterator[int]:
        """Numbers of tries of one call, as long as there is patience."""
        start = self._monotonic()
        for attempt in range(ATTEMPTS):
            if attempt and self._monotonic() - start > PATIENCE_SECONDS:
                return
            yield attempt

    def _wait(self, attempt: int) -> None:
        """Exponential backoff with full jitter, 50 ms to 3 s."""
        self._sleep(backoff.pause(attempt, 3.0, base=0.05, least=0.0))


class S3Blobs(Blobs):
    """Blobs in an S3 bucket.

    Args:
        client: with finite timeouts.
        bucket: its name.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, data: bytes) -> None:
        with self._translated("take a dead letter"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        with self._translated("give a dead letter"):
            try:
                data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    return None
                raise
            return data

    def delete(self, key: str) -> None:
        with self._translated("delete a dead letter"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise translated(f"S3 bucket {self._bucket}", f"to {what}", code_of(error)) from error
        except BotoCoreError as error:
            raise_if_never_sent("S3", error)
            raise Retry(f"S3 cannot be reached ({type(error).__name__})") from error


def _only(attributes: Sequence[str] | None) -> dict[str, Any]:
    """What a read is asked for no more than these attributes with."""
    if attributes is None:
        return {}
    return {
        "ProjectionExpression": ", ".join(f"#{index}" for index in range(len(attributes))),
        "ExpressionAttributeNames": {f"#{index}": name for index, name in enumerate(attributes)},
    }


def _value(value: Value) -> dict[str, Any]:
    if value is None:
        return {"NULL": True}
    return {"S": value} if isinstance(value, str) else {"N": str(value)}


def _row(item: Mapping[str, Any]) -> Row:
    row: Row = {}
    for name, typed in item.items():
        if "S" in typed:
            row[name] = typed["S"]
        elif "N" in typed:
            row[name] = int(typed["N"])
        else:
            row[name] = None
    return row
