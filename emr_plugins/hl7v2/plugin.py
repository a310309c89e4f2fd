"""HL7 v2 scheduling messages → items: SIU S12 to S24 and S26 (HL7 v2.3 to v2.8, chapter 10), in ER7.

A message is read as the whole of its appointment: the resources that it names are all that it has from now on. What
names a patient is never looked at.

- S12 to S22 and S26 → appointment. Its status is SCH-25, else what the trigger says.
- S23 → time_off, S24 → its withdrawal: time of a schedule that is blocked, and opened again.
- Providers: the AIP segments, and AIG and AIL where the tenant's settings say so, but for those that are deleted or
  cancelled themselves. If all of them are it is as good as cancelled. Where none is named it is the event's subject.
- Identity: who sends (MSH-3 and MSH-4), the filler's id (SCH-2), else the placer's (SCH-1), and the occurrence (SCH-3).

HL7 v2 has no version of an appointment, so the event's time says which of two messages is the newer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from emr_plugins.api import (
    API_VERSION,
    Appointment,
    Body,
    Context,
    Event,
    ItemChange,
    Reject,
    StandardEnginePlugin,
    TimeOff,
)
from processors.envelope import CONTROL_CHARACTERS
from processors.items import WITHDRAWN
from processors.keys import id_fits

from .er7 import Fields, Message, Separators, field, read_message, wrong
from .tables import BLOCK, STATUSES, TRIGGERS, UNBLOCK, Status, status_key
from .timing import Clock, When, find, of_resources, of_sch_9, of_sch_11, of_tq1

Resource = Literal["AIP", "AIG", "AIL"]
"""The segments of what can be booked: personnel, general resources such as equipment, and locations."""

_ACTION = 2
_ID = 3
_FILLER_STATUS = {"AIS": 10, "AIG": 14, "AIL": 12, "AIP": 12}
"""The fields that all resource segments have, two of them at one number."""


def _by_key(statuses: dict[str, Status]) -> dict[str, Status]:
    return {status_key(text): status for text, status in statuses.items()}


class Hl7V2Settings(BaseModel):
    """A tenant's settings.

    Attributes:
        resources: the segments that name providers. The provider id of an AIP is the bare id; of the others it is
            behind the name of the segment (``AIL/…``), so that a room never has the calendar of a person.
        statuses: what the codes or texts mean that the tenant's systems write into SCH-25 besides those of HL7 table
            0278; case, spaces and hyphens make no difference.
        missing_unit: of durations without a unit. HL7 says seconds; nearly everyone who leaves it out means minutes,
            and too long a booking does less harm than one of 30 seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    resources: tuple[Resource, ...] = ("AIP",)
    statuses: Annotated[dict[str, Status], AfterValidator(_by_key)] = {}
    missing_unit: Literal["s", "min"] = "min"


class Hl7V2Plugin(StandardEnginePlugin):
    """Understands HL7 v2 SIU messages in ER7."""

    name = "hl7v2"
    api_version = API_VERSION
    Settings = Hl7V2Settings

    def decode(self, event: Event, context: Context) -> list[ItemChange]:
        """One change: of the appointment, or of the blocked time.

        Raises:
            Reject: not one of these messages, or a field of it is wrong; says which and why.
        """
        message = read_message(event.payload())
        trigger = _trigger(message)
        activities = message.segments.get("SCH", [])
        if len(activities) != 1:
            raise wrong("SCH", "is missing" if not activities else "there are several; send each by itself")
        reader = _Reader(message, activities[0], context)
        blocks = trigger in (BLOCK, UNBLOCK)
        status = reader.block_status(trigger) if blocks else reader.status(trigger)

        here, gone = reader.providers()
        if not here and gone:
            # Nobody is left to keep it, so it takes nobody's time; those who were are where it would be.
            here = gone
            status = status if status in WITHDRAWN else "cancelled"
        idle = status in Appointment.FREE_STATUSES
        if not here and status not in WITHDRAWN:
            if event.subject is not None:
                here = (event.subject,)
            elif idle:
                status = "cancelled"  # takes no time either, and may leave out whose
            else:
                fields = " or ".join(f"{name}-{_ID}" for name in context.settings.resources)
                raise wrong(fields, "names no provider, and the event has no subject")

        start: When | None
        end: When | None
        try:
            start, end = reader.times(whole_days=blocks)
        except Reject:
            if not idle:
                raise
            start = end = None
            status = status if status in WITHDRAWN else "cancelled"
        return [ItemChange(reader.identity(), _body(blocks, status, start, end), here)]


def _body(blocks: bool, status: str, start: When | None, end: When | None) -> Body:
    if not blocks:
        return Appointment.model_validate(
            {"status": status, "start": start and start.at, "end": end and end.at}
        )
    bounds = [when and (when.day or when.at) for when in (start, end)]
    return TimeOff.model_validate({"status": status, "start": bounds[0], "end": bounds[1]})


def _trigger(message: Message) -> str:
    parts = [message.text(raw).upper() for raw in message.components(message.header, 9)]
    trigger = parts[1] if len(parts) > 1 else ""
    if parts[0] != "SIU" or not (trigger in TRIGGERS or trigger in (BLOCK, UNBLOCK)):
        raise wrong("MSH-9", "must be SIU with a trigger from S12 to S24, or S26")
    return trigger


class _Reader:
    """Reads one message's parts."""

    def __init__(self, message: Message, sch: Fields, context: Context) -> None:
        self._message, self._sch = message, sch
        self._settings: Hl7V2Settings = context.settings
        self._clock = Clock(message, context.zone, self._settings.missing_unit)

    # Status ----------------------------------------------------------------------------------------------------------

    def _known(self, fields: Fields, number: int) -> tuple[Status | None, bool]:
        """The status in a field, by code or text, and whether anything is there."""
        raw = field(fields, number)
        if not raw:
            return None, False
        given = False
        for at, part in enumerate(self._message.split(raw)):  # a CWE: code, text, the code's system; twice
            if at in (0, 1, 3, 4) and (text := status_key(self._message.text(part))):
                given = True
                if status := self._settings.statuses.get(text) or STATUSES.get(text):
                    return status, True
        return None, given

    def status(self, trigger: str) -> str:
        """Of an appointment: SCH-25, else what the trigger says."""
        status, given = self._known(self._sch, 25)
        if given and status is None:
            why = "is not a status of HL7 table 0278; plugins.hl7v2.statuses can say what it means"
            raise wrong("SCH-25", why)
        return status or TRIGGERS[trigger]

    def block_status(self, trigger: str) -> str:
        """Of blocked time: the trigger says it, unless SCH-25 withdraws it."""
        status, _ = self._known(self._sch, 25)
        if trigger == UNBLOCK:
            return "cancelled"
        return status if status in WITHDRAWN else "active"

    # Providers -------------------------------------------------------------------------------------------------------

    def _holds(self, name: str, fields: Fields) -> bool:
        """Whether a resource is there, rather than deleted or cancelled by itself."""
        if field(fields, _ACTION) and self._message.first(fields, _ACTION).upper() == "D":
            return False
        return self._known(fields, _FILLER_STATUS[name])[0] not in WITHDRAWN

    def providers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Those who keep the appointment, and those who were taken from it."""
        here: dict[str, None] = {}
        gone: dict[str, None] = {}
        for name in self._settings.resources:
            for fields in self._message.segments.get(name, ()):
                named = here if self._holds(name, fields) else gone
                named.update(dict.fromkeys(self._ids(name, fields)))
        return tuple(here), tuple(gone)

    def _ids(self, name: str, fields: Fields) -> Iterator[str]:
        for raw in self._message.repetitions(field(fields, _ID)):
            parts = self._message.split(raw)
            if name == "AIL":
                # Point of care, room, bed, facility, building and floor say where; status and type of a place change.
                where = [parts[at] if at < len(parts) and at not in (4, 5) else "" for at in range(8)]
                id_ = _canonical(self._message.separators.component.join(where), self._message.separators)
            else:
                id_ = self._message.text(parts[0])
            if not id_:
                continue
            if CONTROL_CHARACTERS.search(id_):
                raise wrong(f"{name}-{_ID}", "must not hold control characters")
            if name == "AIP" and id_.startswith(("AIG/", "AIL/")):
                raise wrong("AIP-3", "must not begin as the provider ids of rooms and equipment do")
            yield id_ if name == "AIP" else f"{name}/{id_}"

    # Times -----------------------------------------------------------------------------------------------------------

    def _resources(self, *names: str) -> list[tuple[str, Fields]]:
        return [
            (name, fields)
            for name in names
            for fields in self._message.segments.get(name, ())
            if self._holds(name, fields)
        ]

    def times(self, *, whole_days: bool) -> tuple[When, When]:
        """Start and end.

        Args:
            whole_days: dates without a time will do, the last included.
        """
        message, clock, sch = self._message, self._clock, self._sch
        used = ("AIS", *self._settings.resources)
        others = tuple(name for name in ("AIP", "AIG", "AIL") if name not in used)
        start, end = find(
            (
                lambda _: of_tq1(message, clock),
                lambda _: of_sch_11(message, clock, sch),
                lambda start: of_resources(message, clock, self._resources(*used), start),
                lambda start: of_resources(message, clock, self._resources(*others), start),
                lambda _: of_sch_9(message, clock, sch),
            )
        )
        if whole_days and start.day is not None:
            end = end or start
            if end.day is None:
                raise wrong("SCH", "start and end must both be dates, or both have times")
            return start, end
        if end is None:
            raise wrong(
                "TQ1-8, TQ1-6, SCH-11.5, AIS-7, AIP-9 or SCH-9", "neither an end nor a duration is given"
            )
        if start.day is not None or end.day is not None:
            raise wrong("SCH", "start and end must have times of day, not only dates")
        return start, end

    # Identity --------------------------------------------------------------------------------------------------------

    def identity(self) -> str:
        """Who sends, filler id (or nothing and the placer id), occurrence; never the same for different ones."""
        separators = self._message.separators
        header = self._message.header
        sender = _sender(field(header, 3), field(header, 4), separators)
        id_ = _canonical(field(self._sch, 2), separators)
        if not id_:
            id_ = _canonical(field(self._sch, 1), separators)
            if not id_:
                raise wrong("SCH-2", "is required where SCH-1 is empty, too")
            id_ = f"/{id_}"
        whole = f"{sender}/{id_}/{_canonical(field(self._sch, 3), separators)}"
        if CONTROL_CHARACTERS.search(whole):
            raise wrong("MSH-3, MSH-4, SCH-1, SCH-2 or SCH-3", "must not hold control characters")
        if not id_fits(whole):
            return "sha256:" + hashlib.sha256(whole.encode()).hexdigest()
        return whole


@lru_cache(maxsize=1024)
def _sender(application: str, facility: str, separators: Separators) -> str:
    return f"{_canonical(application, separators)}/{_canonical(facility, separators)}"


_MARKS = str.maketrans({mark: f"%{ord(mark):02X}" for mark in "%/~^&"})


def _canonical(raw: str, separators: Separators) -> str:
    """A raw field as text that is the same whatever separators the sender uses, and different for different fields.

    Empty parts at the end of a field mean nothing in HL7, nor do spaces round a value.
    """
    if not raw or raw.isalnum():
        return raw
    unescaped = Message(separators, [], {}).unescaped

    def subcomponents(component: str) -> str:
        parts = component.split(separators.subcomponent)
        return "&".join(unescaped(part).strip(" ").translate(_MARKS) for part in parts).rstrip("&")

    def components(repetition: str) -> str:
        return "^".join(map(subcomponents, repetition.split(separators.component))).rstrip("^")

    return "~".join(map(components, raw.split(separators.repetition))).rstrip("~")
