"""Calls plugins and checks what they return, so that what one does wrong stays with its own event or day.

Everything that can be wrong with an event or with a plugin's answer comes out as a `Reject`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from processors import times
from processors.envelope import CONTROL_CHARACTERS, Event
from processors.errors import REASONS, Reject, explain
from processors.impacts import Change, intervals_of
from processors.items import BODIES, Availability, Item, ItemChange
from processors.keys import MAX_ENCODED_ID, ProviderKey, encode_part
from processors.revisions import MAX_VERSION
from processors.spans import Span, check_spans
from processors.times import Interval

from .api import Context
from .registry import LoadedPlugin, Registry
from .standard import RESERVED_TYPES

MAX_PROVIDERS = 50
"""Providers that one item may name: their copies are written in one DynamoDB transaction, which holds 100."""

MAX_CHANGES = 1000
"""Items that one event may change."""

MAX_DETAIL = 1000
"""Characters of what a plugin says of a reject."""


@dataclass(frozen=True)
class Tenant:
    """What the settings say of a tenant."""

    time_zone: str
    plugins: Mapping[str, Mapping[str, Any]]


class InvalidSettings(ValueError):  # noqa: N818
    """A tenant's settings that a plugin does not accept.

    Args:
        key: of the plugin's section.
        why: which field of it and why, without its value.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}.{why}")
        self.why = why


Timer = Callable[[str, str], AbstractContextManager[Any]]
"""Measures a call: plugin name, method."""


class PluginHost:
    """The plugins, with each tenant's settings for them.

    Args:
        registry: the plugins that run.
        tenant: a tenant's settings by name; None for one whose events are not taken.
        timer: measures each call.
    """

    def __init__(
        self, registry: Registry, tenant: Callable[[str], Tenant | None], timer: Timer | None = None
    ) -> None:
        self.registry = registry
        self._tenant = tenant
        self._timer: Timer = timer or (lambda plugin, method: nullcontext())
        self._settings: dict[tuple[str, str], tuple[Tenant, BaseModel]] = {}

    def check_settings(self, tenants: Iterable[str]) -> None:
        """Validate tenants' plugin settings, at start, and that the reserved event types have their plugin.

        Raises:
            ValueError: naming the key that is wrong.
        """
        if "standard" not in self.registry.plugins:
            raise ValueError(f"plugins: the built-in plugin standard does not run{self._refusal('standard')}")
        for name in tenants:
            tenant = self._tenant(name)
            if tenant is None:
                continue
            for plugin in tenant.plugins:
                if plugin not in self.registry.plugins:
                    raise ValueError(f"tenants.{name}.plugins.{plugin}: no plugin of that name runs")
                self._context(name, plugin, self.registry.plugins[plugin], None)

    def decode(self, event: Event) -> tuple[ItemChange, ...]:
        """What an event changes.

        Raises:
            Reject: the tenant or emr is unknown, the plugin cannot understand it, or the plugin failed.
        """
        if self._tenant(event.tenant) is None:
            raise Reject("unknown_tenant", "tenant: not among the tenants of the settings")
        if event.emr not in self.registry.plugins:
            why = self._refusal(event.emr)
            what = (
                f"the plugin of this name does not run{why}" if why else "no installed plugin has this name"
            )
            raise Reject("unknown_emr", f"emr: {what}")
        loaded = self._by_emr("standard" if event.type in RESERVED_TYPES else event.emr)
        if loaded is None:
            raise Reject("unknown_emr", "type: the plugin of the standard format does not run")
        context = self._ready(event.tenant, event.emr, loaded, None)
        try:
            with self._timer(loaded.name, "decode"):
                returned: object = loaded.plugin.decode(event, context)
                if not isinstance(returned, Iterable):
                    raise Reject(
                        "plugin_nonsense", f"plugin {loaded.name}: decode returned nothing to go through"
                    )
                # One more than may be: an iterator without an end must come to one.
                changes = tuple(islice(returned, MAX_CHANGES + 1))
        except Reject as reject:
            raise _bounded(reject) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin that exits must not take the shard along
            raise _failure(loaded.name, "decode", error) from None
        return _checked_changes(loaded.name, changes)

    def zone(self, tenant: str) -> str:
        """A tenant's time zone."""
        found = self._tenant(tenant)
        return found.time_zone if found else "UTC"

    def impact(self, provider: ProviderKey, zone: str, change: Change) -> tuple[Interval, ...] | None:
        """What a change touches at a provider, as instants; None is every day.

        A plugin whose `impact` fails gets every day: too much is safe.
        """
        loaded = self._by_emr(provider.emr)
        if loaded is None:
            return None
        if not any(pattern.everything for pattern in loaded.patterns):
            document = _document(provider, change)
            if not any(pattern.matches(document) for pattern in loaded.patterns):
                return ()
        try:
            context = self._ready(provider.tenant, provider.emr, loaded, zone)
            with self._timer(loaded.name, "impact"):
                return intervals_of(loaded.plugin.impact(change, context))
        except KeyboardInterrupt:
            raise
        except BaseException:  # a plugin that exits must not take the shard along
            return None

    def spans(self, provider: ProviderKey, zone: str, day: date, items: Sequence[Item]) -> tuple[Span, ...]:
        """The spans of a provider-day, checked.

        Raises:
            Reject: the plugin failed, or returned what cannot be.
        """
        loaded = self._by_emr(provider.emr)
        if loaded is None:
            raise Reject("unknown_emr", "no installed plugin computes this provider's spans")
        context = self._ready(provider.tenant, provider.emr, loaded, zone)
        try:
            with self._timer(loaded.name, "spans"):
                spans = loaded.plugin.spans(day, items, context)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin that exits must not take the shard along
            raise _failure(loaded.name, "spans", error) from None
        # What the source has calculated itself is the answer as it is, even where its idea of the day is another.
        given = any(
            isinstance(item.body, Availability) and item.body.counts and item.body.date == day
            for item in items
        )
        return check_spans(spans, None if given else times.day_intervals(zone, day))

    def version(self, emr: str) -> tuple[str, str]:
        """Name and version of the plugin that computes an EMR's spans."""
        loaded = self._by_emr(emr)
        return (loaded.name, loaded.version) if loaded else (emr, "")

    def _by_emr(self, emr: str) -> LoadedPlugin | None:
        return self.registry.plugins.get(emr)

    def _refusal(self, name: str) -> str:
        refusals = [*self.registry.refused, *self.registry.left_out]
        return next((f": {one.reason}" for one in refusals if one.name == name), "")

    def _ready(self, tenant: str, emr: str, loaded: LoadedPlugin, zone: str | None) -> Context:
        """As `_context`; settings that the plugin does not accept are its own failure here, past the start."""
        try:
            return self._context(tenant, emr, loaded, zone)
        except InvalidSettings as error:
            raise Reject(
                "plugin_failed", f"plugin {loaded.name}: the tenant's settings: {error.why}"
            ) from None

    def _context(self, tenant: str, emr: str, loaded: LoadedPlugin, zone: str | None) -> Context:
        found = self._tenant(tenant)
        if found is None:
            raise Reject("unknown_tenant", "tenant: not among the tenants of the settings")
        cached = self._settings.get((tenant, loaded.name))
        if cached is None or cached[0] is not found:
            try:
                settings = loaded.plugin.Settings.model_validate(dict(found.plugins.get(loaded.name, {})))
            except ValidationError as error:
                raise InvalidSettings(f"tenants.{tenant}.plugins.{loaded.name}", explain(error)) from None
            if len(self._settings) > 10_000:  # tenants may be whatever events say
                self._settings.clear()
            cached = self._settings[tenant, loaded.name] = (found, settings)
        return Context(tenant, emr, zone or found.time_zone, cached[1])


def _failure(plugin: str, method: str, error: BaseException) -> Reject:
    """A plugin raised: which type and at which line, but not its message, which may hold input."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is ours
    at = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return Reject("plugin_failed", f"plugin {plugin}: {method} raised {type(error).__name__}{at}")


def _bounded(reject: Reject) -> Reject:
    """A plugin's reject, with a reason of the fixed list: reasons are labels of metrics."""
    detail = str(reject.detail)[:MAX_DETAIL]
    if reject.reason in REASONS:
        return Reject(reject.reason, detail)
    return Reject("invalid_data", detail)


def _checked_changes(plugin: str, changes: tuple[object, ...]) -> tuple[ItemChange, ...]:
    def nonsense(what: str) -> Reject:
        return Reject("plugin_nonsense", f"plugin {plugin}: decode returned {what}")

    if len(changes) > MAX_CHANGES:
        raise Reject("too_large", f"the event changes more than {MAX_CHANGES} items")
    seen: set[tuple[str, str]] = set()
    checked: list[ItemChange] = []
    for change in changes:
        if not isinstance(change, ItemChange):
            raise nonsense("something other than ItemChange")
        if BODIES.get(change.kind) is not type(change.body):  # else it could not be read back
            raise nonsense("a body that is none of the API's")
        if not isinstance(change.version, int) or isinstance(change.version, bool):
            raise nonsense("a version that is not an integer")
        if not 0 <= change.version < MAX_VERSION:
            raise Reject("invalid_data", f"version: must lie between 0 and {MAX_VERSION - 1}")
        if not isinstance(change.providers, tuple):
            raise nonsense("providers that are not a tuple")
        if len(change.providers) > MAX_PROVIDERS:
            raise Reject("too_large", f"the item names more than {MAX_PROVIDERS} providers")
        for what, text in [
            ("an id", change.id),
            *(("a provider id", provider) for provider in change.providers),
        ]:
            if not isinstance(text, str) or not text:
                raise nonsense(f"{what} that is not a text")
            if CONTROL_CHARACTERS.search(text):
                raise Reject("invalid_data", f"{what} holds control characters")
            if len(text) > 256 or len(encode_part(text)) > MAX_ENCODED_ID:
                raise Reject("too_large", f"{what} is too long")
        if not change.providers and change.body.counts:
            raise nonsense("an item of no provider that is not withdrawn")
        if (change.kind, change.id) in seen:
            raise nonsense("two changes of one item")
        seen.add((change.kind, change.id))
        checked.append(change)
    return tuple(checked)


def _document(provider: ProviderKey, change: Change) -> dict[str, Any]:
    """The change document that patterns see."""

    def image(item: Item | None) -> dict[str, Any] | None:
        if item is None:
            return None
        return {"kind": item.kind, "id": item.key.id, **item.body.model_dump(mode="json")}

    some = change.new or change.old
    assert some is not None  # a change has one side at least
    document: dict[str, Any] = {
        "eventName": "INSERT" if change.old is None else "REMOVE" if change.new is None else "MODIFY",
        "tenant": provider.tenant,
        "emr": provider.emr,
        "kind": some.kind,
        "keys": {"pk": provider.pk(), "sk": some.key.sk()},
    }
    if change.new is not None:
        document["newImage"] = image(change.new)
    if change.old is not None:
        document["oldImage"] = image(change.old)
    return document
