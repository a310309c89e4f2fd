"""No patient's data is stored, logged, counted or told: only a dead letter's raw record may hold it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import structlog
from canaries import (
    ADDRESS,
    BORN,
    CANARIES,
    MRN,
    NAME,
    NOTE,
    PHONE,
    SECRET,
    WRONG,
    everything_stored,
    found_in,
    planted,
    raw_records,
)
from fhir_examples import FOLDER, example
from leaky import LeakyPlugin
from pipeline_in_memory import ENVELOPE, Pipeline, host
from pydantic import BaseModel, ConfigDict

from emr_plugins.testing.mutants import paths, replaced
from kcl_app import logs
from kcl_app.engine.upserting import Upserted
from kcl_app.settings import LogSettings
from kcl_app.stores.base import Table
from processors.decoding import ItemChanges

HL7 = "\r".join(
    [
        f"MSH|^~\\&|A|{NAME}|B|C|20260302000000||SIU^S12|1|P|2.5.1",
        f"PID|1||{MRN}||{NAME}||{BORN}|M|||{ADDRESS}||{PHONE}",
        f"NTE|1||{NOTE}",
    ]
)

STANDARD: dict[str, dict[str, Any]] = {
    "working_hours": {
        "id": "wh-1", "provider_id": "p1", "version": 3, "time_zone": "America/New_York",
        "effective_from": "2026-01-01", "effective_until": None, "status": "active",
        "weekly": [{"days": ["mon"], "start": "09:00", "end": "17:00", "location_id": "l1", "service_types": ["new"],
                    "capacity": 1}],
        "not_available": [{"first": "2026-07-01", "last": "2026-07-14"}, {"start": "2026-03-11T15:00:00Z"}],
    },
    "date_override": {"id": "do-1", "provider_id": "p1", "version": 1, "date": "2026-03-10", "status": "active",
                      "hours": [{"start": "09:00", "end": "12:00", "capacity": 2}]},
    "time_off": {"id": "to-1", "provider_id": "p1", "version": 1, "start": "2026-03-09", "end": "2026-03-10",
                 "status": "active"},
    "appointment": {"id": "ap-1", "provider_id": "p1", "version": 7, "start": "2026-03-09T09:00:00-04:00",
                    "end": "2026-03-09T09:30:00-04:00", "status": "booked"},
    "slot": {"id": "sl-1", "provider_id": "p1", "version": 1, "start": "2026-03-09T14:00:00Z",
             "end": "2026-03-09T14:30:00Z", "status": "free", "location_id": "l1", "service_types": ["new"]},
    "availability": {"provider_id": "p9", "date": "2026-03-09", "version": 2, "status": "active",
                     "spans": [{"start": "2026-03-09T14:00:00Z", "end": "2026-03-09T15:00:00Z"}]},
}  # fmt: skip

IDS = frozenset({"id", "provider_id", "location_id", "service_types", "code"})
"""Fields that are kept as they are: senders must put no patient's data in them (docs/reliability.md)."""

KEPT_OF_ENVELOPE = frozenset({"id", "source", "type", "subject", "tenant", "emr", "sequence"})
"""Attributes of the envelope that are kept as they are."""

RESOURCES = ("Appointment", "Slot", "Schedule", "PractitionerRole")


def examples() -> list[dict[str, Any]]:
    """All official examples of the resources that are read."""
    names = sorted(path.stem for kind in RESOURCES for path in FOLDER.glob(f"{kind}-*.json"))
    assert len(names) >= 10, "run python scripts/fetch_fhir_examples.py"
    return [example(name) for name in names]


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What reaches descriptors 1 and 2; logs as a worker's child has them."""
    with open(2, "w", encoding="utf-8", closefd=False) as stderr:  # whatever it is when a line is written
        logs.configure(LogSettings(format="json", level="debug"), stderr)
        yield lambda: "".join(capfd.readouterr())
    structlog.reset_defaults()
    for handler in list(logging.getLogger().handlers):
        if type(handler).__module__ == logs.__name__:
            logging.getLogger().removeHandler(handler)


def envelope(type_: str, data: Any, emr: str = "standard", **over: Any) -> bytes:
    return json.dumps({**ENVELOPE, "type": type_, "emr": emr, "data": data, **over}).encode()


def assert_clean(pipeline: Pipeline, printed: str) -> None:
    """No canary anywhere but in raw records, and there they are: else nothing was planted."""
    assert found_in(everything_stored(pipeline.store, pipeline.blobs)) == []
    assert found_in(pipeline.metrics()) == []
    assert found_in(printed) == []


def kept(path: tuple[str | int, ...]) -> bool:
    return any(part in IDS for part in path)


@pytest.mark.parametrize("resource", examples(), ids=lambda one: f"{one['resourceType']}-{one['id']}")
def test_fhir_resources_with_patients_everywhere_leave_no_trace(
    resource: dict[str, Any], logged: Callable[[], str]
) -> None:
    """Valid ones, and ones that are wrong at every single place, in every way."""
    pipeline = Pipeline(host())
    full = planted({"start": "2026-03-09T14:00:00Z", "end": "2026-03-09T15:00:00Z", **resource})
    texts = [full, json.dumps(full), {"resourceType": "Bundle", "entry": [{"resource": full, **planted({})}]}]
    result = pipeline.run([envelope("fhir", one, "fhir_r4", sequence=str(n)) for n, one in enumerate(texts)])
    assert result.events["applied"] >= 1
    assert found_in(everything_stored(pipeline.store, pipeline.blobs)) == []

    wrong = [
        replaced(resource, path, value)
        for path in paths(resource)
        for value in WRONG
        if not (kept(path[-1:]) and "code" in path)
    ]
    result = pipeline.run([envelope("fhir", planted(one), "fhir_r4") for one in wrong])
    assert result.events.total() == len(wrong)
    assert result.rejects["invalid_data"] > 0
    assert set(result.rejects) <= {"invalid_data", "too_large"}
    assert_clean(pipeline, logged())
    assert found_in(raw_records(pipeline.store, pipeline.blobs)) != []


@pytest.mark.parametrize("kind", STANDARD)
def test_the_standard_format_with_patients_everywhere_leaves_no_trace(
    kind: str, logged: Callable[[], str]
) -> None:
    pipeline = Pipeline(host())
    data = STANDARD[kind]
    assert pipeline.run([envelope(kind, planted(data))]).rejects == {}
    wrong = [replaced(data, path, one) for path in paths(data) if not kept(path) for one in WRONG]
    wrong += [*WRONG, {NAME: data}, {**data, "id": {NAME: NAME}}, {**data, "provider_id": [NAME]}]
    result = pipeline.run([envelope(kind, planted(one)) for one in wrong])
    assert result.events.total() == len(wrong)
    assert result.rejects["invalid_data"] > len(wrong) // 2
    assert set(result.rejects) == {"invalid_data"}
    assert_clean(pipeline, logged())
    assert found_in(raw_records(pipeline.store)) != []


def test_envelopes_with_patients_in_every_attribute_leave_no_trace(logged: Callable[[], str]) -> None:
    """An attribute that is kept is kept only as a text of its kind; what is wrong with it is not quoted."""
    pipeline = Pipeline(host())
    good = {**ENVELOPE, "type": "slot", "data": STANDARD["slot"]}
    sent = [json.dumps({**good, **planted({}), "dataschema": NAME, "datacontenttype": NAME}).encode()]
    for name in ENVELOPE:
        for value in (*WRONG, "\x00" + NAME, NAME * 100):
            if name in KEPT_OF_ENVELOPE and isinstance(value, str) and value in WRONG and name != "source":
                continue
            sent.append(json.dumps({**good, name: value}).encode())
    sent.append(json.dumps({**good, "source": f"/tenants/{NAME}"}).encode())
    sent.append(json.dumps({**good, "data_base64": f"=={NAME}"}).encode())
    sent.append(json.dumps({**good, "data": None, "data_base64": f"=={NAME}"}).encode())
    sent += [json.dumps({NAME: NAME}).encode(), json.dumps([NAME]).encode(), json.dumps(NAME).encode()]
    whole = json.dumps({**good, "data": planted(STANDARD["slot"])}).encode()
    sent += [whole[:cut] for cut in range(0, len(whole), 97)]
    sent += [NAME.encode(), NAME.encode("utf-16"), HL7.encode(), b"\xff" + whole]
    result = pipeline.run(sent)
    assert result.events.total() == len(sent)
    assert set(result.rejects) <= {"not_json", "invalid_envelope", "invalid_data", "unknown_emr", "too_large"}
    letters = {
        json.dumps(
            {k: v for k, v in row.items() if k not in ("raw", "event_source", "event_id", "event_type")}
        )
        for row in pipeline.store.scan(Table.DEAD_LETTERS)
    }
    assert found_in("\n".join(letters)) == []
    assert found_in(pipeline.metrics()) == []
    assert found_in(raw_records(pipeline.store)) != []
    assert found_in(logged()) == []


def test_hl7_v2_text_that_no_plugin_understands_is_kept_in_the_raw_record_alone(
    logged: Callable[[], str],
) -> None:
    import base64

    pipeline = Pipeline(host())
    encoded = base64.b64encode(HL7.encode()).decode()
    sent = [
        envelope("SIU^S12", HL7, "not_there"),
        envelope("SIU^S12", None, "not_there", data_base64=encoded),
        envelope("SIU^S12", HL7, "hl7v2"),
        envelope("SIU^S12", None, "hl7v2", data_base64=encoded),
        envelope("slot", HL7),
        envelope("slot", None, data_base64=encoded),
        envelope("fhir", HL7, "fhir_r4"),
        envelope("fhir", None, "fhir_r4", data_base64=encoded),
    ]
    result = pipeline.run(sent)
    assert result.rejects == {"unknown_emr": 2, "invalid_data": 6}
    assert_clean(pipeline, logged())
    assert len(found_in(raw_records(pipeline.store))) > 3


def test_a_record_too_large_for_the_table_leaves_its_data_in_the_bucket_alone(
    logged: Callable[[], str],
) -> None:
    pipeline = Pipeline(host())
    notes = [f"{NOTE} {number}" for number in range(8_000)]
    assert pipeline.run([envelope("slot", {**STANDARD["slot"], "status": NAME, "notes": notes})]).rejects == {
        "invalid_data": 1
    }
    assert len(pipeline.blobs.blobs) == 1
    assert_clean(pipeline, logged())
    assert found_in(raw_records(pipeline.store, pipeline.blobs)) != []


def test_a_fault_of_ours_quotes_nothing_of_the_record_that_it_happens_on(
    logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poison record, found by halving the batch: its letter names the type of the error alone."""
    pipeline = Pipeline(host())
    upsert = pipeline.engine.upserter.run

    def failing(groups: Iterable[ItemChanges]) -> Upserted:
        for group in (given := list(groups)):
            if group.key.id == "poison":
                raise KeyError(group.candidates[0].source.record.data.decode())
        return upsert(given)

    monkeypatch.setattr(pipeline.engine.upserter, "run", failing)
    slot = planted(STANDARD["slot"])
    result = pipeline.run([envelope("slot", {**slot, "id": f"s-{n}"}) for n in range(5)] + [
        envelope("slot", {**slot, "id": "poison"})
    ])  # fmt: skip
    assert result.rejects == {"processing_failed": 1}
    assert result.events == {"applied": 5, "rejected": 1}
    assert_clean(pipeline, logged())
    assert found_in(raw_records(pipeline.store)) != []


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str


class _LeakyWithSettings(LeakyPlugin):
    Settings = _Settings


QUIET_LEAKS = [
    "raise", "raise_chained", "raise_validation", "raise_os_error", "exit", "reject", "reject_reason", "lazy",
    "nothing", "nonsense", "two", "logging", "structlog", "warnings", "impact_raises", "spans_raises", "spans_nonsense",
]  # fmt: skip
"""Leaks that the host or the log can hold; what a plugin prints is held by the worker's supervisor."""


@pytest.mark.parametrize("leak", QUIET_LEAKS)
def test_whatever_a_plugin_does_with_a_message_it_gets_no_further(
    leak: str, logged: Callable[[], str], recwarn: pytest.WarningsRecorder
) -> None:
    pipeline = Pipeline(host(_LeakyWithSettings(), settings={"leaky": {"token": SECRET}}))
    texts = [HL7, planted(STANDARD["appointment"]), *CANARIES]
    sent = [envelope(leak, text, "leaky", id=f"e-{number}") for number, text in enumerate(texts)]
    result = pipeline.run(sent)
    assert result.events.total() == len(sent)
    assert "processing_failed" not in result.rejects
    assert_clean(pipeline, logged())
