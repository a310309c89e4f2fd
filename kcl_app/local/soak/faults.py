"""What the proxy does to a call: which faults there are, and the answers that AWS gives when it cannot.

Pure: a call and a random number generator in, a decision out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kcl_app.local.soak.messages import Message, answer

THROTTLE, LOSE, DELAY, DROP, LATE = "throttle", "lose answers", "delay", "drop connections", "write late"
MODES = (THROTTLE, LOSE, DELAY, DROP, LATE)

CHANCES = {THROTTLE: 0.3, LOSE: 0.12, DELAY: 0.5, DROP: 0.12, LATE: 0.06}
"""The fraction of calls that a fault meets while it is on."""
LONGEST_DELAY = 1.5
"""Seconds that a delayed call is held up, at most."""
HTTP2_CHANCE = 0.05
"""The fraction of pieces of an HTTP/2 connection, which carries many calls, that a fault meets."""

_WRITES = ("BatchExecuteStatement", "TransactWriteItems", "UpdateItem", "PutItem", "DeleteItem")
_STATEMENT_CODES = (
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "InternalServerError",
)
_CODES = ("ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded")


@dataclass(frozen=True, slots=True)
class Call:
    """A call of AWS: the service (`DynamoDB` or `Kinesis`; empty for others), the operation, the request."""

    service: str
    operation: str
    request: Message

    @classmethod
    def of(cls, request: Message) -> Call:
        """What a request calls."""
        target, _, operation = request.header("x-amz-target").partition(".")
        service = next((name for name in ("DynamoDB", "Kinesis") if target.startswith(name)), "")
        return cls(service, operation, request)

    @property
    def writes(self) -> bool:
        """Whether it writes to a table."""
        return self.service == "DynamoDB" and self.operation in _WRITES


@dataclass(slots=True)
class Decision:
    """What to do with a call.

    Attributes:
        fault: one of `MODES`; None to pass it on as it is.
        before: seconds to wait before the cloud gets it.
        instead: the answer that the client gets at once; the cloud gets nothing.
        forward: what the cloud gets, if not the request itself.
        merge: for the answer to `forward`: what to put into its list under ``Responses``, by place.
        unprocessed: for the answer to `forward`: what to put under ``UnprocessedKeys``.
        hang_up: the client's connection is closed: before the cloud gets the call (`DROP`), or instead of the answer.
    """

    fault: str | None = None
    before: float = 0.0
    instead: Message | None = None
    forward: Message | None = None
    merge: dict[int, dict[str, Any]] = field(default_factory=dict)
    unprocessed: dict[str, Any] = field(default_factory=dict)
    hang_up: bool = False


def decide(call: Call, modes: Sequence[str], rng: random.Random, late_seconds: float) -> Decision:
    """What becomes of a call while some faults are on.

    Args:
        call: of DynamoDB or Kinesis; any other is passed on.
        modes: the faults that are on.
        rng: chooses.
        late_seconds: how late a late write comes: later than the client waits for its answer.
    """
    if not call.service:
        return Decision()
    for mode in modes:
        if rng.random() >= CHANCES[mode]:
            continue
        if mode == THROTTLE:
            return _throttled(call, rng)
        if mode == DELAY:
            return Decision(DELAY, before=rng.uniform(0.05, LONGEST_DELAY))
        if mode == LATE and call.writes:
            return Decision(LATE, before=late_seconds + rng.uniform(0, 2))
        if mode in (LOSE, DROP):
            return Decision(mode, hang_up=True)
    return Decision()


def _throttled(call: Call, rng: random.Random) -> Decision:
    partly = rng.random() < 0.6
    if partly and call.operation == "BatchExecuteStatement":
        return _some_statements(call, rng)
    if partly and call.operation == "BatchGetItem":
        return _some_keys(call, rng)
    if partly and call.operation == "TransactWriteItems":
        return Decision(THROTTLE, instead=_cancelled(call, rng))
    if call.service == "Kinesis":
        code = (
            "ProvisionedThroughputExceededException"
            if call.operation == "GetRecords"
            else "LimitExceededException"
        )
        return Decision(THROTTLE, instead=_error(code, "application/x-amz-json-1.1"))
    code = f"com.amazonaws.dynamodb.v20120810#{rng.choice(_CODES)}"
    return Decision(THROTTLE, instead=_error(code, "application/x-amz-json-1.0"))


def _error(code: str, content_type: str) -> Message:
    body = json.dumps({"__type": code, "message": "Rate exceeded"}).encode()
    return answer(400, "Bad Request", body, content_type)


def _some_statements(call: Call, rng: random.Random) -> Decision:
    """Some statements get an error of their own; the cloud gets the others."""
    asked = json.loads(call.request.body)
    statements = asked["Statements"]
    refused = {place for place in range(len(statements)) if rng.random() < 0.4} or {0}
    merge = {
        place: {"Error": {"Code": rng.choice(_STATEMENT_CODES), "Message": "Rate exceeded"}}
        for place in refused
    }
    left = [statement for place, statement in enumerate(statements) if place not in refused]
    if not left:
        body = json.dumps({"Responses": [merge[place] for place in range(len(statements))]}).encode()
        return Decision(THROTTLE, instead=answer(200, "OK", body, "application/x-amz-json-1.0"))
    forward = call.request.with_body(json.dumps({**asked, "Statements": left}).encode())
    return Decision(THROTTLE, forward=forward, merge=merge)


def _some_keys(call: Call, rng: random.Random) -> Decision:
    """Half of the keys of one table are left unprocessed."""
    asked = json.loads(call.request.body)
    table, wanted = next(iter(asked["RequestItems"].items()))
    if len(wanted["Keys"]) < 2:
        body = json.dumps({"Responses": {}, "UnprocessedKeys": asked["RequestItems"]}).encode()
        return Decision(THROTTLE, instead=answer(200, "OK", body, "application/x-amz-json-1.0"))
    keys = list(wanted["Keys"])
    rng.shuffle(keys)
    middle = len(keys) // 2
    items = {**asked["RequestItems"], table: {**wanted, "Keys": keys[:middle]}}
    forward = call.request.with_body(json.dumps({**asked, "RequestItems": items}).encode())
    return Decision(THROTTLE, forward=forward, unprocessed={table: {**wanted, "Keys": keys[middle:]}})


def _cancelled(call: Call, rng: random.Random) -> Message:
    """A transaction called off because one of its rows is busy."""
    number = len(json.loads(call.request.body)["TransactItems"])
    busy, code = rng.randrange(number), rng.choice(("TransactionConflict", "ThrottlingError"))
    reasons = [{"Code": code if place == busy else "None"} for place in range(number)]
    body = {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{code}]",
        "CancellationReasons": reasons,
    }
    return answer(400, "Bad Request", json.dumps(body).encode(), "application/x-amz-json-1.0")


def merged(decision: Decision, given: Message) -> Message:
    """The cloud's answer to `decision.forward`, with what it was not asked put back."""
    if given.head.split(b" ", 2)[1] != b"200":
        return given
    body = json.loads(given.body)
    if decision.merge:
        rest = iter(body["Responses"])
        number = len(body["Responses"]) + len(decision.merge)
        body["Responses"] = [decision.merge.get(place) or next(rest) for place in range(number)]
    if decision.unprocessed:
        body["UnprocessedKeys"] = {**body.get("UnprocessedKeys", {}), **decision.unprocessed}
    return given.with_body(json.dumps(body).encode())
