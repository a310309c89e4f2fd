"""The availability engine against a brute-force reading of its rules, over generated calendars."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
from calendars import MINUTE, Calendar, calendars, documents, item_of
from hypothesis import given, note, settings
from hypothesis import strategies as st
from oracle import Free, spans_between_edges, spans_on_grid

from processors.availability import spans_of_day
from processors.impacts import Change, days_touched, intervals_of, touched_by
from processors.items import Availability, body_from_json
from processors.spans import check_spans

ODD = timedelta(seconds=1, microseconds=7)
"""A step that no minute is a multiple of."""


def engine(calendar: Calendar) -> list[Free]:
    """The engine's answer, in the oracle's terms."""
    return [Free(*span) for span in spans_of_day(calendar.day, calendar.items(), calendar.zone)]


@settings(deadline=None, max_examples=400)
@given(calendars())
def test_spans_are_those_of_the_rules_read_minute_by_minute(calendar: Calendar) -> None:
    note(json.dumps(calendar.docs, indent=1))
    assert engine(calendar) == spans_on_grid(calendar.docs, calendar.day, calendar.zone, calendar.step)


@settings(deadline=None, max_examples=150)
@given(calendars(step=timedelta(seconds=61)))
def test_times_with_seconds_are_exact(calendar: Calendar) -> None:
    note(json.dumps(calendar.docs, indent=1))
    assert engine(calendar) == spans_between_edges(calendar.docs, calendar.day, calendar.zone)


@settings(deadline=None, max_examples=40)
@given(calendars(step=15 * MINUTE))
def test_both_ways_to_read_the_rules_agree(calendar: Calendar) -> None:
    by_minutes = spans_on_grid(calendar.docs, calendar.day, calendar.zone, calendar.step)
    assert by_minutes == spans_between_edges(calendar.docs, calendar.day, calendar.zone)


@settings(deadline=None, max_examples=100)
@given(calendars(), st.randoms(use_true_random=False))
def test_the_order_of_items_does_not_matter(calendar: Calendar, chance: random.Random) -> None:
    docs = list(calendar.docs)
    chance.shuffle(docs)
    assert engine(calendar) == engine(calendar._replace(docs=docs))
