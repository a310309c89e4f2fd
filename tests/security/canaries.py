"""Canaries: texts that stand for a patient's data, planted in input and looked for in all that comes out."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from kcl_app.stores.base import Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore

NAME = "Quandle, Zebulon-Æsa"
MRN = "MRN 00-4471-9930"
PHONE = "+1 (555) 010-7741"
ADDRESS = "17 Wrackline Close, Ölby"
BORN = "1961-02-29x"
NOTE = "presents with nettle rash\nand is afraid of geese"
SECRET = "sk/live+51Hx9vQ0zz=="

CANARIES = (NAME, MRN, PHONE, ADDRESS, BORN, NOTE, SECRET)

_PARTS = (
    "Quandle", "Zebulon", "4471-9930", "010-7741", "Wrackline", "1961-02-29", "nettle rash", "of geese", "51Hx9vQ0zz",
)  # fmt: skip
"""What is recognised, however the rest of a canary was escaped or cut."""


def _shapes(part: str) -> Iterator[str]:
    yield part
    yield quote(part, safe="")
    yield json.dumps(part)[1:-1]
    for before in range(3):  # base64 looks different at each of three places
        encoded = base64.b64encode(b"x" * before + part.encode() + b"xxx").decode()
        yield encoded[(0, 2, 3)[before] : len(part) * 4 // 3 - 2]
    yield part.encode().hex()


_SHAPES = {shape.casefold(): part for part in _PARTS for shape in _shapes(part) if len(shape) > 6}


def found_in(text: str) -> list[str]:
    """The canaries in a text: plain, percent-encoded, in base64, or in hexadecimal."""
    folded = text.casefold()
    return sorted({part for shape, part in _SHAPES.items() if shape in folded})


def everything_stored(store: MemoryStore, blobs: MemoryBlobs | None = None) -> str:
    """All keys and attributes of all tables, and the blobs' keys; not the raw records of the dead letters."""
    parts = []
    for table in Table:
        for row in store.scan(table):
            shown = {k: v for k, v in row.items() if not (table is Table.DEAD_LETTERS and k == "raw")}
            parts.append(json.dumps([table.name, shown], ensure_ascii=False))
    return "\n".join([*parts, *(blobs.blobs if blobs else ())])


def raw_records(store: MemoryStore, blobs: MemoryBlobs | None = None) -> str:
    """The raw records of the dead letters: the one place that may hold what a patient's message held."""
    rows = [str(raw) for row in store.scan(Table.DEAD_LETTERS) if (raw := row.get("raw")) is not None]
    texts = [base64.b64decode(raw).decode(errors="replace") for raw in rows]
    return "\n".join(
        [*texts, *(data.decode(errors="replace") for data in (blobs.blobs.values() if blobs else ()))]
    )


PATIENT = {
    "resourceType": "Patient", "id": "pat1", "text": {"status": "generated", "div": f"<div>{NAME}</div>"},
    "name": [{"text": NAME}], "telecom": [{"system": "phone", "value": PHONE}], "birthDate": BORN,
    "identifier": [{"system": "urn:mrn", "value": MRN}], "address": [{"text": ADDRESS}],
}  # fmt: skip
"""A contained resource."""

ANYWHERE: Mapping[str, Any] = {
    "text": {"status": "generated", "div": f"<div>{NAME} {MRN}</div>"},
    "display": NAME,
    "description": NOTE,
    "comment": NOTE,
    "patientInstruction": NOTE,
    "note": [{"text": NOTE}],
    "name": NAME,
    "patient": {"reference": "#pat1", "display": NAME, "identifier": {"value": MRN}},
    "telecom": [{"system": "phone", "value": PHONE}],
    "address": [{"text": ADDRESS}],
    "birthDate": BORN,
    "reasonCode": [{"text": NOTE}],
    "_status": {"extension": [{"url": "http://example.org/why", "valueString": NOTE}]},
    "modifierExtension": [{"url": f"http://example.org/{NAME}", "valueString": NAME}],
    NAME: NOTE,
}
"""Properties that hold a patient's data and that availability does not need: added to every object of a message."""


def planted(node: Any) -> Any:
    """A message with canaries in every object that may have further properties."""
    if isinstance(node, list):
        return [planted(one) for one in node]
    if not isinstance(node, dict):
        return node
    grown = {key: planted(value) for key, value in node.items()}
    grown |= {key: value for key, value in ANYWHERE.items() if key not in node}
    if "resourceType" in node:
        grown["contained"] = [PATIENT]
        grown["identifier"] = [{"system": "urn:mrn", "value": MRN, "type": {"text": NAME}}]
    return grown


WRONG: tuple[Any, ...] = (
    NAME,
    f"Practitioner/{NAME}",
    f"2026-03-09T10:00:00Z {BORN}",
    [NAME, MRN],
    {NAME: MRN, "reference": NAME, "value": PHONE},
    [[{"coding": [{"code": {NAME: NAME}}]}]],
)
"""Values that are wrong almost everywhere."""
