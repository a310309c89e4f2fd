"""One clean pass: the newest revision of each item wins, in whatever order events come."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import date
from typing import Any

from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app.engine.clean_pass import CleanPass
from processors.envelope import Limits, Record

TODAY = date(2026, 3, 9)
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def host(zone: str = "UTC") -> PluginHost:
    """A host with the standard plugin, for every tenant but one."""
    registry = Registry()
    registry.add(StandardPlugin(), "tests", "1")
    return PluginHost(registry, lambda name: None if name == "unknown" else Tenant(zone, {}))


def line(number: int, type_: str, data: dict[str, Any], **over: Any) -> bytes:
    """An event, accepted as the number says."""
    envelope = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "s",
        "type": type_,
        "time": f"2026-03-01T00:00:{number:02d}Z",
        "tenant": "acme",
        "emr": "standard",
        "data": data,
    }
    return json.dumps(envelope | over).encode()


def hours(provider: str = "p1", **over: Any) -> dict[str, Any]:
    """Nine to noon, every day."""
    weekly = [{"days": WEEK, "start": "09:00", "end": "12:00"}]
    return {"id": f"wh-{provider}", "provider_id": provider, "weekly": weekly} | over


def booked(provider: str, start: int, **over: Any) -> dict[str, Any]:
    """An hour taken."""
    times = {"start": f"2026-03-09T{start:02d}:00:00Z", "end": f"2026-03-09T{start + 1:02d}:00:00Z"}
    return {"id": "ap-1", "provider_id": provider, **times, "status": "booked"} | over


def answers(
    lines: Iterable[bytes], limits: Limits | None = None, zone: str = "UTC"
) -> tuple[dict[str, Any], list[str]]:
    """Today's spans by provider, and the reasons of the rejects."""
    clean, reasons = CleanPass(host(zone), limits or Limits()), []
    for number, data in enumerate(lines, start=1):
        record = Record(data, sequence_number=str(number))
        reasons += [reject.reason for reject in clean.take(record)]
    days = {
        one.provider.provider: one.stale.reason
        if one.stale
        else [f"{span.start:%H:%M}-{span.end:%H:%M}" for span in one.spans]
        for one in clean.days(lambda zone: TODAY, 1)
    }
    return days, reasons


def test_the_newest_revision_wins_in_every_order() -> None:
    lines = [
        line(1, "working_hours", hours()),
        line(2, "working_hours", hours("p2")),
        line(3, "appointment", booked("p1", 9)),
        line(4, "appointment", booked("p2", 10)),
        line(5, "appointment", booked("p1", 11)),
    ]
    for order in itertools.permutations(lines):
        assert answers(order) == ({"p1": ["09:00-11:00"], "p2": ["09:00-12:00"]}, [])


def test_the_same_revision_twice_counts_once() -> None:
    event = line(1, "working_hours", hours())
    assert answers([event, event, event]) == ({"p1": ["09:00-12:00"]}, [])


def test_a_withdrawal_that_names_nobody_stays_with_whoever_has_the_item() -> None:
    lines = [
        line(1, "working_hours", hours()),
        line(2, "appointment", booked("p1", 9)),
        line(3, "appointment", {"id": "ap-1", "status": "cancelled"}),
    ]
    for order in itertools.permutations(lines):
        assert answers(order)[0] == {"p1": ["09:00-12:00"]}


def test_a_provider_is_known_once_an_event_names_it_whatever_became_of_the_event() -> None:
    limits = Limits(items_per_provider=0)
    days, reasons = answers([line(1, "working_hours", hours("p9"))], limits)
    assert (days, reasons) == ({"p9": []}, ["too_many_items"])


def test_rejects_are_values_and_change_nothing() -> None:
    lines = [
        line(1, "working_hours", hours()),
        b"{",
        line(2, "appointment", booked("p1", 9), tenant="unknown"),
        line(3, "appointment", booked("p1", 9), emr="nobody"),
        line(4, "appointment", {"id": "x"}),
        line(5, "other", {}),
    ]
    days, reasons = answers(lines)
    assert days == {"p1": ["09:00-12:00"]}
    assert reasons == ["not_json", "unknown_tenant", "unknown_emr", "invalid_data", "invalid_data"]


def test_the_items_of_a_provider_are_limited_and_a_newer_revision_is_no_further_item() -> None:
    limits = Limits(items_per_provider=2)
    lines = [
        line(1, "working_hours", hours()),
        line(2, "appointment", booked("p1", 9)),
        line(3, "appointment", booked("p1", 10, id="ap-2")),
        line(4, "appointment", booked("p1", 11)),
        line(5, "appointment", booked("p2", 11)),  # handed over: there is room again
        line(6, "appointment", booked("p1", 10, id="ap-3")),
    ]
    days, reasons = answers(lines, limits)
    assert reasons == ["too_many_items"]
    assert days["p1"] == ["09:00-10:00", "11:00-12:00"]


def test_a_day_that_cannot_be_stored_is_stale() -> None:
    limits = Limits(document_bytes=10)
    assert answers([line(1, "working_hours", hours())], limits)[0] == {"p1": "document_too_large"}


def test_days_run_from_today_in_the_zone_of_each_provider_and_are_sorted() -> None:
    clean = CleanPass(host("Asia/Tokyo"), Limits())
    for number, (tenant, provider, zone) in enumerate(
        [("b", "p1", "UTC"), ("a", "p2", None), ("a", "p1", "America/New_York")], start=1
    ):
        data = hours(provider, time_zone=zone)
        assert clean.take(Record(line(number, "working_hours", data, tenant=tenant), str(number))) == []
    todays = {"UTC": TODAY, "Asia/Tokyo": date(2026, 3, 10), "America/New_York": date(2026, 3, 8)}
    found = [
        (one.provider.tenant, one.provider.provider, one.day) for one in clean.days(todays.__getitem__, 2)
    ]
    assert found == [
        ("a", "p1", date(2026, 3, 8)),
        ("a", "p1", date(2026, 3, 9)),
        ("a", "p2", date(2026, 3, 10)),
        ("a", "p2", date(2026, 3, 11)),
        ("b", "p1", date(2026, 3, 9)),
        ("b", "p1", date(2026, 3, 10)),
    ]


def test_lines_without_a_sequence_count_in_their_order() -> None:
    same = {"time": "2026-03-01T00:00:00Z"}
    first = line(1, "working_hours", hours(), **same)
    second = line(2, "working_hours", hours(weekly=[]), **same)
    assert answers([first, second])[0] == {"p1": []}
    assert answers([second, first])[0] == {"p1": ["09:00-12:00"]}
