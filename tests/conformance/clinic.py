"""A plugin that is right, and writes all of its methods itself: what the wrong ones are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from emr_plugins.api import (
    API_VERSION,
    EVERY_DAY,
    Appointment,
    Body,
    Change,
    Context,
    Event,
    Instants,
    Item,
    ItemChange,
    Reject,
    Slot,
    Span,
    StandardEnginePlugin,
    Touched,
)


class ClinicSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str = "l1"


Name = Annotated[str, Field(min_length=1, max_length=200)]


class Message(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True, strict=False)

    visit: Name
    doctor: Name
    begins: AwareDatetime
    ends: AwareDatetime
    off: bool = False
    kinds: list[Name] = []


class Clinic(StandardEnginePlugin):
    name = "clinic"
    api_version = API_VERSION
    Settings: ClassVar[type[BaseModel]] = ClinicSettings

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        return [self.change(self.message(event.payload()), event, context)]

    def message(self, data: Any) -> Message:
        try:
            return Message.model_validate(data)
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, one["loc"])) or "data" for one in error.errors())
            raise Reject("invalid_data", f"missing or wrong: {fields}") from None

    def change(self, message: Message, event: Event, context: Context) -> ItemChange:
        try:
            return ItemChange(message.visit, self.body(message, event, context), (message.doctor,))
        except ValidationError:
            raise Reject("invalid_data", "begins, ends, kinds: cannot be") from None

    def body(self, message: Message, event: Event, context: Context) -> Body:
        times = {"start": message.begins, "end": message.ends}
        if event.type == "opening":
            more = {"location_id": context.settings.place, "service_types": tuple(message.kinds)}
            return Slot.model_validate({"status": "cancelled" if message.off else "free", **times, **more})
        return Appointment.model_validate({"status": "cancelled" if message.off else "booked", **times})

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        for item in (change.old, change.new):
            if item is not None and item.body.counts:
                yield self.touched(item)

    def touched(self, item: Item) -> Touched:
        start, end = getattr(item.body, "start", None), getattr(item.body, "end", None)
        if isinstance(start, datetime) and isinstance(end, datetime):
            return Instants(start, end)
        return EVERY_DAY

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        return super().spans(day, sorted(items, key=lambda item: (item.kind, item.key.id)), context)
