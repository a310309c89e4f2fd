"""Spans as they are written down, and the check of what plugins return."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.errors import Reject
from processors.spans import Span, check_spans, encode_spans, in_order
from processors.times import day_intervals

DAY = date(2026, 3, 9)
ZONE = "America/New_York"  # UTC-4 on that day: 04:00Z to 04:00Z
EASTERN = timezone(timedelta(hours=-4))


def at(hour: int, minute: int = 0) -> datetime:
    """A time of the day, by the clock on its wall."""
    return datetime(2026, 3, 9, tzinfo=EASTERN) + timedelta(hours=hour, minutes=minute)


SPAN = Span(at(9), at(10))


def another(**fields: Any) -> Span:
    """The span with other fields, right or wrong."""
    return SPAN._replace(**fields)


def test_spans_are_published_in_utc() -> None:
    span = Span(at(9), at(10, 30), "l1", ("new", "old"), 3)
    assert span.as_json() == {
        "start": "2026-03-09T13:00:00Z",
        "end": "2026-03-09T14:30:00Z",
        "location_id": "l1",
        "service_types": ["new", "old"],
        "capacity": 3,
    }
    assert SPAN.as_json()["location_id"] is None
    assert json.loads(encode_spans([span, SPAN], 10_000)) == [span.as_json(), SPAN.as_json()]
    assert encode_spans([], 2) == "[]"


@pytest.mark.parametrize("location", ["l", "é", "\U0001f600"])
def test_a_document_is_limited_by_its_bytes(location: str) -> None:
    spans = [Span(at(9), at(10), location * 50)]
    size = len(json.dumps([s.as_json() for s in spans], separators=(",", ":"), ensure_ascii=False).encode())
    assert len(encode_spans(spans, size).encode()) == size
    with pytest.raises(Reject) as refused:
        encode_spans(spans, size - 1)
    assert refused.value.reason == "document_too_large"
    assert location * 2 not in refused.value.detail


SPANS = st.builds(
    Span,
    st.sampled_from([at(9), at(9, 30)]),
    st.sampled_from([at(10), at(11)]),
    st.sampled_from([None, "", "l1", "l2"]),
    st.sampled_from([(), ("a",), ("a", "b")]),
    st.integers(1, 3),
)


@given(st.lists(SPANS, max_size=8), st.randoms(use_true_random=False))
def test_there_is_one_order_of_spans(spans: list[Span], chance: random.Random) -> None:
    shuffled = list(spans)
    chance.shuffle(shuffled)
    assert in_order(spans) == in_order(shuffled)
    assert [s.start for s in in_order(spans)] == sorted(s.start for s in spans)


@pytest.mark.parametrize(
    "spans",
    [
        [],
        (),
        [SPAN],
        [Span(at(0), at(24))],
        [Span(at(9), at(10)), Span(at(10), at(11))],
        [Span(at(9), at(10), "l1"), Span(at(9), at(10), "l2")],
        [Span(at(9), at(10), None, ("a",)), Span(at(8), at(10), None, ("b",))],
        [Span(at(9).astimezone(UTC), at(10))],
    ],
)
def test_sensible_spans_are_accepted_and_put_in_order(spans: Any) -> None:
    assert check_spans(spans, day_intervals(ZONE, DAY)) == in_order(spans)


@pytest.mark.parametrize(
    ("spans", "what"),
    [
        (None, "are not a list of Span"),
        ("SECRET", "are not a list of Span"),
        ({"SECRET": 1}, "are not a list of Span"),
        ((span for span in [SPAN]), "are not a list of Span"),
        ([tuple(SPAN)], "are not a list of Span"),
        ([SPAN.as_json()], "are not a list of Span"),
        ([another(start="SECRET")], "have times that are not aware datetimes"),
        ([another(start=at(9).replace(tzinfo=None))], "have times that are not aware datetimes"),
        ([another(end=DAY)], "have times that are not aware datetimes"),
        ([another(end=at(9))], "end before they start"),
        ([another(end=at(8))], "end before they start"),
        ([another(start=at(-1))], "reach outside the local day"),
        ([another(end=at(24, 1))], "reach outside the local day"),
        ([Span(at(25), at(26))], "reach outside the local day"),
        ([Span(at(10), at(11)), Span(at(9), at(10))], "overlap or are not sorted"),
        ([Span(at(9), at(11)), Span(at(10), at(12))], "overlap or are not sorted"),
        ([SPAN, SPAN], "overlap or are not sorted"),
        ([another(location_id=5)], "have a location_id that is not a text"),
        ([another(service_types=["SECRET"])], "have service_types that are not a tuple of texts"),
        ([another(service_types=(1,))], "have service_types that are not a tuple of texts"),
        ([another(service_types="SECRET")], "have service_types that are not a tuple of texts"),
        ([another(capacity=0)], "have a capacity below one"),
        ([another(capacity=True)], "have a capacity below one"),
        ([another(capacity=1.5)], "have a capacity below one"),
        ([another(capacity="SECRET")], "have a capacity below one"),
    ],
)
def test_nonsense_is_refused_without_repeating_it(spans: Any, what: str) -> None:
    with pytest.raises(Reject) as refused:
        check_spans(spans, day_intervals(ZONE, DAY))
    assert (refused.value.reason, refused.value.detail) == ("plugin_nonsense", f"the plugin's spans {what}")


@pytest.mark.parametrize(
    ("zone", "day", "start", "end", "fits"),
    [
        # 25 hours in autumn, 23 in spring; no minute of a date that never was.
        ("America/New_York", "2026-11-01", "2026-11-01T04:00:00+00:00", "2026-11-02T05:00:00+00:00", True),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00:00+00:00", "2026-03-09T04:00:00+00:00", True),
        ("America/New_York", "2026-03-08", "2026-03-08T05:00:00+00:00", "2026-03-09T05:00:00+00:00", False),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00+00:00", "2011-12-30T11:00:00+00:00", False),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00+00:00", "2011-12-31T10:00:00+00:00", True),
        # In two pieces, an hour of the day before between them.
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00+00:00", "2010-11-07T02:31:00+00:00", True),
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30:00+00:00", "2010-11-07T04:00:00+00:00", False),
    ],
)
def test_the_local_day_is_that_of_the_wall_clock(
    zone: str, day: str, start: str, end: str, fits: bool
) -> None:
    spans = [Span(datetime.fromisoformat(start), datetime.fromisoformat(end))]
    if fits:
        assert check_spans(spans, day_intervals(zone, date.fromisoformat(day))) == tuple(spans)
    else:
        with pytest.raises(Reject):
            check_spans(spans, day_intervals(zone, date.fromisoformat(day)))
