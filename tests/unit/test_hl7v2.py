"""The HL7 v2 plugin: public samples, senders' dialects, and each rule of the mapping."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from siu_messages import DIALECTS, Dialect, aip, booking, message, msh, samples, sch, segment, tq1

from emr_plugins.api import Appointment, Context, Event, ItemChange, Reject, TimeOff
from emr_plugins.hl7v2 import Hl7V2Plugin, Hl7V2Settings
from emr_plugins.hl7v2.tables import STATUSES, TRIGGERS
from processors.times import utc_text

PLUGIN = Hl7V2Plugin()
NEW_YORK = "America/New_York"


def context(zone: str = NEW_YORK, **settings: Any) -> Context:
    return Context("t", "hl7v2", zone, Hl7V2Settings.model_validate(settings))


def event(data: Any, subject: str | None = None) -> Event:
    envelope = {"specversion": "1.0", "id": "e1", "source": "/tenants/t", "type": "SIU", "tenant": "t"}
    return Event.model_validate(
        {**envelope, "emr": "hl7v2", "time": "2026-03-02T15:04:05Z", "subject": subject, "data": data}
    )


def one(text: Any, subject: str | None = None, zone: str = NEW_YORK, **settings: Any) -> ItemChange:
    (change,) = PLUGIN.decode(event(text, subject), context(zone, **settings))
    assert change.version == 0
    return change


def refusal(text: Any, subject: str | None = None, **settings: Any) -> str:
    with pytest.raises(Reject) as caught:
        one(text, subject, **settings)
    assert caught.value.reason == "invalid_data"
    return caught.value.detail


def appointment(change: ItemChange) -> Appointment:
    assert isinstance(change.body, Appointment)
    return change.body


def span(text: str, zone: str = NEW_YORK, **settings: Any) -> tuple[str, str]:
    body = appointment(one(text, zone=zone, **settings))
    assert body.start is not None
    assert body.end is not None
    return utc_text(body.start), utc_text(body.end)


# The samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=repr)
def test_a_sample_says_what_its_bundle_says(path: Path, end: str) -> None:
    bundle = json.loads(path.with_name(f"{path.stem}-expected.json").read_text(encoding="utf-8"))
    resources = {
        f"{one['resource']['resourceType']}/{one['resource']['id']}": one["resource"]
        for one in bundle["entry"]
    }
    (expected,) = [one for one in resources.values() if one["resourceType"] == "Appointment"]
    actors = [participant["actor"]["reference"] for participant in expected["participant"]]
    practitioners = [resources[one] for one in actors if one.startswith("Practitioner/")]
    ids = {one["type"]["coding"][0]["code"]: one["value"] for one in expected["identifier"]}

    text = path.read_bytes().decode().replace("\r\n", "\n").replace("\n", end)
    change = one(text)
    body = appointment(change)
    assert body.status == expected["status"]
    assert body.start == datetime.fromisoformat(expected["start"])
    assert body.end == datetime.fromisoformat(expected["end"])
    assert change.id == f"SCHApp/GHHSFacility^2.16.840.1.122848.1.30^ISO/{ids['FILL']}/"
    without_filler = one(text.replace(f"|{ids['FILL']}|", "||"))
    assert without_filler.id == f"SCHApp/GHHSFacility^2.16.840.1.122848.1.30^ISO//{ids['PLAC']}/"
    assert change.providers == tuple(one["identifier"][0]["value"] for one in practitioners) != ()


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_the_equipment_and_the_room_of_a_sample_are_providers_where_settings_say_so(path: Path) -> None:
    change = one(path.read_bytes().decode(), resources=["AIP", "AIG", "AIL"])
    assert change.providers[:2] == ("1210", "AIG/5001")
    assert change.providers[2].startswith("AIL/055^Room0")


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_all_messages_of_an_appointment_are_of_one_item(path: Path) -> None:
    assert one(path.read_bytes().decode()).id == one(samples()[0].read_bytes().decode()).id


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
@pytest.mark.parametrize("as_bytes", [False, True], ids=["text", "bytes"])
def test_a_dialect_is_understood(dialect: Dialect, as_bytes: bool) -> None:
    whole = event(dialect.text)
    if as_bytes:
        import base64

        encoded = base64.b64encode(dialect.text.encode()).decode()
        whole = whole.model_copy(update={"data": None, "data_base64": encoded})
    (change,) = PLUGIN.decode(whole, context(**dialect.settings))
    body = appointment(change)
    assert (change.id, body.status, change.providers) == (dialect.id, dialect.status, dialect.providers)
    assert (body.start and utc_text(body.start), body.end and utc_text(body.end)) == (
        dialect.start,
        dialect.end,
    )


# Status ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trigger", "status"), TRIGGERS.items())
def test_without_a_status_the_trigger_counts(trigger: str, status: str) -> None:
    for empty in ("", '""', "^^HL70278"):
        assert one(message(sch({25: empty}), tq1(), aip(), trigger=trigger)).body.status == status


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("Pending", "pending"), ("Waitlist", "waitlist"), ("Booked", "booked"), ("Started", "checked-in"),
        ("Complete", "fulfilled"), ("Cancelled", "cancelled"), ("Dc", "cancelled"), ("Deleted", "entered-in-error"),
        ("Blocked", "booked"), ("Overbook", "booked"), ("Noshow", "noshow"),
    ],
)  # fmt: skip
def test_table_0278_is_understood_by_code_and_text_in_any_case_and_beats_the_trigger(
    code: str, status: str
) -> None:
    for trigger in TRIGGERS:
        for written in (
            code,
            code.upper(),
            f"{code.lower()}^^HL70278",
            f"^{code}",
            f"^^^{code}",
            f" {code} ",
        ):
            assert one(message(sch({25: written}), tq1(), aip(), trigger=trigger)).body.status == status


def test_every_status_is_one_of_an_appointment() -> None:
    for status in {*STATUSES.values(), *TRIGGERS.values()}:
        Appointment(
            status=status, start=datetime(2026, 3, 9, tzinfo=UTC), end=datetime(2026, 3, 9, 1, tzinfo=UTC)
        )


def test_a_status_of_the_sender_is_a_reject_until_the_settings_know_it() -> None:
    text = message(sch({25: "Secret-7^Left w/o being seen"}), tq1(), aip())
    detail = refusal(text)
    assert detail == "SCH-25: is not a status of HL7 table 0278; plugins.hl7v2.statuses can say what it means"
    assert one(text, statuses={"SECRET 7": "noshow"}).body.status == "noshow"
    assert one(text, statuses={"left w/o being seen": "cancelled"}).body.status == "cancelled"


def test_a_tenants_status_beats_the_table() -> None:
    text = message(sch({25: "Started"}), tq1(), aip())
    assert one(text, statuses={"started": "arrived"}).body.status == "arrived"


def test_wrong_settings_are_refused() -> None:
    for wrong in (
        {"statuses": {"x": "gone"}},
        {"resources": ["PID"]},
        {"missing_unit": "h"},
        {"zone": "UTC"},
    ):
        with pytest.raises(ValidationError):
            Hl7V2Settings.model_validate(wrong)
    chosen = Hl7V2Settings(statuses={"No Show": "noshow"}, resources=("AIL",))
    assert pickle.loads(pickle.dumps(chosen)) == chosen


# Providers ------------------------------------------------------------------------------------------------------------


def test_every_repetition_of_every_aip_is_a_provider_once_in_order() -> None:
    text = message(sch(), tq1(), aip("d2^X~d1"), aip("d3&a^Y"), aip("d1"), aip(""), aip("^Nobody"), aip('""'))
    assert one(text).providers == ("d2", "d1", "d3")


@pytest.mark.parametrize(
    "gone", [{2: "D"}, {2: "d"}, {12: "Cancelled"}, {12: "^deleted"}, {12: "Dc"}], ids=str
)
def test_a_resource_that_is_deleted_or_cancelled_does_not_hold_the_appointment(gone: dict[int, str]) -> None:
    text = message(
        sch({25: "Booked"}), tq1(), aip("d1", gone), aip("d2", {2: "X", 12: "Booked"}), trigger="S14"
    )
    assert one(text).providers == ("d2",)
    alone = one(message(sch({25: "Booked"}), tq1(), aip("d1", gone)))
    assert (alone.body.status, alone.providers) == ("cancelled", ("d1",))
    again = message(sch({25: "Booked"}), tq1(), aip("d1", gone), aip("d1", {2: "A"}))
    assert (one(again).body.status, one(again).providers) == ("booked", ("d1",))


@pytest.mark.parametrize("action", ["A", "U", "X", "S", ""])
def test_other_action_codes_leave_the_resource_where_it_is(action: str) -> None:
    assert one(message(sch(), tq1(), aip("d1", {2: action, 12: "unheard of"}))).providers == ("d1",)


def test_equipment_and_rooms_are_providers_of_their_own_only_where_the_settings_say_so() -> None:
    more = (segment("AIG", {3: "d1^Scope"}), segment("AIL", {3: "d1^R 1^^N&1&ISO^busy^C^B/2^3^by the door"}))
    text = booking(*more)
    assert one(text).providers == ("d1",)
    assert one(text, resources=["AIL", "AIG"]).providers == ("AIL/d1^R 1^^N&1&ISO^^^B%2F2^3", "AIG/d1")
    assert one(text, resources=["AIP", "AIG"]).providers == ("d1", "AIG/d1")


def test_a_message_without_provider_is_for_the_subject_and_without_that_a_reject_unless_withdrawn() -> None:
    booked = message(sch({25: "Booked"}), tq1(), aip("d1", {2: "D"}).replace("d1", ""))
    assert one(booked, "d7").providers == ("d7",)
    assert refusal(booked) == "AIP-3: names no provider, and the event has no subject"
    assert refusal(booked, resources=["AIP", "AIL"]).startswith("AIP-3 or AIL-3: ")
    cancelled = message(sch({25: "Cancelled"}), trigger="S15")
    for subject in (None, "d7"):
        change = one(cancelled, subject)
        assert (change.body, change.providers) == (Appointment(status="cancelled"), ())


def test_what_takes_no_time_may_leave_out_time_and_provider() -> None:
    change = one(message(sch(), trigger="S26"))
    assert (change.body, change.providers) == (Appointment(status="cancelled"), ())
    assert one(message(sch(), tq1(), aip(), trigger="S26")).body.status == "noshow"
    bad = one(message(sch({25: "Deleted"}), tq1("yesterday"), aip()))
    assert (bad.body, bad.providers) == (Appointment(status="entered-in-error"), ("d1",))


# Identity -------------------------------------------------------------------------------------------------------------

part = st.text(st.sampled_from("ab1^~&\\|%/ "), max_size=4).map(lambda text: text.strip(" "))
keys = st.tuples(part, part, st.booleans(), part.filter(bool), part)


def escaped(text: str) -> str:
    for raw, code in (("\\", "E"), ("|", "F"), ("~", "R"), ("&", "T"), ("^", "S")):
        text = text.replace(raw, f"\0{code}\0")
    return text.replace("\0", "\\")


def identity(key: tuple[str, str, bool, str, str]) -> str:
    application, facility, filler, id_, occurrence = key
    header = {3: escaped(application), 4: escaped(facility)}
    fields = {1 + filler: escaped(id_), 2 - filler: "", 3: escaped(occurrence)}
    return one(message(sch(fields), tq1(), aip(), header=header)).id


@settings(deadline=None)
@given(keys, keys)
def test_two_appointments_never_have_one_id(first: Any, second: Any) -> None:
    assert (identity(first) == identity(second)) == (first == second)


@pytest.mark.parametrize(
    ("fields", "id_"),
    [
        ({2: "f1"}, "SCHED/NORTH/f1/"), ({2: "f1", 3: "2"}, "SCHED/NORTH/f1/2"), ({1: "p", 2: "f1"}, "SCHED/NORTH/f1/"),
        ({1: "p", 2: ""}, "SCHED/NORTH//p/"), ({1: "p", 2: '""'}, "SCHED/NORTH//p/"), ({2: "f1^^"}, "SCHED/NORTH/f1/"),
        ({2: "f1^EPIC&1.2&ISO"}, "SCHED/NORTH/f1^EPIC&1.2&ISO/"), ({2: "f/1"}, "SCHED/NORTH/f%2F1/"),
    ],
)  # fmt: skip
def test_what_an_appointment_is_known_by(fields: dict[int, str], id_: str) -> None:
    assert one(message(sch(fields), tq1(), aip())).id == id_


def test_ids_that_are_too_long_stay_apart_and_short() -> None:
    long = [one(message(sch({2: "x" * 300 + tail}), tq1(), aip())).id for tail in "ab"]
    wide = one(message(sch({2: "😀" * 200}), tq1(), aip())).id
    assert len({*long, wide}) == 3
    assert all(id_.startswith("sha256:") and len(id_) == 71 for id_ in (*long, wide))


def test_an_appointment_without_id_is_refused() -> None:
    assert refusal(message(sch({2: ""}), tq1(), aip())) == "SCH-2: is required where SCH-1 is empty, too"


# Blocked time ---------------------------------------------------------------------------------------------------------


def time_off(text: str, **settings: Any) -> TimeOff:
    change = one(text, **settings)
    assert isinstance(change.body, TimeOff)
    assert change.id == "SCHED/NORTH/f1/"
    return change.body


def test_a_block_takes_time_away_and_its_opening_gives_it_back() -> None:
    start, end = (datetime(2026, 3, 9, *at, tzinfo=UTC) for at in ((13, 30), (14, 0)))
    blocked = time_off(message(sch({25: "Blocked"}), tq1(), aip(), trigger="S23"))
    assert blocked == TimeOff(start=start, end=end)
    assert time_off(message(sch({25: "Vacation"}), tq1(), aip(), trigger="S23")) == blocked
    assert time_off(message(sch({25: "Deleted"}), tq1(), aip(), trigger="S23")).status == "entered-in-error"
    opened = one(message(sch({25: "Booked"}), trigger="S24"))
    assert (opened.body, opened.providers, opened.id) == (TimeOff(status="cancelled"), (), "SCHED/NORTH/f1/")
    assert one(message(sch(), tq1(), aip(), trigger="S24")).providers == ("d1",)


@pytest.mark.parametrize(
    ("timing", "first", "last"),
    [
        (tq1("20261224", "20261226"), (24, 12), (26, 12)),
        (tq1("20261224", ""), (24, 12), (24, 12)),
        (tq1("20261224", "20261224"), (24, 12), (24, 12)),
        (tq1("20261224", "", "3^D"), (24, 12), (26, 12)),
        (tq1("20261224", "", "1^wk"), (24, 12), (30, 12)),
        (tq1("20260308-0500", ""), (8, 3), (8, 3)),
    ],
)
def test_a_block_may_be_whole_days(timing: str, first: tuple[int, int], last: tuple[int, int]) -> None:
    body = time_off(message(sch(), timing, aip(), trigger="S23"))
    assert body == TimeOff(start=date(2026, first[1], first[0]), end=date(2026, last[1], last[0]))


def test_a_block_of_days_and_times_together_is_refused() -> None:
    for timing, path in (
        (tq1("20261224", "202612261200"), "SCH"),
        (tq1("20261224", "", "90^min"), "TQ1-6"),
        (tq1("20261226", "20261224"), "TQ1-8"),
    ):
        assert refusal(message(sch(), timing, aip(), trigger="S23")).startswith(f"{path}: ")
    assert refusal(message(sch(), tq1("20260309", "20260310"), aip())).startswith(
        "SCH: start and end must have times"
    )


# Messages that are none of these --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "type_", ["ADT^A01", "SIU^S11", "SIU^S25", "SIU^S27", "SIU", "SRM^S01", "", "^S12", "ORU^S12"]
)
def test_other_messages_are_refused(type_: str) -> None:
    assert refusal(booking(header={9: type_})) == "MSH-9: must be SIU with a trigger from S12 to S24, or S26"


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ({"a": 1}, "data: must be an HL7 v2 message as text"),
        (None, "data: must be an HL7 v2 message as text"),
        ("", "data: must be an HL7 v2 message in ER7, which begins with MSH"),
        ("<SIU_S12/>", "data: must be an HL7 v2 message in ER7, which begins with MSH"),
        (f"FHS|^~\\&|A\r{booking()}FTS|1", "FHS: files and batches are not taken; send each of their"),
        (f"BHS|^~\\&|A\r{booking()}BTS|1", "BHS: files and batches are not taken; send each of their"),
        (booking() + booking(), "MSH: there are several messages; send each as an event of its own"),
        (message(tq1(), aip()), "SCH: is missing"),
        (message(sch(), sch(), tq1(), aip()), "SCH: there are several; send each by itself"),
        (booking().replace("^~\\&", "^^\\&"), "MSH-2: the separators must differ"),
        (booking().replace("^~\\&", "|"), "MSH-2: "),
        (booking().replace("^~\\&", "a~\\&"), "MSH-2: separators must not be letters"),
        (message(sch(), tq1(), aip("AIL/r1")), "AIP-3: must not begin as the provider ids of rooms and equipment do"),
        (message(sch(), tq1(), aip("a\\X00\\b")), "AIP-3: must not hold control characters"),
        (message(sch({2: "a\\X0D\\b"}), tq1(), aip()), "MSH-3, MSH-4, SCH-1, SCH-2 or SCH-3: must not hold control"),
    ],
)  # fmt: skip
def test_what_is_no_scheduling_message_is_refused_for_its_reason(text: Any, detail: str) -> None:
    assert refusal(text, "d1").startswith(detail)


def test_segments_in_any_order_and_of_any_other_kind_change_nothing() -> None:
    expected = one(booking())
    more = ("ZZZ|1", "PID|1||x", "NTE|1||AIP|", "aip|1||d9", "AIPX|1||d9", "SCHED", "", "  ")
    assert one(message(msh(), more[0], aip(), *more, tq1(), sch({25: "Booked"}), *more)) == expected


def test_decoding_does_not_depend_on_the_subject_where_the_message_names_providers() -> None:
    assert one(booking(aip("d2"))) == one(booking(aip("d2")), "d2") == one(booking(aip("d2")), "d1")


def test_the_same_message_gives_the_same_items_at_any_time_and_in_any_order() -> None:
    texts = [dialect.text for dialect in DIALECTS.values() if not dialect.settings]
    first = [one(text) for text in texts]
    assert [one(text) for text in reversed(texts)] == first[::-1]
    assert all(appointment(change).end - appointment(change).start < timedelta(hours=1) for change in first)  # type: ignore[operator]
