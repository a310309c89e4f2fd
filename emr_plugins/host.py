"""Calls plugins and checks what they return, so that what one does wrong stays with its own event or day.

Everything that can be wrong with an event or with a plugin's answer comes out as a `Reject`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from processors import times
from processors.envelope import Event
from processors.errors import Reject, explain
from processors.impacts import Change, intervals_touched
from processors.items import Availability, Item, ItemChange
from processors.keys import ProviderKey
from processors.quoting import without_quotes
from processors.spans import Span
from processors.times import Interval

from . import change_documents
from .answers import MAX_CHANGES, MAX_PROVIDERS, checked_changes, checked_impact, checked_spans, gone_through
from .api import Context
from .breaker import Breakers, Call
from .calls import Failed, PluginCalls, Timer, WrongSettings
from .registry import LoadedPlugin, Registry
from .standard import RESERVED_TYPES, StandardPlugin
from .time_limit import TimeLimit, for_a_while

__all__ = ["MAX_CHANGES", "MAX_PROVIDERS", "PluginHost", "Tenant"]

MAX_DETAIL = 1000
"""Characters of what a plugin says of a reject."""

MANY_TENANTS = 10_000
"""Past this number what is remembered of tenants is made again: they may be made anew each time."""


@dataclass(frozen=True)
class Tenant:
    """What the settings say of a tenant."""

    time_zone: str
    plugins: Mapping[str, Mapping[str, Any]]


class _WrongSettings(Reject):
    """A tenant's settings that a plugin does not accept.

    Args:
        plugin: its name.
        why: which field of them and why, without its value.
    """

    def __init__(self, plugin: str, why: str) -> None:
        super().__init__("plugin_failed", f"plugin {plugin}: the tenant's settings: {why}")
        self.why = why


QUICK_SECONDS = 0.02
"""How long the standard engine computes days in one call before the next day is another call, with its own limit."""

MAX_NAME = 256
"""Characters of a subject that tell one provider from another: nobody's breaker needs more."""

REASONS_OF_INPUT = frozenset(
    {"document_too_large", "invalid_data", "invalid_envelope", "not_json", "too_large", "too_many_items"}
)
"""Reasons that a plugin may give: reasons are labels of metrics, and the others say what became of the plugin
itself."""


class PluginHost:
    """The plugins, with each tenant's settings for them.

    Args:
        registry: the plugins that run.
        tenant: a tenant's settings by name; None for one whose events are not taken.
        timer: measures each call.
        limit: of the time that a call may take; none if None.
        breakers: say which plugins are suspended; none ever is if None.
        failed: told of each call that failed.
    """

    def __init__(
        self,
        registry: Registry,
        tenant: Callable[[str], Tenant | None],
        timer: Timer | None = None,
        *,
        limit: TimeLimit | None = None,
        breakers: Breakers | None = None,
        failed: Failed | None = None,
    ) -> None:
        self.registry = registry
        self._tenant = tenant
        self._timer: Timer = timer or (lambda plugin, method: nullcontext())
        self._calls = PluginCalls(timer, limit, breakers, failed)
        self._settings: dict[tuple[int, str], tuple[Tenant, BaseModel | Reject]] = {}
        self._contexts: dict[tuple[int, str, str, str], Context] = {}

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
                loaded = self.registry.plugins[plugin]
                answer = self._validated(name, tenant, loaded)
                key = f"tenants.{name}.plugins.{plugin}"
                if isinstance(answer, _WrongSettings):
                    raise ValueError(f"{key}.{answer.why}")
                if isinstance(answer, Reject):
                    raise ValueError(f"{key}: {answer.detail}")

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
        own = _is_own(loaded)
        if type(loaded.plugin) is StandardPlugin:
            # Takes no longer than a record is large, so that it needs no limit. If it fails, which is a fault of ours,
            # it is asked once more below, where that is told.
            try:
                with self._timer(loaded.name, "decode"):
                    return checked_changes(tuple(loaded.plugin.decode(event, context)), trusted=True)
            except Reject as reject:
                raise _bounded(reject) from None
            except Exception:
                pass
        return self._calls.make(
            Call(loaded.name, "decode", event.tenant, (event.subject or event.id)[:MAX_NAME]),
            lambda: gone_through(loaded.plugin.decode(event, context)),
            lambda changes: checked_changes(changes, own),
            lambda reject: _bounded(reject, None if own else event),
            ready=loaded.ready,
        )

    def zone(self, tenant: str) -> str:
        """A tenant's time zone."""
        found = self._tenant(tenant)
        return found.time_zone if found else "UTC"

    def impact(
        self, provider: ProviderKey, zone: Callable[[], str], change: Change
    ) -> tuple[Interval, ...] | None:
        """What a change touches at a provider, as instants; None is every day.

        A plugin whose `impact` fails gets every day: too much is safe.

        Args:
            provider: whose day it touches.
            zone: tells the provider's time zone. It is asked for strangers' plugins only: the standard engine needs
                none, and to know it the provider's items may have to be read.
            change: the change.
        """
        loaded = self._by_emr(provider.emr)
        if loaded is None:
            return None
        if not loaded.matches_everything:
            document = change_documents.of_change(provider, change)
            if not any(pattern.matches(document) for pattern in loaded.patterns):
                return ()
        if loaded.standard_impact:  # ours: needs no settings, and is always right
            return intervals_touched(change)
        try:
            context = self._ready(provider.tenant, provider.emr, loaded, None)
            context = replace(context, zone=zone())
            return self._calls.make(
                Call(loaded.name, "impact", provider.tenant, provider.provider),
                lambda: loaded.plugin.impact(change, context),
                checked_impact,
                _bounded,
                ready=loaded.ready,
            )
        except Reject:
            return None

    def spans(self, provider: ProviderKey, zone: str, day: date, items: Sequence[Item]) -> tuple[Span, ...]:
        """The spans of a provider-day, checked.

        Raises:
            Reject: the plugin failed, returned what cannot be, or cannot compute them.
        """
        loaded = self._by_emr(provider.emr)
        if loaded is None:
            raise Reject("unknown_emr", "no installed plugin computes this provider's spans")
        context = self._ready(provider.tenant, provider.emr, loaded, zone)

        def check(spans: Any) -> tuple[Span, ...]:
            if loaded.standard_spans:  # ours
                answer: tuple[Span, ...] = spans
                return answer
            # What the source has calculated itself is the answer as it is, even where its idea of the day is another.
            given = any(
                isinstance(item.body, Availability) and item.body.counts and item.body.date == day
                for item in items
            )
            return checked_spans(spans, None if given else times.day_intervals(zone, day))

        return self._calls.make(
            Call(loaded.name, "spans", provider.tenant, provider.provider),
            lambda: loaded.plugin.spans(day, items, context),
            check,
            _bounded,
            ready=loaded.ready,
        )

    def spans_of_days(
        self, provider: ProviderKey, zone: str, days: Iterable[tuple[date, Sequence[Item]]]
    ) -> list[tuple[Span, ...] | Reject]:
        """As `spans` for each of some days, with the items of each; what it would raise stands in place of spans.

        The standard engine is called once for many days, as long as that is quick: what is round a call (the limit of
        time, the breakers) takes longer than most of its days.
        """
        loaded = self._by_emr(provider.emr)
        pending = list(days)
        answers: list[tuple[Span, ...] | Reject] = []
        if loaded is not None and loaded.standard_spans and len(pending) > 1:
            with suppress(Reject):  # then each is asked for by itself, so that one does not stand for all
                context = self._ready(provider.tenant, provider.emr, loaded, zone)
                call = Call(loaded.name, "spans", provider.tenant, provider.provider)
                ask = partial(self._some_days, loaded, context, pending, answers)
                while len(answers) < len(pending):
                    self._calls.make(call, ask, lambda done: done, _bounded, timed=False)
        for day, items in pending[len(answers) :]:
            try:
                answers.append(self.spans(provider, zone, day, items))
            except Reject as reject:
                answers.append(reject)
        return answers

    def _some_days(
        self,
        loaded: LoadedPlugin,
        context: Context,
        days: Sequence[tuple[date, Sequence[Item]]],
        answers: list[tuple[Span, ...] | Reject],
    ) -> None:
        """Answer for the next days, at least one, until it is no longer quick: the limit is of one call."""
        for day, items in for_a_while(days[len(answers) :], QUICK_SECONDS):
            try:
                with self._timer(loaded.name, "spans"):
                    answers.append(tuple(loaded.plugin.spans(day, items, context)))
            except Reject as reject:
                answers.append(_bounded(reject))

    def cannot_compute(self, provider: ProviderKey) -> str | None:
        """Why no span of a provider can be computed by this process at all; None where nothing is known against it."""
        if (loaded := self._by_emr(provider.emr)) is None:
            return f"no plugin {provider.emr} runs here{self._refusal(provider.emr)}"
        try:
            self._ready(provider.tenant, provider.emr, loaded, None)
        except Reject as reject:
            return reject.detail
        return None

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
        """What a plugin is told of the tenant.

        Raises:
            Reject: the tenant is unknown, or the plugin does not accept its settings, or fails to read them.
        """
        found = self._tenant(tenant)
        if found is None:
            raise Reject("unknown_tenant", "tenant: not among the tenants of the settings")
        zone = zone or found.time_zone
        context = self._contexts.get((id(found), loaded.name, emr, zone))
        if context is not None:
            return context
        known = self._settings.get((id(found), loaded.name))
        answer = known[1] if known is not None else self._validated(tenant, found, loaded)
        if isinstance(answer, Reject):
            if known is not None:
                self._calls.tell(Call(loaded.name, "settings", tenant, ""), answer)
            raise Reject(answer.reason, answer.detail)
        context = Context(tenant, emr, zone, answer)
        if len(self._contexts) > MANY_TENANTS:
            self._contexts.clear()
        self._contexts[id(found), loaded.name, emr, zone] = context
        return context

    def _validated(self, tenant: str, found: Tenant, loaded: LoadedPlugin) -> BaseModel | Reject:
        """A tenant's settings for a plugin, or why there are none; remembered, as they are the same until the end."""
        given = dict(found.plugins.get(loaded.name, {}))

        def validate() -> BaseModel | Reject:
            try:
                return loaded.plugin.Settings.model_validate(given)
            except ValidationError as error:
                # Their values may be secret.
                return _WrongSettings(loaded.name, explain(error, ours=_is_own(loaded)))
            except WrongSettings as error:
                return _WrongSettings(loaded.name, str(error))

        def rejected(reject: Reject) -> Reject:
            return Reject("plugin_failed", f"plugin {loaded.name}: settings raised {type(reject).__name__}")

        call = Call(loaded.name, "settings", tenant, "")
        answer: BaseModel | Reject
        try:
            answer = self._calls.make(call, validate, lambda settings: settings, rejected, ready=loaded.ready)
        except Reject as reject:
            if reject.reason == "plugin_suspended":
                return reject
            answer = reject
        if isinstance(answer, _WrongSettings):
            self._calls.tell(call, answer)
        if len(self._settings) > MANY_TENANTS:
            self._settings.clear()
            self._contexts.clear()
        self._settings[id(found), loaded.name] = (found, answer)
        return answer


def _is_own(loaded: LoadedPlugin) -> bool:
    """Whether a plugin is built in: those are known not to quote what they reject, and to validate what they make."""
    return not loaded.isolated and type(loaded.plugin).__module__.startswith("emr_plugins.")


def _bounded(reject: Reject, event: Event | None = None) -> Reject:
    """A plugin's reject, as it may be stored: with a reason of the fixed list, and no quotes of the event.

    Args:
        reject: what it raised.
        event: what it may quote.
    """
    detail = str(reject.detail)[:MAX_DETAIL].encode("utf-8", "replace").decode("utf-8")
    if event is not None:
        detail = without_quotes(detail, event.data if event.data_base64 is None else _decoded(event))
    reason = str(reject.reason)
    return Reject(reason if reason in REASONS_OF_INPUT else "invalid_data", detail)


def _decoded(event: Event) -> Any:
    try:
        return event.payload()
    except Reject:
        return event.data_base64
