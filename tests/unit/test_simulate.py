"""The simulator: the same events for the same seed, as many as asked for, all of them valid."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from emr_plugins.api import Context
from emr_plugins.standard import StandardPlugin
from kcl_app.local.simulate import DISPLACED_BY, PATTERNS, Params, simulate
from processors import times
from processors.envelope import Limits, read_event

PARAMS = Params(providers=12, days=20, events=6000, seed=7, today=date(2026, 3, 2))
MIXED = replace(PARAMS, disorder=0.05, duplicates=0.05, handovers=0.04)


def lines(params: Params) -> list[str]:
    return [json.dumps(event) for event in simulate(params)]


def item_of(event: dict[str, Any]) -> tuple[str, str]:
    """Kind and id of the item that an event changes."""
    data = event["data"]
    return event["type"], data.get("id") or f"{data['provider_id']}/{data['date']}"


def handed_over(events: Iterable[dict[str, Any]]) -> int:
    """How many events name another provider than the version before of the same item."""
    seen: dict[tuple[str, str], dict[int, str]] = {}
    for event in events:
        seen.setdefault(item_of(event), {})[event["data"]["version"]] = event["data"]["provider_id"]
    return sum(
        before != after
        for versions in seen.values()
        for before, after in pairwise(provider for _, provider in sorted(versions.items()))
    )


def test_the_same_parameters_give_the_same_events_and_another_seed_gives_others() -> None:
    assert lines(MIXED) == lines(MIXED)
    assert lines(MIXED) != lines(replace(MIXED, seed=8))


@pytest.mark.parametrize("events", [0, 1, 5, 13, 1000, 6000])
def test_the_number_of_events_is_exact_duplicates_included(events: int) -> None:
    assert len(lines(replace(MIXED, events=events, duplicates=0.3))) == events


@pytest.mark.parametrize("today", [date(2026, 3, 2), date(2026, 10, 20), date(2013, 12, 27)])
def test_every_event_is_a_valid_envelope_and_decodes_to_an_item_of_its_subject(today: date) -> None:
    plugin, context = StandardPlugin(), Context("demo", "standard", "UTC", None)
    for line in lines(replace(MIXED, today=today)):
        event = read_event(line.encode(), Limits())
        assert event.sequence is None
        (change,) = plugin.decode(event, context)
        assert change.providers == (event.subject,)
        assert change.version >= 1


def test_there_is_something_of_everything() -> None:
    events = list(simulate(PARAMS))
    assert set(Counter(event["type"] for event in events)) == {
        "working_hours", "date_override", "time_off", "appointment", "slot", "availability",
    }  # fmt: skip
    statuses = {event["data"]["status"] for event in events if event["type"] == "appointment"}
    assert {"booked", "cancelled", "noshow", "arrived", "fulfilled", "entered-in-error"} <= statuses
    hours = [e["data"] for e in events if e["type"] == "working_hours"]
    assert {"America/New_York"} < {data["time_zone"] for data in hours}
    assert {1, 2} == {
        part["capacity"]
        for event in simulate(replace(PARAMS, providers=80))
        if event["type"] == "working_hours"
        for part in event["data"]["weekly"]
    }
    time_off = [e["data"] for e in events if e["type"] == "time_off" and e["data"]["status"] == "active"]
    assert {len(data["start"]) == 10 for data in time_off} == {True, False}, "whole days, and instants"


def test_onboarding_comes_first_hours_of_everybody_before_any_appointment() -> None:
    events = list(simulate(PARAMS))
    first = next(n for n, event in enumerate(events) if event["type"] != "working_hours")
    assert {event["subject"] for event in events[:first]} == {f"p{n:05d}" for n in range(1, 13)}
    assert all(event["type"] == "appointment" for event in events[first : first + 500])


def test_without_disorder_versions_of_an_item_count_up_and_time_moves_on() -> None:
    versions: Counter[tuple[str, str]] = Counter()
    previous = ""
    for event in simulate(PARAMS):
        versions[item_of(event)] += 1
        assert event["data"]["version"] == versions[item_of(event)]
        assert event["time"] > previous
        previous = event["time"]


def test_ids_are_unique_but_for_exact_copies_placed_later() -> None:
    seen: dict[str, str] = {}
    copies = 0
    for event in simulate(MIXED):
        text = json.dumps(event)
        copies += event["id"] in seen
        assert seen.setdefault(event["id"], text) == text
    assert copies == MIXED.events * 0.05


def test_disorder_displaces_about_the_fraction_asked_for_and_not_far() -> None:
    numbers = [int(event["id"].rpartition("-")[2]) for event in simulate(replace(PARAMS, disorder=0.1))]
    late = [
        highest - number
        for number, highest in zip(numbers, _highest(numbers), strict=True)
        if number < highest
    ]
    assert 0.07 < len(late) / len(numbers) < 0.11
    assert max(late) <= DISPLACED_BY
    ordered = [int(event["id"].rpartition("-")[2]) for event in simulate(PARAMS)]
    assert ordered == sorted(ordered)


def _highest(numbers: list[int]) -> list[int]:
    found, highest = [], 0
    for number in numbers:
        highest = max(highest, number)
        found.append(highest)
    return found


def test_handovers_change_the_provider_of_about_the_fraction_asked_for() -> None:
    events = list(simulate(replace(PARAMS, handovers=0.1)))
    changes = sum(event["data"]["version"] > 1 or event["type"] == "appointment" for event in events)
    assert 0.03 < handed_over(events) / changes < 0.12
    assert handed_over(simulate(replace(PARAMS, handovers=0.0))) == 0


def test_appointments_lie_within_the_hours_of_somebody_s_working_day() -> None:
    """Booked times read, on the provider's wall clock, inside hours that a pattern has."""
    zones: dict[str, str] = {}
    earliest = min(start for pattern in PATTERNS for _, start, _ in pattern)
    for event in simulate(PARAMS):
        if event["type"] == "working_hours":
            zones[event["subject"]] = event["data"]["time_zone"]
        elif event["type"] == "appointment":
            start = read_event(json.dumps(event).encode(), Limits()).data["start"]
            assert start[11:16] >= earliest
            assert start.endswith(("-04:00", "-05:00", "-06:00", "-07:00", "-08:00"))
            times.zone(zones[event["subject"]])


@pytest.mark.parametrize(
    "wrong", [{"providers": 0}, {"days": 0}, {"events": -1}, {"duplicates": 1.0}, {"disorder": 1.5}]
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(PARAMS, **wrong)
