"""Bytes → event: the CloudEvents 1.0 envelope round one message of an EMR.

Source: CloudEvents 1.0, JSON event format (structured mode), with the extension attributes `tenant`, `emr` and
`sequence` (the last is CloudEvents' own extension).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .errors import SAID, Reject, explain
from .items import read_instant
from .revisions import kinesis_sequence
from .values import value


@dataclass(frozen=True)
class Limits:
    """Sizes past which input is rejected rather than carried.

    Attributes:
        record_bytes: one record on the stream (Kinesis takes 1 MiB).
        depth: nesting of a record's JSON.
        string_chars: the longest single string in a record's JSON.
        items_per_provider: live items of one provider; more is an error in the feed.
        document_bytes: the spans of one provider-day as JSON (a DynamoDB item holds 400 KB in all).
    """

    record_bytes: int = 512 * 1024
    depth: int = 32
    string_chars: int = 256 * 1024
    items_per_provider: int = 20_000
    document_bytes: int = 380_000


CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters (Unicode's Cc), line separators and lone surrogates: they have no place in names and ids."""


_NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
"""The same for the validator, which is not Python: in its texts there are no lone surrogates."""
_SAID = SAID | {"string_pattern_mismatch": "must not hold control characters"}


def _rfc3339(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 text")
    return read_instant(value)


Name = Annotated[str, Field(min_length=1, max_length=128, pattern=_NO_CONTROL_CHARACTERS)]
Identifier = Annotated[str, Field(min_length=1, max_length=512, pattern=_NO_CONTROL_CHARACTERS)]


class Event(BaseModel):
    """One event on the stream.

    Attributes:
        specversion: ``1.0``.
        id: unique together with `source`.
        source: ``/tenants/<tenant>``.
        type: the EMR's own event type.
        time: when it happened at the source (RFC 3339 with an offset); required here.
        tenant: whose data it is.
        emr: which plugin's format `data` is in.
        subject: the provider whose shard it travels on.
        sequence: the order of acceptance; sorts as a string.
        data: the message, JSON or text.
        data_base64: the message where it is binary, instead of `data`.
    """

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Identifier
    source: Identifier
    type: Identifier
    time: Annotated[datetime, BeforeValidator(_rfc3339)]
    tenant: Name
    emr: Name
    subject: Identifier | None = None
    sequence: Name | None = None
    datacontenttype: Annotated[str, Field(max_length=256)] | None = None
    data: Any = None
    data_base64: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Event:
        tenant, source = self.tenant, self.source
        plain = source == f"/tenants/{tenant}" and "%" not in tenant and "/" not in tenant
        if not plain and source.startswith("/tenants/"):
            # What is no UTF-8 becomes lone surrogates, which no tenant's name holds.
            named = unquote(source.split("/")[2], errors="surrogateescape")
            if named != tenant:
                raise ValueError("source names another tenant than the attribute tenant does")
        if self.data is not None and self.data_base64 is not None:
            raise ValueError("data and data_base64 exclude each other")
        return self

    def payload(self) -> Any:
        """The EMR's message: JSON values or text from `data`, or the bytes of `data_base64`."""
        if self.data_base64 is None:
            return self.data
        try:
            return base64.b64decode(self.data_base64, validate=True)
        except (binascii.Error, ValueError):
            raise Reject("invalid_envelope", "data_base64: not base64") from None


@value
class Record:
    """One record as it came from the stream, de-aggregated.

    Attributes:
        data: the bytes.
        sequence_number: Kinesis' own, unique in its shard; decimal text.
        sub_sequence_number: the place in a KPL-aggregated record, else 0.
        partition_key: the Kinesis partition key.
        arrival: when the stream took it, in seconds since the epoch.
    """

    data: bytes
    sequence_number: str = "0"
    sub_sequence_number: int = 0
    partition_key: str = ""
    arrival: float = 0.0

    def sequence(self) -> str:
        """The `sequence` that an event without one gets."""
        return kinesis_sequence(self.sequence_number, self.sub_sequence_number)


def read_event(data: bytes, limits: Limits) -> Event:
    """The event in a record.

    Raises:
        Reject: not JSON, not a CloudEvents envelope as described here, or larger than the limits.
    """
    if len(data) > limits.record_bytes:
        raise Reject("too_large", f"the record has {len(data)} bytes; the limit is {limits.record_bytes}")
    try:
        event = Event.model_validate_json(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if problems[0]["type"] == "json_invalid":
            why = "the record is not a JSON text in UTF-8, or is nested too deeply to be read"
            raise Reject("not_json", why) from None
        raise Reject("invalid_envelope", explain(error, said=_SAID)) from None
    if len(data) > limits.string_chars or data.count(b"{") + data.count(b"[") > limits.depth:
        check_size(event.data if event.data_base64 is None else event.data_base64, limits)
    return event


def check_size(value: Any, limits: Limits) -> None:
    """Raise a Reject where JSON is nested too deeply or holds too long a string."""
    pending = [(value, 2)]  # the envelope itself is the first level
    while pending:
        node, depth = pending.pop()
        if isinstance(node, str):
            if len(node) > limits.string_chars:
                raise Reject("too_large", f"data: a string is longer than {limits.string_chars} characters")
        elif isinstance(node, dict | list):
            if depth > limits.depth:
                raise Reject("too_large", f"data: nested more than {limits.depth} levels deep")
            children = [*node.keys(), *node.values()] if isinstance(node, dict) else node
            pending.extend((child, depth + 1) for child in children)
