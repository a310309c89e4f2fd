"""The feed's messages → items.

- ``AppointmentChange`` → a slot. Open ones (``o``) are free, unless frozen; booked ones (``f`` future, ``2`` checked
  in, ``3`` checked out, ``4`` charge entered) are busy; ``x`` is cancelled. The id stays the same, so a slot that is
  booked stops being free by itself, and a late copy of the open one does not open it again.
- ``ProviderBlock`` → time off, from an instant to another.
- ``ProviderVacation`` → time off, whole dates in the provider's zone.
- ``ProviderProfile`` → working hours without any hours: they only say in which zone the provider's days begin.

A time that the department's clock skips when it goes forward counts as if it had not yet; of one that it shows twice
the first counts. Durations are elapsed time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from emr_plugins.api import (
    API_VERSION,
    Body,
    Context,
    Event,
    ItemChange,
    Reject,
    Slot,
    StandardEnginePlugin,
    TimeOff,
    WorkingHours,
    explain,
    from_wall_clock,
)

from .messages import AppointmentChange, Message, ProviderBlock, ProviderProfile, ProviderVacation, WallTime
from .settings import AthenaStyleSettings

_BUSY = frozenset("f234")


class AthenaStylePlugin(StandardEnginePlugin):
    """Understands the feed's four kinds of message, one message an event."""

    name = "athena_style"
    api_version = API_VERSION
    Settings = AthenaStyleSettings

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """The one item that a message is about.

        Raises:
            Reject: an unknown type of message, a field that is missing or wrong, or a department that is not known.
        """
        if event.type not in _READERS:
            raise Reject("invalid_data", f"type: must be {', '.join(_READERS)}")
        model, item = _READERS[event.type]
        try:
            return [item(model.model_validate(event.payload()), context)]
        except ValidationError as error:
            raise Reject("invalid_data", explain(error, "data")) from None


def _slot(message: AppointmentChange, context: Context) -> ItemChange:
    settings: AthenaStyleSettings = context.settings
    if message.withdrawn:
        return ItemChange(message.appointmentid, Slot(status="cancelled"), (message.providerid,))
    free = "busy-unavailable" if message.frozen == "Y" else "free"
    kind = message.appointmenttypeid
    body = _made(
        Slot,
        status="busy" if message.appointmentstatus in _BUSY else free,
        **_instants(message, context),
        location_id=message.departmentid,
        service_types=() if kind is None else (settings.service_types.get(kind, kind),),
    )
    return ItemChange(message.appointmentid, body, (message.providerid,))


def _block(message: ProviderBlock, context: Context) -> ItemChange:
    body = TimeOff(status="cancelled") if message.withdrawn else _made(TimeOff, **_instants(message, context))
    return ItemChange(f"block/{message.blockid}", body, (message.providerid,))


def _vacation(message: ProviderVacation, context: Context) -> ItemChange:
    if message.withdrawn:
        body: Body = TimeOff(status="cancelled")
    else:
        body = _made(TimeOff, start=message.firstdate, end=message.lastdate)
    return ItemChange(f"vacation/{message.vacationid}", body, (message.providerid,))


def _profile(message: ProviderProfile, context: Context) -> ItemChange:
    zone = _zone(message.homedepartmentid, "homedepartmentid", context)
    body = WorkingHours(status="active" if message.active == "Y" else "cancelled", time_zone=zone)
    return ItemChange(message.providerid, body, (message.providerid,))


_READERS: Mapping[str, tuple[type[Message], Callable[[Any, Context], ItemChange]]] = {
    "AppointmentChange": (AppointmentChange, _slot),
    "ProviderBlock": (ProviderBlock, _block),
    "ProviderVacation": (ProviderVacation, _vacation),
    "ProviderProfile": (ProviderProfile, _profile),
}


def _made(body: type[Body], **fields: Any) -> Body:
    """A validated body; years out of bounds are found here."""
    return body.model_validate(fields)


def _instants(message: WallTime, context: Context) -> dict[str, datetime]:
    """Start and end of what is not withdrawn."""
    # The model has seen to it that they are there.
    assert message.starts is not None
    assert message.departmentid is not None
    assert message.duration is not None
    start = from_wall_clock(message.starts, _zone(message.departmentid, "departmentid", context))
    # It is in UTC: an hour across a change of the clocks is still an hour.
    return {"start": start, "end": start + timedelta(minutes=message.duration)}


def _zone(department: str, field: str, context: Context) -> str:
    settings: AthenaStyleSettings = context.settings
    if department in settings.departments:
        return settings.departments[department]
    if settings.other_departments == "tenant":
        return context.zone
    raise Reject("invalid_data", f"data.{field}: no such department in the tenant's settings")
