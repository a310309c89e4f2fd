"""An ingress for files: lines of CloudEvents → records on the stream.

    line → event (or refused) → stamped and split copies → lanes by partition key → PutRecords → what failed, again

The upper half is pure. The lower half sends: a few lanes, each with a thread and one call at a time. A partition key
always goes to the same lane, and a lane retries what failed before it sends anything else, so the records of one
provider stay in order except where Kinesis takes a later one of the same call and refuses an earlier one; `sequence`
puts these right.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kcl_app import backoff
from kcl_app.errors import UserError
from kcl_app.ndjson import Line
from kcl_app.settings import Settings
from processors.envelope import Event, Limits, read_event
from processors.errors import Reject
from processors.keys import ProviderKey, encode_part

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsOutputTypeDef

MAX_RECORD_BYTES = 1024 * 1024
"""Kinesis' limit for one record, its partition key included."""
MAX_CALL_RECORDS = 500
MAX_CALL_BYTES = 5 * 1024 * 1024
"""Kinesis' limits for one PutRecords call, partition keys included."""

ProvidersOf = Callable[[Event], Sequence[str]]
"""The providers that an event names; none where it cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to send, and the number of the line that it came from."""

    line: int
    partition_key: str
    data: bytes

    def size(self) -> int:
        """Bytes that count against Kinesis' limits."""
        return len(self.data) + len(self.partition_key.encode())


class Sequencer:
    """The order of acceptance, as CloudEvents' `sequence`: twenty digits that sort as a string, over runs too.

    Args:
        nanoseconds: the time since the epoch. Where it stands still or steps back, the number still grows.
    """

    def __init__(self, nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._nanoseconds = nanoseconds
        self._last = 0

    def __call__(self) -> str:
        """The next one."""
        self._last = max(self._last + 1, self._nanoseconds())
        return f"{self._last:020d}"


def prepare(line: Line, limits: Limits, providers_of: ProvidersOf, sequencer: Sequencer) -> list[Outgoing]:
    """The records that an event becomes: stamped, and one for each provider where it names no `subject`.

    All copies have the `sequence` of the event. Whatever else it holds, unknown extension attributes too, stays byte
    for byte.

    Raises:
        Reject: the line is no event, or would be too large for the stream.
    """
    if line.data is None:
        raise Reject("too_large", f"the line has more than {limits.record_bytes} bytes")
    event = read_event(line.data, limits)
    stamp = {} if event.sequence is not None else {"sequence": sequencer()}
    if event.subject is not None:
        return [_outgoing(line, event, event.subject, stamp, limits)]
    providers = list(dict.fromkeys(providers_of(event)))
    if not providers:
        return [_outgoing(line, event, None, stamp, limits)]
    records = []
    for provider in providers:
        changes = {**stamp, "subject": provider}
        if len(providers) > 1:
            changes["id"] = f"{event.id}#{encode_part(provider)}"
        record = _outgoing(line, event, provider, changes, limits)
        read_event(
            record.data, limits
        )  # an id or a provider that is too long is found here, not by the worker
        records.append(record)
    return records


def _outgoing(
    line: Line, event: Event, provider: str | None, changes: dict[str, str], limits: Limits
) -> Outgoing:
    assert line.data is not None
    key = ProviderKey(event.tenant, event.emr, event.id if provider is None else provider)
    record = Outgoing(line.number, key.partition_key(), patched(line.data, changes))
    if len(record.data) > limits.record_bytes or record.size() > MAX_RECORD_BYTES:
        most = min(limits.record_bytes, MAX_RECORD_BYTES)
        raise Reject("too_large", f"the record would have {record.size()} bytes; the limit is {most}")
    return record


def _no_number(text: str) -> None:
    """Numbers are only passed over; reading them could fail or take long where they have thousands of digits."""


_JSON = json.JSONDecoder(parse_int=_no_number, parse_float=_no_number)


def patched(data: bytes, changes: dict[str, str]) -> bytes:
    """A JSON object with some members set; the text of all others stays as it is.

    Args:
        data: the object, as `read_event` has found it to be.
        changes: texts by name of the member.

    Raises:
        Reject: not a JSON object, as far as this looks.
    """
    if not changes:
        return data
    if _new_members_only(data, changes):  # the usual case, and several times as fast
        added = ",".join(
            f'"{name}":{json.dumps(value, ensure_ascii=False)}' for name, value in changes.items()
        )
        return b"{" + added.encode() + b"," + data[1:]
    try:
        members = _members(data.decode())
    except (ValueError, IndexError, RecursionError):
        raise Reject("not_json", "the record is not a JSON text in UTF-8") from None
    for name, value in changes.items():
        members[name] = json.dumps(value, ensure_ascii=False)
    text = ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in members.items())
    return f"{{{text}}}".encode()


def _new_members_only(data: bytes, changes: dict[str, str]) -> bool:
    """Whether an object certainly has members, and none of these names, however they may be written."""
    return (
        data[:1] == b"{"
        and data[-1:] == b"}"
        and data[1:-1].strip() != b""
        and b"\\u" not in data
        and all(f'"{name}"'.encode() not in data for name in changes)
    )


_SPACE = " \t\r\n"


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object, each with the text of its value; of two with one name the last counts."""
    members: dict[str, str] = {}

    def skip(at: int) -> int:
        while text[at] in _SPACE:
            at += 1
        return at

    def expect(at: int, wanted: str) -> int:
        if text[at] != wanted:
            raise ValueError(f"not {wanted}")
        return at + 1

    at = skip(expect(skip(0), "{"))
    while text[at] != "}":
        expect(at, '"')
        name, at = _JSON.raw_decode(text, at)
        start = skip(expect(skip(at), ":"))
        _, end = _JSON.raw_decode(text, start)
        members[str(name)] = text[start:end]
        at = skip(end)
        if text[at] != "}":
            at = skip(expect(at, ","))
            expect(at, '"')
    return members


class Batch:
    """Records for one PutRecords call."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self._bytes = 0

    def add(self, record: Outgoing) -> bool:
        """Take a record, unless the call would be too large with it."""
        size = record.size()
        if len(self.records) == MAX_CALL_RECORDS or self._bytes + size > MAX_CALL_BYTES:
            return False
        self.records.append(record)
        self._bytes += size
        return True


def lane_of(partition_key: str, lanes: int) -> int:
    """Which lane a partition key goes to."""
    return zlib.crc32(partition_key.encode()) % lanes


# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retries:
    """How often, and with what pauses in seconds; a try that gets any record through starts the count again.

    The pause before try n is random between 0 and ``base * 2**n``, `cap` at most (exponential backoff, full jitter).
    """

    attempts: int = 12
    base: float = 0.1
    cap: float = 5.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return backoff.pause(failures, self.cap, base=self.base, least=0.0)


RETRIABLE = frozenset(
    {
        "ProvisionedThroughputExceededException", "InternalFailure", "InternalServerError", "ServiceUnavailable",
        "ThrottlingException", "Throttling", "KMSThrottlingException", "LimitExceededException",
        "RequestLimitExceeded",
    }
)  # fmt: skip
REFUSED_CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "ExpiredTokenException",
        "ExpiredToken", "AccessDeniedException", "MissingAuthenticationTokenException", "IncompleteSignature",
        "KMSAccessDeniedException",
    }
)  # fmt: skip


class Sender:
    """Sends records to a stream, a few calls at a time.

    Use it as a context manager: leaving it sends what is left and waits for it.

    Args:
        client: Kinesis; its calls must be safe to make from several threads, as boto3's are.
        settings: for the messages of errors.
        stream: its name.
        lanes: calls in flight at most.
        retries: of records and calls that failed.
        unsent: what to say of records that may not have been sent; `{line}` is the first one's number.

    Raises:
        UserError: from `send` and on leaving, where it cannot go on; says which lines may not have been sent.
    """

    def __init__(
        self,
        client: KinesisClient,
        settings: Settings,
        stream: str,
        *,
        lanes: int = 4,
        retries: Retries = Retries(),
        unsent: str = "lines from {line} on may not have been sent",
    ) -> None:
        self._client, self._settings, self._stream, self._retries = client, settings, stream, retries
        self._filling = [Batch() for _ in range(lanes)]
        self._queues: list[queue.Queue[Batch | None]] = [queue.Queue(maxsize=2) for _ in range(lanes)]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: UserError | None = None
        self._unsent: int | None = None
        self._unsent_text = unsent
        self.sent = 0
        self._threads = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True) for waiting in self._queues
        ]

    def __enter__(self) -> Sender:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        for index, batch in enumerate(self._filling):
            self._hand_over(index, batch)
        for waiting in self._queues:
            self._put(waiting, None)
        for thread in self._threads:
            thread.join()
        if self._error is not None and (kind is None or issubclass(kind, UserError)):
            raise self._failure() from None

    def send(self, record: Outgoing) -> None:
        """Send a record, soon; waits where the stream is slower than the input."""
        if self._error is not None:
            self._note_unsent([record])
            raise self._error
        index = lane_of(record.partition_key, len(self._filling))
        if not self._filling[index].add(record):
            self._hand_over(index, self._filling[index])
            self._filling[index] = Batch()
            self._filling[index].add(record)

    def _hand_over(self, index: int, batch: Batch) -> None:
        if batch.records and not self._put(self._queues[index], batch):
            self._note_unsent(batch.records)

    def _put(self, waiting: queue.Queue[Batch | None], batch: Batch | None) -> bool:
        while batch is None or not self._stop.is_set():
            try:
                waiting.put(batch, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def _work(self, waiting: queue.Queue[Batch | None]) -> None:
        while (batch := waiting.get()) is not None:
            pending = batch.records
            try:
                if not self._stop.is_set():
                    pending = self._send_all(pending)
            except UserError as error:
                with self._lock:
                    self._error = self._error or error
                self._stop.set()
            except Exception as error:  # a lane that died would leave its queue full for ever
                with self._lock:
                    self._error = self._error or UserError(f"sending failed: {type(error).__name__}")
                self._stop.set()
            if pending:
                self._note_unsent(pending)

    def _note_unsent(self, records: Sequence[Outgoing]) -> None:
        with self._lock:
            first = min(record.line for record in records)
            self._unsent = first if self._unsent is None else min(first, self._unsent)

    def _failure(self) -> UserError:
        assert self._error is not None
        where = "" if self._unsent is None else "; " + self._unsent_text.format(line=self._unsent)
        return UserError(f"{self._error}{where}", self._error.status)

    def _send_all(self, records: list[Outgoing]) -> list[Outgoing]:
        """Send until the stream has them all; what is left where another lane gave up."""
        failures = 0
        while True:
            failed, code = self._call(records)
            with self._lock:
                self.sent += len(records) - len(failed)
            if not failed:
                return []
            failures = failures + 1 if len(failed) == len(records) else 1
            records = failed
            if failures >= self._retries.attempts:
                raise UserError(
                    f"the stream {self._stream} takes no records ({code}, {failures} times in a row)"
                )
            if self._stop.wait(self._retries.pause(failures)):
                return records

    def _call(self, records: list[Outgoing]) -> tuple[list[Outgoing], str]:
        """One PutRecords call: the records to send again, and why."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: PutRecordsOutputTypeDef = self._client.put_records(
                StreamName=self._stream,
                Records=[{"Data": record.data, "PartitionKey": record.partition_key} for record in records],
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "?")
            if (
                code in RETRIABLE
                or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
            ):
                return records, code
            raise self._explained(code, error) from None
        except BotoCoreError as error:
            raise self._explained(type(error).__name__, error) from None
        outcomes = list(zip(records, answer["Records"], strict=True))
        failed = [record for record, outcome in outcomes if outcome.get("ErrorCode")]
        codes = {outcome["ErrorCode"] for _, outcome in outcomes if outcome.get("ErrorCode")}
        return failed, ", ".join(sorted(codes))

    def _explained(self, code: str, error: Exception) -> UserError:
        from botocore import exceptions

        endpoint, region = self._settings.aws.endpoint_url, self._settings.aws.region
        where = endpoint or f"AWS in {region}"
        start = "run `kcl-app local start`" if endpoint else "deploy deploy/ecs/data.yaml"
        if code == "ResourceNotFoundException":
            return UserError(f"there is no stream {self._stream} at {where}; {start}")
        if code in REFUSED_CREDENTIALS:
            return UserError(f"{where} refuses these credentials ({code})")
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return UserError(f"no credentials for {where} are set")
        if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
            return UserError(f"{where} cannot be reached" + (f"; {start}" if endpoint else f" ({code})"))
        return UserError(f"{where}: {' '.join(str(error).split())}")


@dataclass(frozen=True)
class Sent:
    """What became of the lines: events and records sent, lines refused."""

    events: int = 0
    records: int = 0
    refused: int = 0


def put_lines(
    lines: Iterable[Line],
    sender: Sender,
    limits: Limits,
    providers_of: ProvidersOf,
    refuse: Callable[[int, Reject], None],
    sequencer: Sequencer | None = None,
) -> Sent:
    """Send all lines that are events.

    Args:
        lines: as `read_lines` gives them.
        sender: entered here; when this returns all is sent.
        limits: sizes past which a line is refused.
        providers_of: names the providers of an event without a `subject`.
        refuse: is told of each line that is not sent, and why.
        sequencer: gives events without a `sequence` theirs.

    Raises:
        UserError: the stream cannot be reached or takes nothing.
    """
    sequencer = sequencer or Sequencer()
    done = Sent()
    with sender:
        for line in lines:
            try:
                records = prepare(line, limits, providers_of, sequencer)
            except Reject as reject:
                refuse(line.number, reject)
                done = replace(done, refused=done.refused + 1)
                continue
            for record in records:
                sender.send(record)
            done = replace(done, events=done.events + 1, records=done.records + len(records))
    return done
