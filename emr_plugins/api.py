"""The plugin API, version 1: all that an EMR plugin imports, on one page.

A plugin is a class that its package names under the entry point group ``emr_plugins``::

    [options.entry_points]
    emr_plugins =
        acme = acme_plugin:AcmePlugin

It turns its EMR's messages into items and items into spans. Its methods are pure: the same arguments give the same
result; they read no clock, no network, no file and no global state, and never change what they are given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from processors.availability import spans_of_day
from processors.envelope import Event
from processors.errors import Reject, explain
from processors.impacts import EVERY_DAY, Change, EveryDay, Instants, LocalDates, Touched, touched_by
from processors.items import (
    Appointment,
    Availability,
    AvailableSpan,
    Body,
    DateOverride,
    Hours,
    Item,
    ItemChange,
    Period,
    Slot,
    TimeOff,
    WeeklyHours,
    WorkingHours,
    ZoneName,
)
from processors.spans import Span
from processors.wall_clock import from_wall_clock

API_VERSION = 1

__all__ = [
    "API_VERSION",
    "EVERY_DAY",
    "Appointment",
    "Availability",
    "AvailableSpan",
    "Body",
    "Change",
    "Context",
    "DateOverride",
    "EmrPlugin",
    "Event",
    "EveryDay",
    "Hours",
    "Instants",
    "Item",
    "ItemChange",
    "LocalDates",
    "NoSettings",
    "Period",
    "Reject",
    "Slot",
    "Span",
    "StandardEnginePlugin",
    "TimeOff",
    "Touched",
    "WeeklyHours",
    "WorkingHours",
    "ZoneName",
    "explain",
    "from_wall_clock",
]


class NoSettings(BaseModel):
    """The settings of a plugin that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Context:
    """What a plugin's methods may know besides their arguments.

    Attributes:
        tenant: whose data it is.
        emr: the `emr` of the events; for a reserved type of the standard format it may be another plugin's.
        zone: IANA time zone: of the provider's calendar in `impact` and `spans`, of the tenant in `decode`.
        settings: the tenant's settings for this plugin, an instance of its `Settings`.
    """

    tenant: str
    emr: str
    zone: str
    settings: Any


class EmrPlugin(ABC):
    """What the worker calls. Most plugins derive from `StandardEnginePlugin` and write only `decode`.

    Attributes:
        name: the `emr` of the events that it understands; lower-case letters, digits and underscores.
        api_version: the version of this page that it was written for.
        patterns: which item changes make it recompute, as EventBridge event patterns over the change document
            ``{"eventName", "tenant", "emr", "kind", "keys", "newImage", "oldImage"}``.
        Settings: a pydantic model of its settings, one set for each tenant.
    """

    name: ClassVar[str]
    api_version: ClassVar[int]
    patterns: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    Settings: ClassVar[type[BaseModel]] = NoSettings

    @abstractmethod
    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """The items that an event creates or changes; none where it has nothing to do with availability.

        Raises:
            Reject: the message cannot be understood; say which field and why, never its value.
        """

    @abstractmethod
    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        """What a change of an item can touch at a provider: instants, local dates, or every day.

        Too much is safe, too little is not. Called for each provider with the item before and after, as that
        provider sees them.
        """

    @abstractmethod
    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """The bookable spans of one provider on one local date.

        Args:
            day: the date in the zone of `context`.
            items: the provider's items that can touch the day, in no particular order.
            context: tenant settings and the provider's zone.

        Returns:
            spans within the local day, sorted, those of one location and service types disjoint.
        """


class StandardEnginePlugin(EmrPlugin):
    """A plugin whose items follow the standard rules: only `decode` is left to write."""

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        """The item's old and new time."""
        return touched_by(change)

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """The standard availability engine's answer."""
        return spans_of_day(day, items, context.zone)
