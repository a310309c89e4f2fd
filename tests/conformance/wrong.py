"""Plugins that are wrong on purpose, in what they are or in `decode`, each in one way.

Each is `Clinic` but for what it gets wrong, with the checks that must find it: several where the wrong shows in several
places.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import sys
import time as clock
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from conformance.clinic import Clinic, Message
from conformance.rules import found_by
from emr_plugins.api import (
    Appointment,
    Body,
    Context,
    Event,
    Item,
    ItemChange,
    Reject,
    Slot,
    Span,
    Touched,
)

# What it is ---------------------------------------------------------------------------------------------------------


@found_by("registers", says="written for version 0 of the plugin API")
class OldApi(Clinic):
    api_version = 0


@found_by("registers", says="its name must be lower-case letters")
class BadName(Clinic):
    name = "The Clinic"


@found_by("registers", says="its decode takes (message, context) and must take (event, context)")
class OtherSignature(Clinic):
    def decode(self, message: Event, context: Context) -> Iterable[ItemChange]:
        return []


@found_by("registers", says="its patterns: ")
class BadPattern(Clinic):
    patterns = ({"kind": [{"wildcard": "a**"}]},)


@found_by("registers", says="its Settings is not a pydantic model")
class SettingsOfADict(Clinic):
    Settings = dict  # type: ignore[assignment]


@found_by("registers", says="cannot be called without arguments")
class WantsArguments(Clinic):
    def __init__(self, url: str) -> None:
        self.url = url


@found_by("settings", says="does not accept no settings")
class SettingsAreRequired(Clinic):
    class Settings(BaseModel):
        place: str


@found_by("settings", says="accepts a setting that it does not know")
class SettingsTakeAnything(Clinic):
    class Settings(BaseModel):
        place: str = "l1"


@found_by("settings", says="accepts for place whatever it is given")
class SettingsAreUntyped(Clinic):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        place: Any = "l1"


@found_by("settings", says="cannot be pickled")
class SettingsHoldALock(Clinic):
    class Settings(BaseModel):
        model_config = ConfigDict(extra="forbid")
        place: str = "l1"
        _open: Any = PrivateAttr(default_factory=lambda: lambda: None)


# decode -------------------------------------------------------------------------------------------------------------


@found_by("decodes_every_sample", says="rejects it: type: is not known")
class KnowsNoOpenings(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        if event.type == "opening":
            raise Reject("invalid_data", "type: is not known")
        return super().decode(event, context)


@found_by("decodes_every_sample", says="decodes it to no item")
class IgnoresCancellations(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        return [change for change in super().decode(event, context) if change.body.counts]


@found_by("decodes_every_sample", says="the event changes more than 1000 items")
class NeverEnds(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        (change,) = super().decode(event, context)
        return (ItemChange(f"{change.id}-{n}", change.body, change.providers) for n in itertools.count())


@found_by("decodes_every_sample", says="decode returned a body that is not valid")
class SkipsValidation(Clinic):
    def body(self, message: Message, event: Event, context: Context) -> Body:
        return Appointment.model_construct(
            status="maybe",  # type: ignore[arg-type]
            start=message.begins,
            end=message.ends,
        )


@found_by("rejects_bad_input", says="decode raised KeyError at wrong.py:")
class TrustsItsInput(Clinic):
    def message(self, data: Any) -> Message:
        if not isinstance(data, dict):
            raise Reject("invalid_data", "data: must be an object")
        _ = data["patient"] if data.get("visit") else None
        return super().message(data)


@found_by("rejects_bad_input", says="decode raised SystemExit at wrong.py:")
class ExitsOnNull(Clinic):
    def message(self, data: Any) -> Message:
        if data is None:
            sys.exit(1)
        return super().message(data)


@found_by("rejects_bad_input", says="decode took more than 1 s")
class HangsOnAnEmptyText(Clinic):
    def message(self, data: Any) -> Message:
        while data == "":
            pass
        return super().message(data)


@found_by("rejects_bad_input", says="accepts it, as no items")
class SwallowsWhatItDoesNotKnow(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        data = event.payload()
        return super().decode(event, context) if isinstance(data, dict) and "visit" in data else []


@found_by("rejects_bad_input", says="rejects with the reason 'unreadable'")
class HasItsOwnReasons(Clinic):
    def message(self, data: Any) -> Message:
        try:
            return super().message(data)
        except Reject as reject:
            raise Reject("unreadable", reject.detail) from None


@found_by("rejects_quote_nothing", says="which quote the message")
class QuotesTheMessage(Clinic):
    def message(self, data: Any) -> Message:
        try:
            return super().message(data)
        except Reject:
            raise Reject("invalid_data", f"cannot read {data!r}"[:500]) from None


class TalkativeMessage(Message):
    model_config = ConfigDict(hide_input_in_errors=False)


@found_by("rejects_quote_nothing", says="which quote the message")
class SaysWhatPydanticSays(Clinic):
    def message(self, data: Any) -> Message:
        try:
            return TalkativeMessage.model_validate(data)
        except ValidationError as error:
            raise Reject("invalid_data", str(error)) from None


@found_by("keeps_patients_out", says="puts it into an item")
class NamesTheItemByThePatient(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        (change,) = super().decode(event, context)
        patient = event.data.get("patient")
        name = patient.get("name") if isinstance(patient, dict) else None
        return [ItemChange(f"{change.id}-{name}"[:200], change.body, change.providers)]


@found_by("keeps_patients_out", says="makes other items of another value there")
class HashesThePatient(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        (change,) = super().decode(event, context)
        patient = hashlib.sha256(repr(event.data.get("patient")).encode()).hexdigest()
        return [ItemChange(f"{change.id}-{patient}"[:200], change.body, change.providers)]


@found_by("keeps_patients_out", says="with more fields in every object")
class KeepsWhatItDoesNotKnow(Clinic):
    def body(self, message: Message, event: Event, context: Context) -> Body:
        known = {*Message.model_fields, "patient", "note"}
        more = [str(value) for name, value in event.data.items() if name not in known]
        body = super().body(message, event, context)
        if isinstance(body, Slot):
            return Slot.model_validate({**dict(body), "service_types": (*body.service_types, *more)})
        return body


# Purity -------------------------------------------------------------------------------------------------------------


@found_by("changes_no_argument", says="decode changes the event")
class PopsFromTheEvent(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        if isinstance(event.data, dict):
            event.data.pop("note", None)
        return super().decode(event, context)


@found_by("changes_no_argument", says="spans changes the items")
class SortsInPlace(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        items.sort(key=lambda item: item.key)  # type: ignore[attr-defined]
        return super().spans(day, items, context)


@found_by("changes_no_argument", says="impact changes the change")
class RewritesItems(Clinic):
    def touched(self, item: Item) -> Touched:
        said = super().touched(item)
        object.__setattr__(item, "providers", ())
        return said


class Notes(BaseModel):
    model_config = ConfigDict(extra="forbid")
    place: str = "l1"
    seen: list[str] = []


@found_by("changes_no_argument", says="changes context.settings")
class NotesIntoSettings(Clinic):
    Settings = Notes

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        context.settings.seen.append(event.id)
        return super().decode(event, context)


@found_by("same_answer_again", says="asked once more")
class CountsItsCalls(Clinic):
    def __init__(self) -> None:
        self.calls = 0

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        self.calls += 1
        return [
            ItemChange(one.id, one.body, one.providers, self.calls) for one in super().decode(event, context)
        ]


@found_by("same_answer_again", says="decode answers")
class RemembersTheLastDoctor(Clinic):
    def __init__(self) -> None:
        self.last = "nobody"

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        (change,) = super().decode(event, context)
        providers, self.last = tuple({*change.providers, self.last} - {"nobody"}), change.providers[0]
        return [ItemChange(change.id, change.body, tuple(sorted(providers)))]


@found_by("same_answer_in_another_process", says="PYTHONHASHSEED")
class TrustsTheOrderOfASet(Clinic):
    def change(self, message: Message, event: Event, context: Context) -> ItemChange:
        change = super().change(message, event, context)
        return ItemChange(f"{change.id}-{'-'.join(set(message.kinds))}"[:200], change.body, change.providers)


@found_by("same_answer_in_another_process", says="TZ=")
class ReadsTimesInTheMachinesZone(Clinic):
    def body(self, message: Message, event: Event, context: Context) -> Body:
        local = message.begins.replace(tzinfo=None).astimezone(UTC)
        moved = message.model_copy(update={"begins": local, "ends": local + (message.ends - message.begins)})
        return super().body(moved, event, context)


@found_by("asks_nobody", says="decode calls datetime.now at wrong.py:")
class LeavesOutThePast(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        changes = super().decode(event, context)
        return [] if datetime.now(UTC).year < 2020 else changes


@found_by("asks_nobody", says="decode calls open at wrong.py:")
class ReadsAFile(Clinic):
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        Path(__file__).read_text(encoding="utf-8")
        with open(__file__, encoding="utf-8"):
            return super().decode(event, context)


@found_by("asks_nobody", says="spans calls os.environ at wrong.py:")
class ReadsTheEnvironment(Clinic):
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        return [] if os.environ.get("CLINIC_CLOSED") else super().spans(day, items, context)


@found_by("asks_nobody", says="impact calls time.sleep at wrong.py:")
class Waits(Clinic):
    def touched(self, item: Item) -> Touched:
        clock.sleep(0.000_1)
        return super().touched(item)


@found_by(
    "asks_nobody",
    "same_answer_again",
    "same_answer_in_another_process",
    says="calls random.random at wrong.py:",
)
class MakesUpIds(Clinic):
    def change(self, message: Message, event: Event, context: Context) -> ItemChange:
        change = super().change(message, event, context)
        return ItemChange(f"{change.id}-{random.random()}"[:200], change.body, change.providers)


@found_by("same_answer_in_another_process", says="ends it with status 5")
class EndsTheProcessElsewhere(Clinic):
    """As a licence check would that looks at the machine's zone."""

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        if clock.tzname[0] == "+14":
            os._exit(5)
        return super().decode(event, context)
