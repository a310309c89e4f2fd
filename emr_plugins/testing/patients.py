"""Check that a patient's data stays out of items: it is replaced by canaries, which must not turn up there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from urllib.parse import unquote

from emr_plugins.api import Event, ItemChange

from .answers_of import as_texts
from .bad_input import message_of, with_data
from .failures import Broken, NotApplicable, shown
from .mutants import Path, at, paths, replaced, words
from .subject import Subject

CANARIES = ("Quandlezebu", "Wracklinott")
"""Two, so that what is derived from a patient's data shows too: it differs."""
_NUMBERS = (918273645, 192837465)

NAMES_OF_PATIENTS = (
    "patient*", "pat", "pt", "pt_*", "ptname", "pid", "mrn", "*ssn", "dob", "birth*", "dateofbirth", "given*",
    "family*",
    "firstname", "lastname", "middlename", "fullname", "surname", "maiden*", "gender", "sex", "race", "ethnic*",
    "*phone*", "mobile", "telecom", "*email*", "address*", "street*", "zip*", "postal*", "guarantor*", "nextofkin",
    "insur*", "subscriber*", "policy*", "note", "notes", "comment*", "memo", "remark*", "diagnos*", "complaint*",
    "symptom*", "allerg*", "medication*", "narrative", "display", "description", "reasontext",
)  # fmt: skip
"""Names of fields that hold a patient's data in nearly every format; lower-case, without ``_``, ``-`` and spaces."""

_OF_OTHERS = (
    "*provider*", "*practitioner*", "*doctor*", "*physician*", "*clinician*", "*location*", "*department*", "*clinic*",
    "*facility*", "*room*", "*resource*", "*service*", "*organization*", "*staff*",
)  # fmt: skip
"""Below these, a name, a phone or an address is not a patient's."""

_SEGMENTS = ("PID", "PD1", "NK1", "GT1", "IN1", "IN2", "IN3", "NTE", "DG1", "AL1", "OBX", "ACC", "PV2", "ZPI")
"""Segments of HL7 v2 that hold a patient's data and nothing of a schedule."""

_EXTRA = ("patientName", "comments", "note", "freeText", "birthDate", "phone")
"""Fields that nobody expects, added to every object: they may come with the next release of the EMR."""

_MEND = (
    "read only the fields that availability needs, into a model of them; take ids of appointments, providers and "
    "places from identifiers, never from names or numbers of patients. If the field is no patient's, say so: "
    'not_patient_fields = ("its name",)'
)
_RULE = "what names a patient gets into no item: no id, no provider, no place, no service type"


def keeps_patients_out(subject: Subject) -> None:
    """Canaries in a patient's fields turn up in no item."""
    planted = 0
    for sample, _ in subject.decoded:
        message = message_of(sample.event)
        for where, fill in _plants(message, subject):
            decoded = [_decoded(subject, sample.event, fill(number)) for number in (0, 1)]
            if None in decoded:
                continue
            planted += 1
            texts = [repr(as_texts(changes or ())) for changes in decoded]
            for number, text in enumerate(texts):
                if _holds(text, number):
                    did = f"puts it into an item: {shown(_around(text, number))}"
                    raise Broken(_RULE, did, f"sample {sample.name}, {where}", _MEND)
            if texts[0] != texts[1] and texts[0] == _again(subject, sample.event, fill(0)):
                did = (
                    "makes other items of another value there, so that it can be told from them: "
                    f"{shown(_first_difference(decoded[0] or (), decoded[1] or ()))}"
                )
                raise Broken(_RULE, did, f"sample {sample.name}, {where}", _MEND)
    if not planted:
        raise NotApplicable(
            "the samples have no field with a name that the kit takes for a patient's: name them, as "
            'patient_fields = ("…",)'
        )


def _decoded(subject: Subject, event: Event, message: Any) -> tuple[ItemChange, ...] | None:
    return subject.decode(with_data(event, message), subject.fresh()).value


def _again(subject: Subject, event: Event, message: Any) -> str:
    """Not the same where the plugin answers as it likes: that is not the patient's doing."""
    return repr(as_texts(_decoded(subject, event, message) or ()))


Fill = Callable[[int], Any]
"""The message with one of the two canaries."""


def _plants(message: Any, subject: Subject) -> Iterator[tuple[str, Fill]]:
    if isinstance(message, bytes):
        for where, fill in _plants(message.decode("latin-1"), subject):
            yield where, lambda number, fill=fill: fill(number).encode("latin-1")  # type: ignore[misc]
    elif isinstance(message, str):
        yield from _plants_in_text(message, subject)
    elif isinstance(message, dict | list):
        found = [
            path
            for path in paths(message)
            if _is_leaf(at(message, path)) and _patients(path, message, subject)
        ]
        if found:
            yield (
                f"with canaries in {', '.join(map(words, found[:4]))}",
                partial(_filled, message, found),
            )
        for path in found:
            yield (
                f"with a canary in {words(path)}",
                partial(_filled, message, [path]),
            )
        yield (
            f"with more fields in every object ({', '.join(_EXTRA)})",
            partial(_grown, message),
        )


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, dict | list | bool | None)


def _filled(message: Any, places: list[Path], number: int) -> Any:
    for path in places:
        old = at(message, path)
        value: Any = CANARIES[number] if isinstance(old, str) else _NUMBERS[number]
        if isinstance(old, str) and (named := re.match(r"(Patient|RelatedPerson|Person)/", old)):
            value = named[0] + CANARIES[number]
        message = replaced(message, path, value)
    return message


def _grown(node: Any, number: int) -> Any:
    if isinstance(node, list):
        return [_grown(one, number) for one in node]
    if not isinstance(node, dict):
        return node
    return {
        **dict.fromkeys(_EXTRA, CANARIES[number]),
        **{key: _grown(one, number) for key, one in node.items()},
    }


def _patients(path: Path, message: Any, subject: Subject) -> bool:
    """Whether a place holds a patient's data, by the names on the way to it."""
    value = at(message, path)
    if isinstance(value, str) and re.match(r"(Patient|RelatedPerson|Person)/", value):
        return True
    names = [re.sub(r"[_\-\s]", "", key).casefold() for key in path if isinstance(key, str)]
    return bool(names) and _is_patients(names, subject)


def _is_patients(names: list[str], subject: Subject) -> bool:
    def one_of(name: str, patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, re.sub(r"[_\-\s]", "", pattern).casefold()) for pattern in patterns)

    if any(one_of(name, subject.options.patient_fields) for name in names):
        return True
    if one_of(names[-1], subject.options.not_patient_fields):
        return False
    if any(name.startswith(("patient", "guarantor", "nextofkin", "insur")) for name in names):
        return True
    if any(one_of(name, _OF_OTHERS) for name in names):
        return False
    return one_of(names[-1], NAMES_OF_PATIENTS) or any(
        one_of(name, ("telecom", "address*")) for name in names
    )


def _plants_in_text(message: str, subject: Subject) -> Iterator[tuple[str, Fill]]:
    """Segments of HL7 v2; else elements, attributes and pairs whose names say so, and columns of tables."""
    segments = (*_SEGMENTS, *subject.options.patient_fields)
    if re.search(r"^MSH\|", message, re.MULTILINE):
        named = rf"(?:{'|'.join(map(re.escape, segments))})"
        lines = re.compile(rf"(?:^|(?<=[\r\n]))({named})\|([^\r\n]*)")
        if lines.search(message):
            yield (
                "with canaries in its segments of patients",
                lambda number: lines.sub(
                    lambda m: f"{m[1]}|{re.sub(r'[^|^~&]+', CANARIES[number], m[2])}", message
                ),
            )
        yield (
            "with a segment NTE more",
            lambda number: message.rstrip("\r\n") + f"\rNTE|1||{CANARIES[number]}\r",
        )
        return
    for match in re.finditer(
        r"<([\w:.-]+)(?:\s[^<>]*)?>([^<>]+)</|\b([\w-]+)\s*[=:]\s*\"?([^\s\"<>,;|]+)", message
    ):
        name, place = (match[1], match.span(2)) if match[1] else (match[3], match.span(4))
        if _is_patients([re.sub(r"[_\-\s]", "", name.rpartition(":")[2]).casefold()], subject):
            low, high = place
            yield (
                f"with a canary in {name}",
                lambda number, low=low, high=high: message[:low] + CANARIES[number] + message[high:],  # type: ignore[misc]
            )
    yield from _plants_in_table(message, subject)


def _plants_in_table(message: str, subject: Subject) -> Iterator[tuple[str, Fill]]:
    lines = message.splitlines()
    for sign in (",", ";", "\t", "|"):
        header = lines[0].split(sign) if lines else []
        if len(header) < 3 or len(lines) < 2:
            continue
        for column, name in enumerate(header):
            if not _is_patients([re.sub(r"[_\-\s\"]", "", name).casefold()], subject):
                continue

            def fill(number: int, column: int = column, sign: str = sign) -> str:
                rows = [line.split(sign) for line in lines[1:]]
                for row in rows:
                    if column < len(row):
                        row[column] = CANARIES[number]
                return "\n".join([lines[0], *(sign.join(row) for row in rows)]) + "\n"

            yield f"with canaries in the column {name}", fill


def _holds(text: str, number: int) -> bool:
    folded = unquote(text).casefold()
    return CANARIES[number].casefold() in folded or str(_NUMBERS[number]) in folded


def _around(text: str, number: int) -> str:
    place = max(text.casefold().find(CANARIES[number].casefold()), text.find(str(_NUMBERS[number])), 0)
    return text[max(0, place - 80) : place + 80]


def _first_difference(some: tuple[ItemChange, ...], others: tuple[ItemChange, ...]) -> str:
    for one, other in zip(as_texts(some), as_texts(others), strict=False):
        if one != other:
            return f"{one} and {other}"
    return f"{len(some)} items and {len(others)}"
