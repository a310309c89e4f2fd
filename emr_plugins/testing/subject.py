"""The plugin that is looked at, with its samples, and calls into it that end whatever it does."""

from __future__ import annotations

import copy
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel

from emr_plugins import time_limit
from emr_plugins.answers import MAX_SPANS, Nonsense, checked_changes, checked_impact, gone_through
from emr_plugins.api import Change, Context, EmrPlugin, Event, Item, ItemChange, Reject
from emr_plugins.calls import described
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import RESERVED_TYPES, StandardPlugin
from emr_plugins.time_limit import TimedOut, TimeLimit, is_interruption
from processors.keys import ItemKey
from processors.revisions import Revision
from processors.times import Interval

from .failures import NotApplicable, shown
from .options import Options
from .samples import TENANT, Sample

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How a call into the plugin ended: by one of the three.

    Attributes:
        value: what it returned, checked as the worker checks it.
        reject: what it rejected its input with.
        failure: what else it did, in words: it raised, returned what cannot be, or took too long.
    """

    value: T | None = None
    reject: Reject | None = None
    failure: str | None = None


class Subject:
    """A plugin as the kit sees it.

    Args:
        plugin: its class, or an instance.
        samples: messages that it must understand.
        rejects: messages that it must reject.
        options: the rest.
    """

    def __init__(
        self,
        plugin: type[EmrPlugin] | EmrPlugin,
        samples: Sequence[Sample] = (),
        rejects: Sequence[Sample] = (),
        options: Options | None = None,
    ) -> None:
        self.given = plugin
        self.samples = list(samples)
        self.rejects = list(rejects)
        self.options = options or Options()
        self._limit = TimeLimit(self.options.call_seconds)

    @cached_property
    def plugin(self) -> EmrPlugin:
        """The instance. A class is called without arguments, as the worker does with an entry point's."""
        return self.given() if isinstance(self.given, type) else self.given

    @property
    def name(self) -> str:
        """The plugin's name."""
        return str(getattr(self.given, "name", ""))

    @cached_property
    def settings(self) -> BaseModel:
        """The tenant's settings, validated."""
        return self.plugin.Settings.model_validate(dict(self.options.settings))

    @cached_property
    def host(self) -> PluginHost:
        """The worker's own caller of plugins, with this one and the built-in `standard`."""
        registry = Registry()
        if self.name != "standard":
            registry.add(StandardPlugin(), "scheduling-kcl-app")
        registry.add(self.plugin, "conformance")
        tenant = Tenant(self.options.time_zone, {self.name: self.options.settings})
        return PluginHost(registry, lambda name: tenant, limit=self._limit)

    def context(self, zone: str | None = None, emr: str | None = None, tenant: str = TENANT) -> Context:
        """What the plugin may know besides its arguments."""
        return Context(tenant, emr or self.name, zone or self.options.time_zone, self.settings)

    # Calls ------------------------------------------------------------------------------------------------------------

    def attempt(self, method: str, call: Callable[[], T]) -> Outcome[T]:
        """Make a call and look at its answer within the limit of time; whatever happens is told."""
        try:
            return Outcome(value=self._limit.call(call))
        except TimedOut:
            return Outcome(failure=f"{method} took more than {self.options.call_seconds:g} s")
        except Nonsense as error:
            return Outcome(failure=str(error))
        except Reject as reject:
            return Outcome(reject=reject)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if is_interruption(error):
                raise
            return Outcome(failure=f"{method} raised {told(error)}")

    def decode(self, event: Event, plugin: EmrPlugin | None = None) -> Outcome[tuple[ItemChange, ...]]:
        """Call `decode` with a copy of an event, and check the item changes as the worker does."""
        asked = plugin or self.plugin
        event = event.model_copy(deep=True)
        context = self.context(tenant=event.tenant)
        return self.attempt(
            "decode", lambda: checked_changes(gone_through(asked.decode(event, context)), trusted=False)
        )

    def impact(
        self, change: Change, zone: str | None = None, plugin: EmrPlugin | None = None
    ) -> Outcome[tuple[Interval, ...] | None]:
        """Call `impact` with a copy of a change; None is every day."""
        asked, context, copied = plugin or self.plugin, self.context(zone), copy.deepcopy(change)
        return self.attempt("impact", lambda: checked_impact(asked.impact(copied, context)))

    def spans(
        self, day: date, items: Sequence[Item], zone: str | None = None, plugin: EmrPlugin | None = None
    ) -> Outcome[Any]:
        """Call `spans` with a list of the items; its answer is not looked at, but for being a list or a tuple."""
        asked, context, copied = plugin or self.plugin, self.context(zone), list(items)

        def ask() -> Any:
            returned: Any = asked.spans(day, copied, context)
            if not isinstance(returned, list | tuple):
                raise Nonsense(f"spans returned {shown(returned)}, which is no list of Span")
            return list(islice(returned, MAX_SPANS + 1))

        return self.attempt("spans", ask)

    def fresh(self) -> EmrPlugin:
        """Another instance, which has seen nothing yet."""
        return self.given() if isinstance(self.given, type) else copy.deepcopy(self.given)

    # What the checks look at ------------------------------------------------------------------------------------------

    @cached_property
    def own_samples(self) -> list[Sample]:
        """The samples that this plugin decodes: those of a reserved type are the standard format's, whatever `emr`."""
        return [
            one for one in self.samples if self.name == "standard" or one.event.type not in RESERVED_TYPES
        ]

    @cached_property
    def decoded(self) -> list[tuple[Sample, tuple[ItemChange, ...]]]:
        """The samples that decode, with what they change.

        Raises:
            NotApplicable: none does.
        """
        if not self.own_samples:
            raise NotApplicable('there are no samples: name some, as samples = "samples/*.json"')
        found = [
            (one, outcome.value) for one in self.own_samples if (outcome := self.decode(one.event)).value
        ]
        kept = [(sample, changes) for sample, changes in found if changes]
        if not kept:
            raise NotApplicable("no sample decodes to an item: see decodes_every_sample")
        return kept

    @cached_property
    def items(self) -> list[Item]:
        """The items of all samples, the newest revision of each."""
        newest: dict[ItemKey, Item] = {}
        for sample, changes in self.decoded:
            for number, change in enumerate(changes):
                item = item_of(sample.event, change, f"{number:020d}")
                if item.key not in newest or newest[item.key].revision < item.revision:
                    newest[item.key] = item
        return list(newest.values())


def item_of(event: Event, change: ItemChange, sequence: str) -> Item:
    """An item as an event leaves it."""
    key = ItemKey(event.tenant, event.emr, change.kind, change.id)
    revision = Revision.of(change.version, event.time, event.sequence or sequence)
    return Item(key, change.providers, revision, change.body)


def told(error: BaseException) -> str:
    """What was raised, where in the plugin, and its message: samples are the author's own, so it may be shown."""
    try:
        said = str(error).strip().splitlines()
    except Exception:
        said = []
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _others(frame.filename)]
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    what = f"{type(error).__name__}{place}" if place else described(error)
    return what + (f": {said[0][:200]}" if said else "")


def _others(file: str) -> bool:
    """Whether a file is not the plugin's, but of Python, of pydantic, or the kit's."""
    return file.startswith(_NOT_ITS) or (file.startswith(_LIBRARY) and not file.startswith(_SITE))


_LIBRARY, _SITE = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")
_NOT_ITS = (
    str(Path(pydantic.__file__).parent),
    str(Path(__file__).parent),
    str(Path(time_limit.__file__)),
    "<frozen",
)
