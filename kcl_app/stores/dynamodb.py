"""DynamoDB as a store.

Conditional writes go 25 to a call by BatchExecuteStatement (PartiQL): each statement has its own condition and its own
outcome, at the write units of single writes and a fraction of their client cost. An INSERT fails on a key that is
there and an UPDATE … WHERE on one that is not, which is just what `Put.expect` says.

A write that is sent again after its answer was lost (`kcl_app.stores.calls` does once) may find itself written, and is
then told to be in conflict. That is safe, since whoever meets a conflict reads again and decides again: a revision
equal to one's own is a replay, a document of one's own is computed once more, and a letter that is there is sent. A
transaction is sent again with the same token, so DynamoDB itself knows it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app import backoff
from processors.errors import Retry

from .base import Key, Outcome, Put, Row, Store, Table
from .calls import Calls
from .dynamodb_json import batch, condition, only, statement, to_key, to_row, to_value
from .recovery import BUSY, CONFLICT, code_of, is_busy, raise_if_never_sent, translated

STATEMENTS = 25
"""Statements of one BatchExecuteStatement call, at most."""
CALL_BYTES = 4_000_000
"""JSON of one BatchExecuteStatement call, at most (a single larger statement goes alone): DynamoDB takes 16 MB."""
BATCH_GET = 100
ATTEMPTS = 8
"""Tries of a throttled statement before the batch as a whole waits."""
PATIENCE_SECONDS = 60.0
"""How long one call is tried again. With what the last try may take (two connections and two answers, at the limits
that `aws.connect_timeout_seconds` and `aws.read_timeout_seconds` set), no call takes longer than two minutes."""

Observe = Callable[[str, str], None]
"""Told of each call: operation, and `ok`, `throttled`, `conflict` or `lost`."""
Units = Callable[[str, Literal["read", "write"], float], None]
"""Told what an answer says that it cost: the table (`Table.setting`), which units, and how many."""
_READS = frozenset({"Query", "BatchGetItem", "Scan"})


class DynamoDBStore(Store):
    """The tables in DynamoDB.

    Args:
        calls: carries out calls, with finite timeouts.
        names: table names, by `Table.setting`.
        observe: told of each call, for metrics.
        units: told of the units that calls cost, for metrics.
        parallel: how many write calls may be under way at once.
        sleep: waits between tries, in seconds.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        calls: Calls,
        names: Mapping[str, str],
        observe: Observe | None = None,
        parallel: int = 8,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        units: Units | None = None,
    ) -> None:
        self._carry_out = calls
        self._units = units
        self._monotonic = monotonic
        self._names = {table: names[table.setting] for table in Table}
        self._settings = {names[table.setting]: table.setting for table in Table}
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
            "ReturnConsumedCapacity": "TOTAL",
            "TableName": self._names[table],
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": {"S": pk}},
            "ConsistentRead": True,
        }
        if between is not None:
            request["KeyConditionExpression"] += " AND sk BETWEEN :first AND :last"
            request["ExpressionAttributeValues"] |= {":first": {"S": between[0]}, ":last": {"S": between[1]}}
        request |= only(attributes)
        rows: list[Row] = []
        while True:
            answer = self._read("Query", request)
            rows.extend(to_row(item) for item in answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                return rows
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def get(self, table: Table, keys: Collection[Key]) -> dict[Key, Row]:
        name = self._names[table]
        found: dict[Key, Row] = {}
        pending = [to_key(key) for key in dict.fromkeys(keys)]
        attempt = 0
        while attempt < ATTEMPTS:
            if not pending:
                return found
            now, later = pending[:BATCH_GET], pending[BATCH_GET:]
            wanted = {name: {"Keys": now, "ConsistentRead": True}}
            answer = self._read("BatchGetItem", {"ReturnConsumedCapacity": "TOTAL", "RequestItems": wanted})
            for item in answer["Responses"].get(name, []):
                row = to_row(item)
                found[str(row["pk"]), str(row["sk"])] = row
            left = answer.get("UnprocessedKeys", {}).get(name, {}).get("Keys", [])
            if len(left) == len(now):  # not even one: it is busy
                self._wait(attempt)
                attempt += 1
            pending = [*left, *later]
        raise Retry("DynamoDB leaves keys unprocessed (BatchGetItem)")

    def scan(self, table: Table, attributes: Sequence[str] | None = None) -> Iterator[Row]:
        request: dict[str, Any] = {
            "ReturnConsumedCapacity": "TOTAL",
            "TableName": self._names[table],
            "ConsistentRead": True,
        }
        request |= only(attributes)
        while True:
            answer = self._read("Scan", request)
            yield from (to_row(item) for item in answer["Items"])
            if not answer.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def write(self, puts: Sequence[Put]) -> list[Outcome]:
        under_way: list[Future[list[Outcome]]] = []
        last: list[tuple[Table, str]] = []
        try:
            for chunk in self._chunks(puts):
                if last:
                    under_way.append(self._pool.submit(self._write_chunk, last))
                last = chunk
            of_last = self._write_chunk(last) if last else []  # by this thread, which would only wait
        finally:
            # All are waited for even if one fails: no write may be under way when the batch decides again.
            wait(under_way)
        return [outcome for future in under_way for outcome in future.result()] + of_last

    def _chunks(self, puts: Sequence[Put]) -> Iterator[list[tuple[Table, str]]]:
        """The statements of each call, each with the table that it is for."""
        chunk: list[tuple[Table, str]] = []
        size = 0
        for put in puts:
            one = statement(self._names[put.table], put)
            if chunk and (len(chunk) == STATEMENTS or size + len(one) > CALL_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append((put.table, one))
            size += len(one)
        if chunk:
            yield chunk

    def _write_chunk(self, chunk: Sequence[tuple[Table, str]]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        pending = list(range(len(chunk)))
        for attempt in self._tries():
            request = batch(chunk[index][1] for index in pending)
            try:
                answer = self._calls("BatchExecuteStatement", request)
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
                return [outcomes[index] for index in range(len(chunk))]
            throttled = []
            for index, response in zip(pending, answer["Responses"], strict=True):
                problem = response.get("Error")
                outcome = Outcome.APPLIED if problem is None else self._outcome(chunk[index][0], problem)
                if outcome is None:
                    throttled.append(index)
                else:
                    outcomes[index] = outcome
            self._observe("BatchExecuteStatement", "throttled" if throttled else "ok")
            if not throttled:
                return [outcomes[index] for index in range(len(chunk))]
            pending = throttled
            self._wait(attempt)
        if outcomes:
            # Some statements of the call were done: say so, and let those that were not be decided again. Not as
            # conflicts, which would say that there is a row.
            return [outcomes.get(index, Outcome.UNKNOWN) for index in range(len(chunk))]
        raise Retry("DynamoDB throttles writes (BatchExecuteStatement)")

    def _outcome(self, table: Table, problem: Mapping[str, Any]) -> Outcome | None:
        """What a statement's own error comes to; None: it was throttled.

        Raises:
            Exception: that of an error which is no outcome.
        """
        code = problem.get("Code", "")
        if code in CONFLICT:
            return Outcome.CONFLICT
        if code in BUSY:
            return None
        if "size" in problem.get("Message", "").lower():
            return Outcome.TOO_LARGE
        raise translated("DynamoDB", f"a write to {self._names[table]}", code)

    def transact(self, puts: Sequence[Put]) -> Outcome:
        items = []
        for put in puts:
            item = {name: to_value(value) for name, value in put.row.items()}
            expected = condition(put.table.version, put.expect)
            items.append({"Put": {"TableName": self._names[put.table], "Item": item, **expected}})
        for attempt in self._tries():
            try:
                request = {
                    "ReturnConsumedCapacity": "TOTAL",
                    "TransactItems": items,
                    "ClientRequestToken": str(uuid.uuid4()),
                }
                self._calls("TransactWriteItems", json.dumps(request).encode())
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
            "ReturnConsumedCapacity": "TOTAL",
            "TableName": self._names[table],
            "Key": to_key(key),
            **condition(table.version, expect),
        }
        for attempt in self._tries():
            try:
                self._calls("DeleteItem", json.dumps(request).encode())
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

    def _read(self, operation: str, request: dict[str, Any]) -> Any:
        """A read, tried again while it is throttled."""
        for attempt in self._tries():
            try:
                answer = self._calls(operation, json.dumps(request).encode())
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

    def _calls(self, operation: str, body: bytes) -> Any:
        """One call; what its answer says that it cost is told."""
        answer = self._carry_out(operation, body)
        told = answer.get("ConsumedCapacity") if self._units else None
        if told and self._units:
            kind: Literal["read", "write"] = "read" if operation in _READS else "write"
            sums: dict[str, float] = {}
            for one in told if isinstance(told, list) else [told]:
                name = self._settings.get(one["TableName"].rpartition("/")[2])
                if name is not None:
                    sums[name] = sums.get(name, 0.0) + float(one.get("CapacityUnits", 0.0))
            for name, units in sums.items():
                self._units(name, kind, units)
        return answer

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
