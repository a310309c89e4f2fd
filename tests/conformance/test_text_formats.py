"""Messages that are no JSON: the same checks of HL7 v2, XML and tables, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from emr_plugins.api import API_VERSION, Appointment, Context, Event, ItemChange, Reject, StandardEnginePlugin
from emr_plugins.testing import check

HL7 = (
    "MSH|^~\\&|A|B|C|D|20260309||SIU^S12|1|P|2.3\rSCH|v1|||||||||30|min|20260309130000\r"
    "PID|1||00-4471||Example^Ada||19800101\rNTE|1||walks with a stick\rAIP|1||d1\r"
)
XML = (
    "<visit><id>v1</id><doctor><id>d1</id><name>Grey</name></doctor><start>20260309130000</start>"
    "<patientName>Ada</patientName></visit>"
)
TABLE = "id,doctor,start,patient_name,note\nv1,d1,20260309130000,Ada Example,a cane\nv2,d1,20260309140000,Bo Example,\n"


def booking(id_: str, doctor: str, start: str, *more: str) -> ItemChange:
    try:
        begins = datetime.strptime(start, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        body = Appointment.model_validate(
            {"status": "booked", "start": begins, "end": begins + timedelta(minutes=30)}
        )
    except (ValueError, OverflowError):
        raise Reject("invalid_data", "the start is no date and time") from None
    if not (0 < len(id_) < 200 and 0 < len(doctor) < 200):
        raise Reject("invalid_data", "the id or the doctor is missing or too long")
    return ItemChange("-".join([id_, *more])[:200], body, (doctor,))


class Text(StandardEnginePlugin):
    """Reads text; the formats below say how."""

    name = "text"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        message: Any = event.payload()
        if isinstance(message, bytes):
            message = message.decode("latin-1")
        if not isinstance(message, str):
            raise Reject("invalid_data", "data: must be a text")
        changes = {one.id: one for one in self.read(message)}
        if not 0 < len(changes) < 500:
            raise Reject("invalid_data", "data: holds no visit, or too many")
        return list(changes.values())

    def read(self, message: str) -> Iterable[ItemChange]:
        raise NotImplementedError


class Hl7(Text):
    def read(self, message: str) -> Iterable[ItemChange]:
        lines = {line[:3]: line.split("|") for line in message.split("\r")}
        try:
            yield booking(lines["SCH"][1], lines["AIP"][3], lines["SCH"][12], *self.more(lines))
        except (KeyError, IndexError):
            raise Reject("invalid_data", "SCH or AIP: is missing or too short") from None

    def more(self, lines: dict[str, list[str]]) -> list[str]:
        return []


class Hl7ByName(Hl7):
    def more(self, lines: dict[str, list[str]]) -> list[str]:
        return lines.get("PID", [""])[5:6]


class Hl7WithNotes(Hl7):
    def more(self, lines: dict[str, list[str]]) -> list[str]:
        return lines.get("NTE", [""])[3:4]


class Hl7Trusting(Hl7):
    def read(self, message: str) -> Iterable[ItemChange]:
        lines = {line[:3]: line.split("|") for line in message.split("\r")}
        if message.startswith("MSH"):
            return [booking(lines["SCH"][1], lines["AIP"][3], lines["SCH"][12])]
        raise Reject("invalid_data", "MSH: must come first")


class Xml(Text):
    def read(self, message: str) -> Iterable[ItemChange]:
        try:
            root = ElementTree.fromstring(message)
        except ElementTree.ParseError:
            raise Reject("invalid_data", "data: is no XML") from None
        doctor, fields = root.find("doctor"), {one.tag: one.text or "" for one in root}
        who = doctor.findtext("id", "") if doctor is not None else ""
        yield booking(fields.get("id", ""), who, fields.get("start", ""), *self.more(fields))

    def more(self, fields: dict[str, str]) -> list[str]:
        return []


class XmlByName(Xml):
    def more(self, fields: dict[str, str]) -> list[str]:
        return [fields.get("patientName", "")]


class Table(Text):
    def read(self, message: str) -> Iterable[ItemChange]:
        for line in message.splitlines()[1:]:
            fields = line.split(",")
            if len(fields) < 4:
                raise Reject("invalid_data", "a line has too few fields")
            yield booking(*fields[:3], *self.more(fields))

    def more(self, fields: list[str]) -> list[str]:
        return []


class TableByName(Table):
    def more(self, fields: list[str]) -> list[str]:
        return [fields[3].upper()]


def failed(plugin: type[Text], folder: Path, name: str, message: str, **options: Any) -> dict[str, str]:
    (folder / name).write_text(message, encoding="utf-8", newline="")
    found = check(plugin, folder / name, runs=3, **options)
    assert not [one for one in found if one.outcome == "skipped"]
    return {one.name: one.message for one in found if one.outcome == "failed"}


@pytest.mark.parametrize(
    ("plugin", "name", "message"),
    [(Hl7, "a.hl7", HL7), (Xml, "a.xml", XML), (Table, "a.csv", TABLE)],
)
def test_right_ones_pass(plugin: type[Text], name: str, message: str, tmp_path: Path) -> None:
    assert failed(plugin, tmp_path, name, message) == {}


@pytest.mark.parametrize(
    ("plugin", "name", "message", "where"),
    [
        (Hl7ByName, "a.hl7", HL7, "with canaries in its segments of patients"),
        (Hl7WithNotes, "a.hl7", HL7, "with canaries in its segments of patients"),
        (Hl7WithNotes, "a.hl7", HL7.replace("NTE|1||walks with a stick\r", ""), "with a segment NTE more"),
        (XmlByName, "a.xml", XML, "with a canary in patientName"),
        (TableByName, "a.csv", TABLE, "with canaries in the column patient_name"),
    ],
)
def test_a_patient_in_an_item_is_found(
    plugin: type[Text], name: str, message: str, where: str, tmp_path: Path
) -> None:
    found = failed(plugin, tmp_path, name, message)
    assert set(found) == {"keeps_patients_out"}
    assert where in found["keeps_patients_out"]


def test_fields_of_ones_own_can_be_named_and_excused(tmp_path: Path) -> None:
    renamed = TABLE.replace("patient_name", "enrollee")
    (tmp_path / "a.csv").write_text(renamed)
    found = failed(TableByName, tmp_path, "a.csv", renamed, patient_fields=("enrollee",))
    assert "with canaries in the column enrollee" in found["keeps_patients_out"]
    assert failed(Table, tmp_path, "a.csv", TABLE, not_patient_fields=("note",)) == {}


def test_a_segment_that_is_missing_is_found_where_it_is_not_expected(tmp_path: Path) -> None:
    found = failed(Hl7Trusting, tmp_path, "a.hl7", HL7)
    assert set(found) == {"rejects_bad_input"}
    assert "decode raised KeyError at test_text_formats.py:" in found["rejects_bad_input"]


def test_bytes_that_are_no_unicode_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes(HL7.replace("Ada", "Ædå").encode("latin-1"))
    found = {one.name: one.outcome for one in check(Hl7, tmp_path / "a.hl7", runs=3)}
    assert set(found.values()) == {"passed"}
