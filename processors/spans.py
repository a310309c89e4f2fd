"""The answer: bookable spans of a provider-day, and how they are written down."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from . import times
from .errors import Reject


class Span(NamedTuple):
    """A maximal bookable interval of one offer.

    Attributes:
        start: aware, included.
        end: aware, not included.
        location_id: where, or None.
        service_types: for what; sorted.
        capacity: places left.
    """

    start: datetime
    end: datetime
    location_id: str | None = None
    service_types: tuple[str, ...] = ()
    capacity: int = 1

    def as_json(self) -> dict[str, Any]:
        """As published: UTC times with a Z."""
        fields: dict[str, Any] = json.loads(self.json_text())
        return fields

    def json_text(self) -> str:
        """As it is stored: the text of `as_json`."""
        offer = _offer_text(self.location_id, self.service_types, self.capacity)
        return f'{{"start":"{_time_text(self.start)}","end":"{_time_text(self.end)}",{offer}}}'


_time_text = lru_cache(maxsize=8192)(times.utc_text)


@lru_cache(maxsize=4096)
def _offer_text(location_id: str | None, service_types: tuple[str, ...], capacity: int) -> str:
    """The fields of a span's offer as JSON; the same ones come with many spans."""
    fields = {"location_id": location_id, "service_types": service_types, "capacity": capacity}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False)[1:-1]


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans in the one order they are stored and shown in."""

    def key(s: Span) -> tuple[datetime, datetime, bool, str, tuple[str, ...], int]:
        return s.start, s.end, s.location_id is not None, s.location_id or "", s.service_types, s.capacity

    return tuple(sorted(spans, key=key))


def encode_spans(spans: Sequence[Span], limit: int) -> str:
    """The stored JSON of a provider-day's spans.

    Raises:
        Reject: longer than `limit` bytes.
    """
    text = f"[{','.join([span.json_text() for span in spans])}]"
    if len(text) * 4 > limit and (size := len(text.encode())) > limit:
        raise Reject(
            "document_too_large", f"the spans of the provider-day take {size} bytes; the limit is {limit}"
        )
    return text


def check_spans(spans: object, within: Sequence[times.Interval] | None) -> tuple[Span, ...]:
    """The spans that a plugin returned, if they make sense.

    Args:
        spans: whatever it returned.
        within: the instants of the local day; None where any will do.

    Raises:
        Reject: not spans, without a zone, outside the local day, unsorted, or overlapping within one offer.
    """

    def nonsense(what: str) -> Reject:
        return Reject("plugin_nonsense", f"the plugin's spans {what}")

    if not isinstance(spans, list | tuple):
        raise nonsense("are not a list of Span")
    last: dict[tuple[str | None, tuple[str, ...]], datetime] = {}
    for span in spans:
        if not isinstance(span, Span):
            raise nonsense("are not a list of Span")
        if not (_aware(span.start) and _aware(span.end)):
            raise nonsense("have times that are not aware datetimes")
        if span.end <= span.start:
            raise nonsense("end before they start")
        _check_offer(span, nonsense)
        start, end = times.instant(span.start), times.instant(span.end)
        if within is not None and not any(low <= start and end <= high for low, high in within):
            raise nonsense("reach outside the local day")
        offer = (span.location_id, span.service_types)
        if offer in last and span.start < last[offer]:
            raise nonsense("overlap or are not sorted")
        last[offer] = span.end
    return in_order(spans)


def _aware(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _check_offer(span: Span, nonsense: Any) -> None:
    if span.location_id is not None and not _is_text(span.location_id):
        raise nonsense("have a location_id that is not a text")
    if not (isinstance(span.service_types, tuple) and all(map(_is_text, span.service_types))):
        raise nonsense("have service_types that are not a tuple of texts")
    if not isinstance(span.capacity, int) or isinstance(span.capacity, bool) or span.capacity < 1:
        raise nonsense("have a capacity below one")


def _is_text(value: object) -> bool:
    """Whether it is a text that can be stored: no lone surrogates, and no longer than the bodies' texts."""
    if not isinstance(value, str) or len(value) > 256:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
