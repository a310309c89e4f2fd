"""The worst messages that the limits let through, and some that they do not: one record each, as large as it may be.

`python tests/security/worst_cases.py` prints how long each takes to decode and to bring in with 90 days of horizon.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from pipeline_in_memory import ENVELOPE, Pipeline, host
from siu_messages import aip, booking, message, sch, tq1

MOST = 512 * 1024
"""Bytes of one record."""
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
START, END = "2026-03-09T14:00:00Z", "2026-03-09T15:00:00Z"


def _event(type_: str, data: Any, emr: str = "standard") -> bytes:
    return json.dumps({**ENVELOPE, "type": type_, "emr": emr, "data": data}, separators=(",", ":")).encode()


def _raw(data: str, type_: str = "slot") -> bytes:
    head = json.dumps({**ENVELOPE, "type": type_}, separators=(",", ":"))
    return head.replace('"data":null', '"data":' + data).encode()


def _weekly(number: int, **over: Any) -> dict[str, Any]:
    lines = [
        {"days": DAYS, "start": f"{n % 24:02d}:{n % 60:02d}", "end": f"{(n * 7) % 24:02d}:{(n * 13) % 60:02d}",
         "location_id": str(n), "capacity": n % 99 + 1}
        for n in range(number)
    ]  # fmt: skip
    return {"id": "wh-1", "provider_id": "p1", "time_zone": "America/New_York", "weekly": lines, **over}


def _away(number: int) -> list[dict[str, str]]:
    return [
        {"start": f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:00:00Z",
         "end": f"2026-{n % 12 + 1:02d}-{n % 28 + 1:02d}T{n % 24:02d}:00:01Z"}
        for n in range(number)
    ]  # fmt: skip


def _bundle(number: int, resource: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": resource(n)} for n in range(number)]}


SLOT = {"id": "s", "provider_id": "p1", "start": START, "end": END, "status": "free"}

CASES: dict[str, bytes] = {
    "nested lists": _raw("[" * 250_000 + "]" * 250_000),
    "nested objects": _raw('{"a":' * 80_000 + "1" + "}" * 80_000),
    "nested to the parser's limit": _raw("[" * 190 + "]" * 190),
    "many brackets": _raw("[" + ",".join(["[]"] * 170_000) + "]"),
    "many numbers": _raw("[" + ",".join(["1"] * 250_000) + "]"),
    "huge integer": _raw('{"id":"s","version":' + "9" * 500_000 + "}"),
    "huge exponent": _raw('{"id":"s","version":1e' + "9" * 500 + "}"),
    "long fraction": _raw('{"id":"s","version":0.' + "1" * 500_000 + "}"),
    "not a number": _raw('{"id":"s","version":NaN,"start":Infinity}'),
    "long text": _raw('"' + "a" * 250_000 + '"'),
    "escapes": _raw('"' + "\\u0041" * 80_000 + '"'),
    "lone surrogates": _raw('{"id":"\\ud800"}'),
    "duplicate names": _raw("{" + ",".join(['"id":"a"'] * 50_000) + "}"),
    "many names": _raw("{" + ",".join(f'"n{n}":1' for n in range(40_000)) + "}"),
    "base64": json.dumps({**ENVELOPE, "type": "fhir", "emr": "fhir_r4", "data_base64": "A" * 250_000}).encode(),
    "base64 of nested json": json.dumps(
        {**ENVELOPE, "type": "fhir", "emr": "fhir_r4", "data_base64": "W1tb" * 60_000}
    ).encode(),
    "json in a text": _event("fhir", '{"a":' * 40_000, "fhir_r4"),
    "json in a text, deep": _event("fhir", '{"resourceType":"Slot","x":' + "[" * 150 + "]" * 150 + "}", "fhir_r4"),
    **{
        f"hl7v2, {name}": _event("SIU^S12", text, "hl7v2")
        for name, text in {
            "repetitions of SCH-11": message(sch({11: "^^^~^^~" * 35_000, 9: "30"}), aip()),
            "times in SCH-11": message(sch({11: "^^^20260309093000~" * 12_000, 9: "30"}), aip()),
            "providers": message(sch(), tq1(), aip("~".join(map(str, range(36_000))))),
            "personnel": message(sch(), tq1(), *["AIP|||d"] * 28_000),
            "services": message(sch(), aip(), *["AIS||||2026030909|1||5"] * 10_000),
            "timings": message(sch(), *["TQ1|||||||2026030909|2026030910"] * 6_500, aip()),
            "lines in a note": booking("NTE|1||" + "\n" * 240_000),
            "lines of segments": booking("\n".join(["NTE"] * 60_000)),
            "escapes": booking("AIP|1||" + "\\X41\\" * 40_000),
            "components of an id": message(sch({2: "a^" * 55_000 + "&b" * 55_000}), tq1(), aip()),
            "components of a status": message(sch({25: "^" * 240_000}), tq1(), aip()),
            "fields": message("SCH" + "|" * 240_000, tq1(), aip()),
            "separators": "MSH|" + "^" * 240_000,
        }.items()
    },
    "weekly hours": _event("working_hours", _weekly(1000)),
    "weekly hours with times away": _event("working_hours", _weekly(1000, not_available=_away(1000))),
    "hours of a date": _event(
        "date_override", {"id": "d", "provider_id": "p1", "date": "2026-03-10", "hours": _weekly(1000)["weekly"]}
    ),
    "spans of a day": _event(
        "availability",
        {"provider_id": "p1", "date": "2026-03-09", "spans": [
            {"start": f"2026-03-09T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}Z",
             "end": f"2026-03-09T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}.5Z"} for n in range(5000)]},
    ),
    "an appointment of a hundred years": _event(
        "appointment", {**SLOT, "status": "booked", "start": "1971-01-01T00:00:00Z", "end": "2198-12-31T00:00:00Z"}
    ),
    "an appointment of two thousand years": _event(
        "appointment", {**SLOT, "status": "booked", "start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:59Z"}
    ),
    "time off of all years": _event(
        "time_off", {"id": "t", "provider_id": "p1", "start": "1971-01-01", "end": "2198-12-31"}
    ),
    "service types": _event("slot", {**SLOT, "service_types": [f"{n:05d}" for n in range(50_000)]}),
    "a list of days": _event("working_hours", {"id": "w", "provider_id": "p1", "weekly": [{"days": DAYS * 10_000}]}),
    "wrong lines": _event("working_hours", {"id": "w", "provider_id": "p1", "weekly": [{"x": 1}] * 1000}),
    "zone": _event("working_hours", {"id": "w", "provider_id": "p1", "time_zone": "../" * 80_000 + "etc/passwd"}),
    "fhir bundle of slots": _event(
        "fhir",
        _bundle(1000, lambda n: {"resourceType": "Slot", "id": f"s{n}", "status": "free", "start": START, "end": END,
                                 "schedule": {"reference": f"Schedule/p{n}"}}),
        "fhir_r4",
    ),
    "fhir bundle of 8,000 providers": _event(
        "fhir",
        _bundle(200, lambda n: {"resourceType": "Appointment", "id": f"{n}", "status": "booked", "start": START,
                                "end": END, "participant": [
                                    {"actor": {"reference": f"Practitioner/{n}.{m}"}} for m in range(40)]}),
        "fhir_r4",
    ),
    "fhir bundle of too many": _event(
        "fhir",
        _bundle(4000, lambda n: {"resourceType": "Slot", "id": f"s{n}", "status": "free", "start": START, "end": END,
                                 "schedule": {"reference": "Schedule/p"}}),
        "fhir_r4",
    ),
    "fhir bundle of nothing": _event("fhir", _bundle(20_000, lambda n: {}), "fhir_r4"),
    "fhir codings": _event(
        "fhir",
        {"resourceType": "Slot", "id": "s", "status": "free", "start": START, "end": END,
         "serviceType": [{"coding": [{"code": f"{n}"}]} for n in range(15_000)]},
        "fhir_r4",
    ),
    "fhir participants": _event(
        "fhir",
        {"resourceType": "Appointment", "id": "s", "status": "booked", "start": START, "end": END,
         "participant": [{"actor": {"reference": f"Practitioner/{n}"}} for n in range(9_000)]},
        "fhir_r4",
    ),
    "fhir reference": _event(
        "fhir",
        {"resourceType": "Slot", "id": "s", "status": "free", "start": START, "end": END,
         "schedule": {"reference": "https://a/" + "Schedule/" * 27_000}},
        "fhir_r4",
    ),
    "fhir version": _event(
        "fhir", {"resourceType": "Slot", "id": "s", "meta": {"versionId": "1" * 250_000}}, "fhir_r4"
    ),
    "fhir available times": _event(
        "fhir",
        {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/p1"},
         "availableTime": [{"availableStartTime": f"{n % 24:02d}:00:00", "availableEndTime": "23:59:59"}
                           for n in range(1000)],
         "notAvailable": [{"during": one} for one in _away(1000)]},
        "fhir_r4",
    ),
    "a list of faults": _event("working_hours", {"id": "w", "provider_id": "p1", "weekly": [{}] * 170_000}),
    "faults in a bundle": _event("fhir", {"resourceType": "Bundle", "entry": [1] * 250_000}, "fhir_r4"),
    "faulty participants": _event(
        "fhir",
        {"resourceType": "Appointment", "id": "a", "status": "booked", "participant": [0] * 250_000},
        "fhir_r4",
    ),
    "fhir minutes": _event(
        "fhir",
        {"resourceType": "Appointment", "id": "s", "status": "booked", "start": START, "minutesDuration": 2**31 - 1},
        "fhir_r4",
    ),
}  # fmt: skip
"""By name: one record. All of them are within `MOST` bytes, unless they are meant to be larger."""


def measure(record: bytes, horizon_days: int = 90) -> tuple[float, str]:
    """Seconds of CPU that one record takes through a pipeline of its own, and what became of it."""
    pipeline = Pipeline(host(), horizon_days=horizon_days)
    begun = time.process_time()
    result = pipeline.run([record])
    seconds = time.process_time() - begun
    assert result.events.total() == 1
    return seconds, ", ".join([*(+result.events), *result.rejects])


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(CASES)
    for name in chosen:
        seconds, outcome = measure(CASES[name])
        print(f"{seconds:8.3f} s  {len(CASES[name]) // 1024:4d} KB  {name}: {outcome}", flush=True)
