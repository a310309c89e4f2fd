"""What plugins return, checked and copied into values of the core's own types, exactly.

A plugin may return anything: values whose attributes raise, whose comparisons hang, that say something else each time
they are asked. So each is looked at once, within the limit of the call, and what goes on is built anew from plain
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from processors.envelope import CONTROL_CHARACTERS
from processors.errors import Reject
from processors.impacts import Instants, LocalDates, intervals_of
from processors.items import BODIES, Body, ItemChange, body_from_json
from processors.keys import id_fits
from processors.revisions import MAX_VERSION
from processors.spans import Span, check_spans
from processors.times import Interval

MAX_PROVIDERS = 50
"""Providers that one item may name: their copies are written in one DynamoDB transaction, which holds 100."""

MAX_CHANGES = 1000
"""Items that one event may change."""

MAX_EVENT_PROVIDERS = 1000
"""Providers that one event may name: each that is new gets a document for every day of the horizon."""

MAX_SPANS = 4000
"""Spans of one provider-day: no document holds as many, since each takes a hundred bytes."""

MAX_TOUCHED = 1000
"""What one call of `impact` may return; past that it is every day."""

MAX_CAPACITY = 1_000_000


class Nonsense(Exception):  # noqa: N818
    """A plugin returned what cannot be; the message says what, and holds nothing of it."""


def gone_through(returned: object) -> tuple[object, ...]:
    """What `decode` returned, one by one, to one more than may be: an iterator without an end must come to one."""
    if not isinstance(returned, Iterable):
        raise Nonsense("decode returned nothing to go through")
    return tuple(islice(returned, MAX_CHANGES + 1))


def checked_changes(changes: tuple[object, ...], trusted: bool) -> tuple[ItemChange, ...]:
    """The item changes of an event.

    Args:
        changes: whatever `decode` returned.
        trusted: bodies are known to be validated: the plugin is one of ours.

    Raises:
        Nonsense: they cannot be.
        Reject: they are more, or larger, than a table holds.
    """
    if len(changes) > MAX_CHANGES:
        raise Reject("too_large", f"the event changes more than {MAX_CHANGES} items")
    named: set[str] = set()
    seen: set[tuple[str, str]] = set()
    checked: list[ItemChange] = []
    for given in changes:
        if type(given) is not ItemChange:
            raise Nonsense("decode returned something other than ItemChange")
        change = _change(given, trusted)
        if (change.kind, change.id) in seen:
            raise Nonsense("decode returned two changes of one item")
        seen.add((change.kind, change.id))
        named.update(change.providers)
        if len(named) > MAX_EVENT_PROVIDERS:
            raise Reject("too_large", f"the event names more than {MAX_EVENT_PROVIDERS} providers")
        checked.append(change)
    return tuple(checked)


def _change(given: ItemChange, trusted: bool) -> ItemChange:
    body = _body(given.body, trusted)
    version: object = given.version
    if not isinstance(version, int) or isinstance(version, bool):
        raise Nonsense("decode returned a version that is not an integer")
    version = int.__index__(version)
    if not 0 <= version < MAX_VERSION:
        raise Reject("invalid_data", f"version: must lie between 0 and {MAX_VERSION - 1}")
    providers: object = given.providers
    if type(providers) is not tuple:
        raise Nonsense("decode returned providers that are not a tuple")
    if len(providers) > MAX_PROVIDERS:
        raise Reject("too_large", f"the item names more than {MAX_PROVIDERS} providers")
    id_ = _id("an id", given.id)
    named = tuple(_id("a provider id", provider) for provider in providers)
    if not named and body.counts:
        raise Nonsense("decode returned an item of no provider that is not withdrawn")
    if trusted:
        return given
    return ItemChange(id_, body, named, version)


def _body(body: Any, trusted: bool) -> Body:
    """A body as it will be read back; one made past its validation would make its provider unreadable for ever."""
    kind = type(body)
    if kind not in BODIES.values():
        raise Nonsense("decode returned a body that is none of the API's")
    if trusted:
        return body  # type: ignore[no-any-return]
    try:
        again = body_from_json(kind.kind, kind.model_dump_json(body, exclude_defaults=True, warnings="error"))
        same = again == body
    except ValueError:
        same = False
    if not same:
        raise Nonsense("decode returned a body that is not valid")
    return again


def _id(what: str, given: object) -> str:
    if not isinstance(given, str):
        raise Nonsense(f"decode returned {what} that is not a text")
    text = str.__str__(given)
    if not text:
        raise Nonsense(f"decode returned {what} that is empty")
    if CONTROL_CHARACTERS.search(text):
        raise Reject("invalid_data", f"{what} holds control characters")
    if not id_fits(text):
        raise Reject("too_large", f"{what} is too long")
    return text


def checked_impact(returned: Any) -> tuple[Interval, ...] | None:
    """What `impact` returned, as instants; None for every day.

    Raises:
        Nonsense: it cannot be: too little would be computed again.
    """
    touched = tuple(islice(returned, MAX_TOUCHED + 1))
    if len(touched) > MAX_TOUCHED:
        return None
    clean = [_touched(one) for one in touched]
    return intervals_of(clean)


def _touched(one: Any) -> Any:
    if type(one) is Instants:
        start, end = _utc(one.start), _utc(one.end)
        if start is None or end is None or end < start:
            raise Nonsense("impact returned instants that are none")
        return Instants(start, end)
    if type(one) is LocalDates:
        first, last = one.first, one.last
        if not (issubclass(type(first), date) and issubclass(type(last), date)):
            raise Nonsense("impact returned dates that are none")
        first, last = (date(day.year, day.month, day.day) for day in (first, last))
        if last < first:
            raise Nonsense("impact returned dates that are none")
        return LocalDates(first, last)
    return one


def checked_spans(returned: object, within: Sequence[Interval] | None) -> tuple[Span, ...]:
    """The spans of a provider-day.

    Args:
        returned: whatever `spans` returned.
        within: the instants of the local day; None where any will do.

    Raises:
        Nonsense: they cannot be.
        Reject: they are more than a document holds.
    """
    if not isinstance(returned, list | tuple):
        raise Nonsense("spans are not a list of Span")
    given: tuple[object, ...] = tuple(islice(returned, MAX_SPANS + 1))
    if len(given) > MAX_SPANS:
        raise Reject("document_too_large", f"the provider-day has more than {MAX_SPANS} spans")
    try:
        return check_spans([_span(one) for one in given], within)
    except Reject as reject:
        raise Nonsense(reject.detail.removeprefix("the plugin's ")) from None


def _span(given: Any) -> Span:
    if type(given) is not Span:
        raise Nonsense("spans are not a list of Span")
    start, end = _utc(given.start), _utc(given.end)
    if start is None or end is None:
        raise Nonsense("spans have times that are not aware datetimes")
    location, services, capacity = given.location_id, given.service_types, given.capacity
    if isinstance(location, str):
        location = str.__str__(location)
    if isinstance(services, tuple):
        services = tuple(str.__str__(one) if isinstance(one, str) else one for one in services)
    if isinstance(capacity, int) and not isinstance(capacity, bool):
        capacity = int.__index__(capacity)
        if capacity > MAX_CAPACITY:
            raise Nonsense(f"spans have a capacity above {MAX_CAPACITY}")
    return Span(start, end, location, services, capacity)


def _utc(given: Any) -> datetime | None:
    """The same instant as a plain datetime in UTC; None for what is no aware datetime."""
    if type(given) is datetime and given.tzinfo is UTC:
        return given
    if not issubclass(type(given), datetime) or given.utcoffset() is None:
        return None
    at = given.astimezone(UTC)
    if type(at) is datetime:
        return at
    if issubclass(type(at), datetime):
        return datetime(at.year, at.month, at.day, at.hour, at.minute, at.second, at.microsecond, UTC)
    return None
