"""Which plugins there are: found by entry point, checked, and refused by name with the reason.

Built-in plugins come through the same door as those of third parties: the entry point group ``emr_plugins``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel

from .api import API_VERSION, EmrPlugin, StandardEnginePlugin
from .isolation import CannotStart, isolated
from .patterns import EventPattern, InvalidPattern

GROUP = "emr_plugins"

_SIGNATURES = {
    "decode": ["event", "context"],
    "impact": ["change", "context"],
    "spans": ["day", "items", "context"],
}


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin that runs.

    Attributes:
        plugin: its instance.
        distribution: the pip package that it came in.
        version: that package's version.
        patterns: its patterns, compiled.
        isolated: whether it runs in a process of its own.
    """

    plugin: EmrPlugin
    distribution: str
    version: str
    patterns: tuple[EventPattern, ...]
    isolated: bool = False

    @cached_property
    def matches_everything(self) -> bool:
        """Whether a pattern of it matches whatever there is."""
        return any(pattern.everything for pattern in self.patterns)

    @cached_property
    def standard_impact(self) -> bool:
        """Whether `impact` is the standard engine's."""
        return type(self.plugin).impact is StandardEnginePlugin.impact

    @cached_property
    def standard_spans(self) -> bool:
        """Whether `spans` is the standard engine's."""
        return type(self.plugin).spans is StandardEnginePlugin.spans

    @cached_property
    def ready(self) -> Callable[[], None] | None:
        """Waits until it can be asked, where it has a process that may have to be started again."""
        return getattr(self.plugin, "wait_until_started", None) if self.isolated else None

    @property
    def name(self) -> str:
        """The `emr` that it understands."""
        return self.plugin.name


@dataclass(frozen=True)
class Refusal:
    """A plugin that does not run, and why.

    Attributes:
        name: of its entry point, or its own.
        distribution: the pip package that it came in; empty if none has it.
        reason: for a person.
        version: that package's version.
    """

    name: str
    distribution: str
    reason: str
    version: str = ""


@dataclass
class Registry:
    """The plugins that run, by name, those refused, and those that the settings leave out."""

    plugins: dict[str, LoadedPlugin] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    left_out: list[Refusal] = field(default_factory=list)

    def add(
        self, plugin: EmrPlugin, distribution: str = "", version: str = "", *, isolated: bool = False
    ) -> None:
        """Register a plugin, or refuse it with the reason."""
        name = str(getattr(plugin, "name", type(plugin).__name__))
        try:
            patterns = _checked(plugin)
        except _Wrong as wrong:
            self.refused.append(Refusal(name, distribution, str(wrong), version))
            return
        if name in self.plugins:
            first = self.plugins.pop(name)
            why = (
                f"two plugins are called {name}: of {first.distribution or '?'} and of {distribution or '?'}"
            )
            self.refused += [
                Refusal(name, first.distribution, why, first.version),
                Refusal(name, distribution, why, version),
            ]
            return
        if any(refusal.name == name and refusal.reason.startswith("two plugins") for refusal in self.refused):
            self.refused.append(Refusal(name, distribution, f"two plugins are called {name}", version))
            return
        self.plugins[name] = LoadedPlugin(plugin, distribution, version, patterns, isolated)


class _Wrong(Exception):  # noqa: N818
    pass


def _checked(plugin: object) -> tuple[EventPattern, ...]:
    if not isinstance(plugin, EmrPlugin):
        raise _Wrong("it is not an EmrPlugin")
    name, version = getattr(plugin, "name", None), getattr(plugin, "api_version", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise _Wrong("its name must be lower-case letters, digits and underscores")
    if version != API_VERSION:
        raise _Wrong(
            f"it was written for version {version!r} of the plugin API; this is version {API_VERSION}"
        )
    for method, expected in _SIGNATURES.items():
        function = getattr(plugin, method, None)
        if not callable(function):
            raise _Wrong(f"it has no method {method}")
        found = [p.name for p in inspect.signature(function).parameters.values()]
        if found != expected:
            raise _Wrong(f"its {method} takes ({', '.join(found)}) and must take ({', '.join(expected)})")
    settings = getattr(plugin, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, BaseModel)):
        raise _Wrong("its Settings is not a pydantic model")
    try:
        return tuple(EventPattern(pattern) for pattern in plugin.patterns)
    except (InvalidPattern, TypeError) as error:
        raise _Wrong(f"its patterns: {error}") from None


def discover(
    allow: Iterable[str] | None = None,
    found: Iterable[EntryPoint] | None = None,
    isolate: Mapping[str, int] | None = None,
) -> Registry:
    """Load the installed plugins.

    Args:
        allow: entry point names to load; all if None. `standard` is always there, since its event types are
            reserved under every `emr`.
        found: the entry points, instead of those installed.
        isolate: entry point names to run in processes of their own, with what each may allocate there, in MB.
    """
    registry = Registry()
    allowed = None if allow is None else {*allow, "standard"}
    isolate = isolate or {}
    points = sorted(
        entry_points(group=GROUP) if found is None else found, key=lambda point: (point.name, point.value)
    )
    for point in points:
        distribution = point.dist.name if point.dist else ""
        version = point.dist.version if point.dist else ""
        if allowed is not None and point.name not in allowed:
            registry.left_out.append(
                Refusal(point.name, distribution, "plugins.allow leaves it out", version)
            )
            continue
        if point.name in isolate:
            try:
                stand_in = isolated(point, isolate[point.name])
            except (CannotStart, OSError) as error:
                registry.refused.append(Refusal(point.name, distribution, str(error), version))
            else:
                registry.add(stand_in, distribution, version, isolated=True)
            continue
        try:
            plugin: Any = point.load()()
        except (Exception, SystemExit) as error:  # whatever a third party's import does, the others go on
            why = f"it failed to load: {type(error).__name__}: {error}"
            registry.refused.append(Refusal(point.name, distribution, why, version))
            continue
        if getattr(plugin, "name", None) != point.name:
            why = f"its entry point is called {point.name} and its class {getattr(plugin, 'name', None)}"
            registry.refused.append(Refusal(point.name, distribution, why, version))
            continue
        registry.add(plugin, distribution, version)
    installed = {point.name for point in points}
    for name in sorted((allowed or set()) - installed):
        registry.refused.append(Refusal(name, "", "the settings allow it, but no installed package has it"))
    for name in sorted(set(isolate) - installed - (allowed or set())):
        registry.refused.append(Refusal(name, "", "the settings isolate it, but no installed package has it"))
    return registry
