"""The EMR of the simulation: one item can name several providers, some days fail, some events end the process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from emr_plugins.api import (
    API_VERSION,
    Appointment,
    Change,
    Context,
    EmrPlugin,
    Event,
    Item,
    ItemChange,
    Reject,
    Span,
    Touched,
)
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app.testing.faults import Crash
from processors.items import BODIES
from processors.times import Interval, day_intervals

TENANT = "acme"
EMR = "several"
NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
"""A Monday, the day after New York's clocks went forward."""
KILLER = "x-killer"
"""The type of an event that ends the process that decodes it."""
NEVER_RIGHT = "i-never"
"""The id of an item with which the plugin computes no spans."""
UNKNOWN = "x-unknown"
"""The type of an event on which the plugin raises an error."""
FAILING = "i1"
"""The id of items of which a plugin may fail to say what a change touches."""
EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class SeveralProviders(StandardPlugin):
    """The standard format with `providers`, a list, so that one item can name several: types are `x-<kind>`.

    Args:
        broken: computes no spans while it is.
        no_impact: cannot say what a change of an item of the id `FAILING` touches.
    """

    name = EMR
    api_version = API_VERSION

    def __init__(self, broken: bool = False, no_impact: bool = False) -> None:
        self.broken = broken
        self.no_impact = no_impact

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """One item for each event; it names no provider where `providers` is empty."""
        data = dict(event.payload())
        if "providers" not in data:
            raise Reject("invalid_data", "data.providers: is required")
        body = BODIES[event.type.removeprefix("x-")].model_validate(data)
        return [ItemChange(data["id"], body, tuple(data["providers"]), data.get("version", 0))]

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        """The standard answer, unless it fails."""
        item = change.new or change.old
        if self.no_impact and item is not None and item.key.id == FAILING:
            raise RuntimeError("no impact")
        return super().impact(change, context)

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """The standard answer, unless it fails."""
        hours = day_intervals(context.zone, day)
        if self.broken or any(item.key.id == NEVER_RIGHT and _falls_in(item, hours) for item in items):
            raise RuntimeError("no answer for this day")
        return super().spans(day, items, context)


def _falls_in(item: Item, hours: Iterable[Interval]) -> bool:
    """Whether an appointment counts in some time: items handed to a plugin may be of the days around as well."""
    if not isinstance(item.body, Appointment) or not item.body.counts:
        return False
    start, end = item.body.interval
    return any(low < end and start < high for low, high in hours)


class DeadlyHost(PluginHost):
    """A host that some events end the process of, as a fault in C code would."""

    def decode(self, event: Event) -> tuple[ItemChange, ...]:
        """Die, or do as ever."""
        if event.type == KILLER:
            raise Crash
        return super().decode(event)


def host(*plugins: EmrPlugin) -> PluginHost:
    """A host of the standard plugin and others, for every tenant, in UTC."""
    registry = Registry()
    for plugin in (StandardPlugin(), *plugins):
        registry.add(plugin, "tests", "1")
    assert not registry.refused
    return DeadlyHost(registry, lambda name: Tenant("UTC", {}))


HOST = host(SeveralProviders())
HOST_THAT_RAISES = host(SeveralProviders(no_impact=True))
