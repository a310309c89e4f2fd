"""`kcl-app try`: what it prints, what it refuses, and that no input value comes back in a reject."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command_line import Done, event, lines, run, run_alone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Json = Any
MARKER = "Zq7marker"
NEW_YORK = "America/New_York"
ALL_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def try_(*events: Json, today: str = "2026-03-09", horizon: int = 1, extra: tuple[str, ...] = ()) -> Done:
    return run(
        "try", "-", "--json", "--today", today, "--horizon", str(horizon), *extra, stdin=lines(*events)
    )


def spans(done: Done) -> list[list[tuple[str, str]]]:
    return [[(span["start"], span["end"]) for span in one["spans"]] for one in done.documents()]


def hours(
    start: str, end: str, zone: str | None = NEW_YORK, days: list[str] = ALL_DAYS, **over: Json
) -> Json:
    weekly = [{"days": days, "start": start, "end": end, **over.pop("weekly", {})}]
    return event(
        "working_hours", {"id": "wh-1", "provider_id": "p1", "time_zone": zone, "weekly": weekly}, **over
    )


def appointment(start: str, end: str, status: str = "booked", id_: str = "ap-1", version: int = 1) -> Json:
    data = {"id": id_, "provider_id": "p1", "version": version, "start": start, "end": end, "status": status}
    return event("appointment", data)


def test_the_document_is_exactly_as_specified() -> None:
    weekly = {"location_id": "l1", "service_types": ["new", "follow-up"], "capacity": 2}
    done = try_(
        hours("09:00", "10:00", weekly=weekly), appointment("2026-03-09T13:30:00Z", "2026-03-09T14:00:00Z")
    )
    assert (done.status, done.err) == (0, "")
    assert done.out == (
        '{"tenant":"t","emr":"standard","provider_id":"p1","date":"2026-03-09","spans":['
        '{"start":"2026-03-09T13:00:00Z","end":"2026-03-09T13:30:00Z","location_id":"l1",'
        '"service_types":["follow-up","new"],"capacity":2},'
        '{"start":"2026-03-09T13:30:00Z","end":"2026-03-09T14:00:00Z","location_id":"l1",'
        '"service_types":["follow-up","new"],"capacity":1}]}\n'
    )


def test_the_lines_to_read_are_one_a_day() -> None:
    weekly = {"location_id": "l1", "service_types": ["new"], "capacity": 2}
    done = run(
        "try", "-", "--today", "2026-03-09", "--horizon", "2",
        stdin=lines(hours("19:30", "20:30", days=["mon"], weekly=weekly)),
    )  # fmt: skip
    assert done.out == (
        "t standard p1 2026-03-09 Mon  23:30Z–03-10T00:30Z×2 [l1 new]\n"
        "t standard p1 2026-03-10 Tue  no free time\n"
    )


def test_every_day_of_the_horizon_is_there_sorted_by_tenant_emr_provider_and_date() -> None:
    events = []
    for tenant, emr, provider in [("b", "standard", "p1"), ("a", "standard", "p2"), ("a", "fhir_r4", "p9"),
                                  ("a", "standard", "p10"), ("a", "standard", "P1")]:  # fmt: skip
        data = {"id": f"wh-{provider}", "provider_id": provider, "weekly": []}
        events.append(event("working_hours", data, tenant=tenant, emr=emr, source=f"/tenants/{tenant}"))
    done = try_(*events, horizon=3)
    found = [(one["tenant"], one["emr"], one["provider_id"], one["date"]) for one in done.documents()]
    assert len(found) == 15
    assert found == sorted(found)
    assert {date for *_, date in found} == {"2026-03-09", "2026-03-10", "2026-03-11"}


def test_without_options_the_days_run_from_today_through_the_horizon_of_the_settings() -> None:
    done = run("try", "-", "--json", stdin=lines(hours("09:00", "10:00", zone="UTC")))
    dates = [one["date"] for one in done.documents()]
    assert len(dates) == 90
    assert abs(date.fromisoformat(dates[0]) - datetime.now(UTC).date()) <= timedelta(
        days=1
    )  # it may be midnight


def test_an_order_without_sequence_is_that_of_the_lines_and_revisions_go_before_it() -> None:
    book = appointment("2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z", version=2)
    late = appointment("2026-03-09T15:00:00Z", "2026-03-09T16:00:00Z", version=1)
    day = hours("09:00", "17:00")
    assert spans(try_(day, book, late)) == spans(try_(late, book, day))
    assert spans(try_(day, book, late)) == [[("2026-03-09T14:00:00Z", "2026-03-09T21:00:00Z")]]
    first, second = (appointment(f"2026-03-09T{a}:00:00Z", f"2026-03-09T{a}:30:00Z") for a in ("13", "20"))
    assert spans(try_(day, first, second))[0][-1] == ("2026-03-09T20:30:00Z", "2026-03-09T21:00:00Z")


def test_a_cancellation_gives_the_time_back_and_a_late_booking_does_not_take_it_again() -> None:
    booked = appointment("2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z", version=1)
    gone = event("appointment", {"id": "ap-1", "version": 2, "status": "cancelled"})
    whole = [[("2026-03-09T13:00:00Z", "2026-03-09T21:00:00Z")]]
    assert spans(try_(hours("09:00", "17:00"), booked, gone)) == whole
    assert spans(try_(hours("09:00", "17:00"), gone, booked)) == whole


@pytest.mark.parametrize(
    ("start", "end", "today", "expected"),
    [
        # 02:00 to 03:00 does not exist.
        ("01:00", "04:00", "2026-03-08", [("2026-03-08T06:00:00Z", "2026-03-08T08:00:00Z")]),
        ("02:00", "03:00", "2026-03-08", []),
        ("02:30", "03:30", "2026-03-08", [("2026-03-08T07:00:00Z", "2026-03-08T07:30:00Z")]),
        # 01:00 to 02:00 happens twice.
        ("00:30", "02:30", "2026-11-01", [("2026-11-01T04:30:00Z", "2026-11-01T07:30:00Z")]),
        ("01:00", "01:30", "2026-11-01", [("2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"),
                                          ("2026-11-01T06:00:00Z", "2026-11-01T06:30:00Z")]),
        ("00:00", "24:00", "2026-11-01", [("2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z")]),
        ("00:00", "24:00", "2026-03-08", [("2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z")]),
    ],
)  # fmt: skip
def test_days_on_which_the_clock_changes(
    start: str, end: str, today: str, expected: list[tuple[str, str]]
) -> None:
    assert spans(try_(hours(start, end), today=today)) == [expected]


def test_hours_past_midnight_are_split_at_the_midnight_of_the_provider() -> None:
    done = try_(hours("22:00", "06:00", days=["sun"]), today="2026-03-08", horizon=3)
    assert spans(done) == [
        [("2026-03-09T02:00:00Z", "2026-03-09T04:00:00Z")],
        [("2026-03-09T04:00:00Z", "2026-03-09T10:00:00Z")],
        [],
    ]


def test_an_availability_is_the_answer_until_it_is_withdrawn() -> None:
    own = {"provider_id": "p1", "date": "2026-03-09", "version": 1}
    given_ = [{"start": "2026-03-09T20:00:00Z", "end": "2026-03-09T21:00:00Z", "location_id": "l9"}]
    day, busy = hours("09:00", "17:00"), appointment("2026-03-09T20:00:00Z", "2026-03-09T20:30:00Z")
    done = try_(day, busy, event("availability", {**own, "spans": given_}))
    assert done.documents()[0]["spans"] == [{**given_[0], "service_types": [], "capacity": 1}]
    closed = try_(day, event("availability", {**own, "spans": []}))
    assert spans(closed) == [[]]
    withdrawn = event("availability", {**own, "version": 2, "status": "cancelled"})
    again = try_(day, busy, event("availability", {**own, "spans": given_}), withdrawn)
    assert spans(again) == [[("2026-03-09T13:00:00Z", "2026-03-09T20:00:00Z"),
                             ("2026-03-09T20:30:00Z", "2026-03-09T21:00:00Z")]]  # fmt: skip


SLOT = {
    "resourceType": "Slot", "id": "s1", "status": "free", "schedule": {"reference": "Schedule/dr-1"},
    "start": "2026-03-09T14:00:00Z", "end": "2026-03-09T15:00:00Z", "serviceType": [{"coding": [{"code": "57"}]}],
}  # fmt: skip


def test_several_emrs_in_one_file_each_with_its_own_plugin_and_providers() -> None:
    """A provider of one EMR is not that of another, and the reserved types are understood under both."""
    done = try_(
        hours("09:00", "10:00"),
        event("slot.created", SLOT, emr="fhir_r4", id="e2"),
        event("time_off", {"id": "to", "provider_id": "dr-1", "start": "2026-03-09T14:00:00Z",
                           "end": "2026-03-09T14:15:00Z"}, emr="fhir_r4", id="e3"),
    )  # fmt: skip
    assert [(one["emr"], one["provider_id"]) for one in done.documents()] == [
        ("fhir_r4", "dr-1"),
        ("standard", "p1"),
    ]
    assert spans(done) == [
        [("2026-03-09T14:15:00Z", "2026-03-09T15:00:00Z")],
        [("2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z")],
    ]
    assert done.documents()[0]["spans"][0]["service_types"] == ["57"]


def test_rejects_are_json_lines_with_number_and_reason_and_the_rest_goes_on() -> None:
    done = try_(
        "not json",
        "",
        hours("09:00", "10:00"),
        event("slot", {"id": "s"}),
        event("slot", SLOT, emr="epic"),
        {"specversion": "0.3"},
    )
    assert done.status == 1
    assert [(one["line"], one["reason"]) for one in done.rejects()] == [
        (1, "not_json"), (4, "invalid_data"), (5, "unknown_emr"), (6, "invalid_envelope"),
    ]  # fmt: skip
    assert all(set(one) == {"line", "reason", "detail"} for one in done.rejects())
    assert len(done.documents()) == 1


def test_an_unknown_tenant_is_refused_where_tenants_are_listed(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('any_tenant = false\n[tenants.other]\ntime_zone = "UTC"\n')
    done = try_(hours("09:00", "10:00"), extra=("--config", str(config)))
    assert done.status == 1
    assert [one["reason"] for one in done.rejects()] == ["unknown_tenant"]
    assert done.out == ""


def test_the_zone_of_a_provider_without_hours_is_the_tenants(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[tenants.t]\ntime_zone = "Asia/Kathmandu"\n')
    date_override = {
        "id": "do",
        "provider_id": "p1",
        "date": "2026-03-09",
        "hours": [{"start": "09:00", "end": "10:00"}],
    }
    done = try_(event("date_override", date_override), extra=("--config", str(config)))
    assert spans(done) == [[("2026-03-09T03:15:00Z", "2026-03-09T04:15:00Z")]]


def test_a_day_that_cannot_be_stored_is_stale_and_said_so(tmp_path: Path) -> None:
    config = tmp_path / "small.toml"
    config.write_text("[limits]\ndocument_bytes = 1000\n")
    spans_given = [
        {"start": f"2026-03-09T{hour:02}:00:00Z", "end": f"2026-03-09T{hour:02}:30:00Z"} for hour in range(24)
    ]
    day = event("availability", {"provider_id": "p1", "date": "2026-03-09", "spans": spans_given})
    done = try_(day, extra=("--config", str(config)), horizon=2)
    assert done.status == 1
    assert [one.get("stale") for one in done.documents()] == ["document_too_large", None]
    assert [(one["provider_id"], one["date"], one["reason"]) for one in done.rejects()] == [
        ("p1", "2026-03-09", "document_too_large")
    ]


def test_a_precalculated_day_is_given_as_it_is_even_outside_its_local_day() -> None:
    given = {
        "provider_id": "p1",
        "date": "2026-03-09",
        "spans": [{"start": "2026-03-10T01:00:00Z", "end": "2026-03-10T02:00:00Z"}],
    }
    done = try_(event("availability", given))
    assert done.status == 0
    assert spans(done) == [[("2026-03-10T01:00:00Z", "2026-03-10T02:00:00Z")]]


def test_a_day_too_large_for_its_document_is_stale(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[limits]\ndocument_bytes = 1000\n")
    busy = [
        appointment(f"2026-03-09T{h}:00:00Z", f"2026-03-09T{h}:30:00Z", id_=h)
        for h in ["13", "14", "15", "16", "17", "18", "19"]
    ]
    extra = [hours("08:00", "18:00", weekly={"location_id": "x" * 250})]
    done = try_(*extra, *busy, extra=("--config", str(config)))
    assert [one["reason"] for one in done.rejects()] == ["document_too_large"]


def test_more_items_than_a_provider_may_have_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[limits]\nitems_per_provider = 10\n")
    events = [appointment("2026-03-09T13:00:00Z", "2026-03-09T13:30:00Z", id_=str(n)) for n in range(11)]
    done = try_(*events, extra=("--config", str(config)))
    assert [(one["line"], one["reason"]) for one in done.rejects()] == [(11, "too_many_items")]


def test_sizes_are_limited(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[limits]\nrecord_bytes = 4096\ndepth = 8\nstring_chars = 2048\n")
    deep: Json = "x"
    for _ in range(9):
        deep = [deep]
    done = try_(
        event("slot", {"id": "x" * 5000}),
        event("slot", {"id": "x", "note": deep}),
        event("slot", {"id": "x", "note": "y" * 3000}),
        extra=("--config", str(config)),
    )
    assert [one["reason"] for one in done.rejects()] == ["too_large"] * 3


def test_a_megabyte_of_junk_is_one_reject(tmp_path: Path) -> None:
    file = tmp_path / "junk"
    file.write_bytes(bytes(range(256)).replace(b"\n", b"") * 4200)
    done = run("try", str(file))
    assert done.status == 1
    assert [(one["line"], one["reason"]) for one in done.rejects()] == [(1, "too_large")]


@pytest.mark.parametrize("nested", ["[" * 5000, '{"a":' * 5000, "[" * 5000 + "]" * 5000])
def test_deep_nesting_is_a_reject_and_no_crash(nested: str) -> None:
    assert try_(nested).rejects()[0]["reason"] == "not_json"


def test_it_reads_a_file_as_it_reads_standard_input(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    text = lines(hours("09:00", "10:00")).replace("\n", "\r\n")
    file.write_text(text, newline="")
    arguments = ("--json", "--today", "2026-03-09", "--horizon", "2")
    assert run("try", str(file), *arguments) == run("try", "-", *arguments, stdin=text)


def test_a_process_of_its_own_prints_utf_8_whatever_the_locale() -> None:
    events = lines(hours("09:00", "10:00", weekly={"location_id": "Zürich–日"}))
    for arguments in (["--json"], []):
        done = run_alone(
            "try", "-", "--today", "2026-03-09", "--horizon", "1", *arguments,
            stdin=events, PYTHONIOENCODING="ascii", LC_ALL="C",
        )  # fmt: skip
        assert (done.status, done.err) == (0, "")
        assert "Zürich–日" in done.out


def test_what_a_terminal_would_obey_is_not_printed_to_one() -> None:
    done = run(
        "try", "-", "--today", "2026-03-09", "--horizon", "1",
        stdin=lines(hours("09:00", "10:00", weekly={"location_id": "a\nb\x1b[31m"})),
    )  # fmt: skip
    if done.status == 0:  # a stricter format may refuse it altogether
        assert len(done.out.splitlines()) == 1
    assert "\x1b" not in done.out + done.err


def test_nothing_in_means_nothing_out() -> None:
    assert run("try", "-", stdin=b"") == Done(0, "", "")
    assert run("try", "-", stdin=b"\n  \n\n") == Done(0, "", "")


# Values of the input ----------------------------------------------------------------------------------------------

PRIVATE = {"name": MARKER, "patient": {"name": [MARKER], MARKER: MARKER}}
GOOD_STANDARD: list[Json] = [
    hours("09:00", "17:00"),
    event("date_override", {"id": "d", "provider_id": "p1", "date": "2026-03-09",
                            "hours": [{"start": "09:00", "end": "10:00"}]}),
    event("time_off", {"id": "t", "provider_id": "p1", "start": "2026-03-09", "end": "2026-03-09"}),
    appointment("2026-03-09T13:00:00Z", "2026-03-09T14:00:00Z"),
    event("slot", {"id": "s", "provider_id": "p1", "start": "2026-03-09T13:00:00Z", "end": "2026-03-09T14:00:00Z",
                   "status": "free"}),
    event("availability", {"provider_id": "p1", "date": "2026-03-09", "spans": []}),
]  # fmt: skip
GOOD_FHIR: list[Json] = [
    event("fhir", resource, emr="fhir_r4", subject="p1")
    for resource in (
        SLOT,
        {"resourceType": "Schedule", "id": "x", "active": True,
         "extension": [{"url": "http://hl7.org/fhir/StructureDefinition/timezone", "valueCode": "UTC"}]},
        {"resourceType": "Appointment", "id": "a", "status": "booked", "start": "2026-03-09T13:00:00Z",
         "minutesDuration": 30, "participant": [{"actor": {"reference": "Practitioner/1"}, "status": "accepted"}]},
        {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/1"},
         "period": {"start": "2026-01-01", "end": "2026-12-31"},
         "availableTime": [{"daysOfWeek": ["mon"], "availableStartTime": "09:00:00", "availableEndTime": "17:00:00"}],
         "notAvailable": [{"during": {"start": "2026-07-01", "end": "2026-07-02"}}]},
        {"resourceType": "Bundle", "entry": [{"resource": SLOT}]},
    )
]  # fmt: skip


def places(node: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    if path:
        yield path
    if isinstance(node, dict | list):
        for name, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(child, (*path, name))


def planted(document: Json, path: tuple[Any, ...], value: Json) -> Json:
    changed = copy.deepcopy(document)
    node = changed
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return changed


MAY_BE_ANY_TEXT = {"id", "provider_id", "subject", "location_id", "reference", "url", "code", "type"}
"""Fields where a marker is as good as any value; the events below are planted in all others, too."""
VALUES: list[Json] = [
    MARKER, f"{MARKER}\n", [MARKER], {MARKER: MARKER}, f"2026-03-09T13:00:00Z{MARKER}", f"2026-{MARKER}", [[MARKER]],
]  # fmt: skip


def all_planted() -> Iterator[Json]:
    for good in (*GOOD_STANDARD, *GOOD_FHIR):
        good = {**good, "sequence": "1", "datacontenttype": "application/json", "subject": "p1"}
        good["data"] = {**good["data"], **PRIVATE}
        for path in places(good):
            if path[0] == "data" and path[1:2] and path[1] in PRIVATE:
                continue
            for value in VALUES:
                yield planted(good, path, value)


def test_no_reject_holds_a_value_of_the_input() -> None:
    """A marker at every place of every kind of event, as several types: thousands of bad events, none quoted."""
    events = list(all_planted())
    done = run("try", "-", "--json", "--today", "2026-03-09", "--horizon", "1", stdin=lines(*events))
    rejected = {one["line"] for one in done.rejects() if "line" in one}
    assert len(rejected) > 1000
    # Days that cannot be computed name their provider, which is no one's health.
    told = [one for one in done.rejects() if "line" in one]
    assert MARKER not in json.dumps(told)
    # What was not refused is either there to be seen or was dropped: now only the bad ones, alone.
    bad = [one for number, one in enumerate(events, 1) if number in rejected]
    alone = run("try", "-", "--today", "2026-03-09", "--horizon", "1", stdin=lines(*bad))
    assert alone.out == ""
    assert MARKER not in alone.err
    assert len(alone.err.splitlines()) == len(bad)


@pytest.mark.parametrize(
    "line",
    [
        MARKER, f'"{MARKER}"', f'["{MARKER}"]', f'{{"{MARKER}": "{MARKER}"}}', f'{{"id": "{MARKER}"', f"{MARKER}\x00",
        json.dumps(event(MARKER, MARKER)), json.dumps(event("slot", MARKER, tenant=MARKER)),
        json.dumps(event("slot", {}, source=f"/tenants/{MARKER}")), json.dumps(event("slot", {}, emr=MARKER)),
        json.dumps(event("slot", {"a": 1}, data_base64=MARKER)),
        json.dumps(event("slot", None, data_base64=f"{MARKER}!")),
        json.dumps(event("fhir", f"<Slot>{MARKER}</Slot>", emr="fhir_r4")),
        json.dumps(event("fhir", {"resourceType": MARKER}, emr="fhir_r4")),
        json.dumps(event("fhir", {"resourceType": "Bundle", "entry": MARKER}, emr="fhir_r4")),
        json.dumps(event("fhir", {"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Slot",
                         "id": MARKER, "status": MARKER}}]}, emr="fhir_r4")),
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_not_quoted(line: str) -> None:
    done = try_(line)
    assert done.status == 1
    assert MARKER not in done.out + done.err
    assert len(done.rejects()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just(MARKER)
    | st.sampled_from(["2026-03-09", "9999-12-31T23:59:59Z", "09:00", "UTC", "cancelled", "-1", "\x00", "\ud7ff"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=8) | st.just(MARKER), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
PLACES = [(good, path) for good in (*GOOD_STANDARD, *GOOD_FHIR) for path in places(good)]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=8))
def test_whatever_comes_there_is_an_answer_and_no_crash(
    changes: list[tuple[tuple[Json, tuple[Any, ...]], Json]],
) -> None:
    events = [planted(good, path, value) for (good, path), value in changes]
    done = try_(*events)
    told = [one for one in done.rejects() if "line" in one]
    assert MARKER not in json.dumps(told)
    assert done.status == (1 if done.err else 0)
    assert len({one["line"] for one in told}) <= len(events)
