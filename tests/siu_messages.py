"""HL7 v2 SIU messages of our own invention, as several kinds of senders write them; nobody in them is real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcl_app.settings import PROJECT_ROOT

SAMPLES = PROJECT_ROOT.parent / "shared" / "data" / "siu"
"""Public samples, each with the FHIR bundle that another converter makes of it; they lie beside the project."""


def samples() -> list[Path]:
    """The sample messages."""
    found = sorted(SAMPLES.glob("*.hl7"))
    assert len(found) >= 7, f"the sample messages are missing: {SAMPLES}"
    return found


def segment(name: str, fields: Mapping[int, str] | None = None) -> str:
    """A segment with some of its fields."""
    fields = fields or {}
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields, default=0) + 1))])


def msh(trigger: str = "S12", fields: Mapping[int, str] | None = None) -> str:
    """A header."""
    usual = {
        3: "SCHED", 4: "NORTH", 5: "AVAIL", 6: "HUB", 7: "20260302150405", 9: f"SIU^{trigger}^SIU_S12", 10: "1",
        11: "P", 12: "2.5.1",
    }  # fmt: skip
    given = {**usual, **(fields or {})}
    return "MSH|^~\\&|" + "|".join(given.get(number, "") for number in range(3, max(given) + 1))


def sch(fields: Mapping[int, str] | None = None) -> str:
    """An SCH with a filler id."""
    return segment("SCH", {2: "f1", **(fields or {})})


def tq1(start: str = "20260309093000-0400", end: str = "20260309100000-0400", duration: str = "") -> str:
    """A TQ1."""
    return segment("TQ1", {1: "1", 6: duration, 7: start, 8: end})


def aip(provider: str = "d1^Doe^Dana", fields: Mapping[int, str] | None = None) -> str:
    """An AIP."""
    return segment("AIP", {1: "1", 3: provider, **(fields or {})})


def message(
    *segments: str, trigger: str = "S12", end: str = "\r", header: Mapping[int, str] | None = None
) -> str:
    """A message; a header in front unless there is one."""
    whole = segments if segments[:1] and segments[0].startswith("MSH") else (msh(trigger, header), *segments)
    return end.join(whole) + end


def booking(*more: str, **over: Any) -> str:
    """A message that books d1 on 2026-03-09 from 13:30Z to 14:00Z."""
    return message(sch({25: "Booked"}), tq1(), aip(), *more, **over)


@dataclass(frozen=True)
class Dialect:
    """A message as one kind of sender writes it.

    Attributes:
        text: the message.
        id: of its item.
        status, start, end, providers: what it says.
        settings: of the tenant, whose zone is America/New_York.
    """

    text: str
    id: str
    status: str
    start: str
    end: str
    providers: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


DIALECTS: dict[str, Dialect] = {
    "local times in SCH-11, duration in SCH-9, a status of its own, Z segments": Dialect(
        message(
            "MSH|^~\\&|CADENCE|MAIN|HUB|HUB|20260302150405||SIU^S14|77|P|2.3||",
            "SCH|8101|36996||||||FU^FOLLOW UP|30|MIN|^^^20260309111500|7^LAKE^ROBIN||||||||||||||1^SCH",
            "ZCH||1|Y",
            "PID|1||Z900^^^MRN||TESTER^TAYLOR||19700101|M",
            "RGS|1||1^INTERNAL MEDICINE",
            "AIL|1||1^NORTH CLINIC",
            "AIP|1||400^MOON^ALEX|1^MD",
        ),
        "CADENCE/MAIN/36996/", "booked", "2026-03-09T15:15:00Z", "2026-03-09T15:45:00Z", ("400",),
        {"statuses": {"Sch": "booked"}},
    ),
    "start, end and M30 in SCH-11, repeated AIP, lower-case units, ids with assigning authorities": Dialect(
        message(
            "MSH|^~\\&|MILLEN^1.2.3^ISO|EAST|HUB|HUB|20260302150405-0500||SIU^S12|99|P|2.4|||AL|NE",
            "SCH|1^P|2042^F||||CONFIRM|||30|min|^^M30^20260309143000^20260309150000|||||||||||||| CONFIRMED^Confirmed",
            "PID|1||1^^^X||TESTER^TERRY",
            "RGS|1|A",
            "AIS|1|A|CONS^Consultation|20260309143000|0|min|30|min",
            "AIP|1|A|501^RIVER^SAM^^^^^^NPI|ATT|RES|20260309143000|0|min|30|min||CONFIRMED",
            "AIP|2|A|502^STONE^KIM|ASSIST||20260309143000|0|min|30|min||CONFIRMED",
            "AIP|3|D|503^HILL^LEE|ASSIST||20260309143000|0|min|30|min",
        ),
        "MILLEN^1.2.3^ISO/EAST/2042^F/", "booked", "2026-03-09T18:30:00Z", "2026-03-09T19:00:00Z", ("501", "502"),
    ),
    "times in AIS alone, no SCH-25, no seconds, spelled-out units": Dialect(
        message(
            "MSH|^~\\&|ATH|PRACTICE 9|HUB|HUB|202603021504||SIU^S12^SIU_S12|5|T|2.3.1",
            "SCH||771133||||||EST PATIENT VISIT|20|minutes",
            "PID|||88||TESTER^TONI",
            "PV1||O|DEPT 4",
            "AIS|1||EST PATIENT VISIT|202603091000|||20|Minutes",
            "AIP|1||d77^BAY^JO",
        ),
        "ATH/PRACTICE 9/771133/", "booked", "2026-03-09T14:00:00Z", "2026-03-09T14:20:00Z", ("d77",),
    ),
    "a room alone, lines that end with line feeds": Dialect(
        message(
            "MSH|^~\\&|SCHM|WEST|HUB|HUB|20260302150405||SIU^S12|6|P|2.4",
            "SCH|R55.1|||||ROUTINE|||1|HR|^^60^20260309080000^20260309090000",
            "AIL|1||RAD^ROOM 2^^WEST^^N|D|||0|MIN|60|MIN",
            end="\n",
        ),
        "SCHM/WEST//R55.1/", "booked", "2026-03-09T12:00:00Z", "2026-03-09T13:00:00Z", ("AIL/RAD^ROOM 2^^WEST",),
        {"resources": ["AIP", "AIL"]},
    ),
    "separators of its own": Dialect(
        message(
            "MSH$%*!@$S@x%I$F$$$20260302150405$$SIU%S15$7$P$2.5",
            "SCH$$A%B$3$$$$$$15$m$%%%20260309130000+0000",
            "AIP$1$$d1%Doe*d2%Roe",
        ),
        "S&x^I/F/A^B/3", "cancelled", "2026-03-09T13:00:00Z", "2026-03-09T13:15:00Z", ("d1", "d2"),
    ),
    "escaped text in ids and reasons, lines in a note": Dialect(
        message(
            "MSH|^~\\&|A\\T\\B|W\\S\\E|HUB|HUB|20260302150405||SIU^S13|8|P|2.7||||||UNICODE UTF-8",
            "SCH||9\\F\\9^\\X2F\\||||\\.br\\moved\\H\\!\\N\\|R \\T\\ D|||\"\"||||||||||||||||\"\"",
            "TQ1|1||||||2026030909|202603090945.5-0400",
            "NTE|1||first line\nAIP of the second line\nthird",
            "AIP|1|U|d\\R\\1^O\\T\\Neill",
            end="\r\n",
        ).replace("202603090945.5", "20260309094500.5"),
        "A%26B/W%5EE/9|9^%2F/", "booked", "2026-03-09T13:00:00Z", "2026-03-09T13:45:00.500000Z", ("d~1",),
    ),
    "a message as MLLP frames it, placer's id, offsets from the start": Dialect(
        "\x0b" + message(
            sch({1: "p9^PLACER", 2: "", 3: "2", 25: "^Started"}),
            segment("AIS", {1: "1", 4: "20260309130000+0000"}),
            aip("d1", {7: "-5", 8: "MIN", 9: "0.5", 10: "^hour"}),
        ) + "\x1c\r",
        "SCHED/NORTH//p9^PLACER/2", "checked-in", "2026-03-09T12:55:00Z", "2026-03-09T13:25:00Z", ("d1",),
    ),
}  # fmt: skip
