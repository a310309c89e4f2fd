"""Which plugins are installed, whether they run or not, as all commands about plugins see them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from emr_plugins.registry import GROUP, LoadedPlugin, Refusal, Registry, discover
from kcl_app.errors import UserError
from kcl_app.settings import Settings
from processors import __version__

State = Literal["runs", "refused", "left out"]

OURS = "scheduling-kcl-app"
"""The distribution of the built-in plugins."""


@dataclass(frozen=True)
class Installed:
    """A plugin as it is installed.

    Attributes:
        name: the `emr` that it is for.
        distribution: the pip package that it came in; empty where the settings name one that no package has.
        version: that package's version.
        state: whether a worker with these settings runs it.
        isolated: whether in a process of its own.
        why: why it does not run; else empty.
    """

    name: str
    distribution: str
    version: str
    state: State
    isolated: bool = False
    why: str = ""


def everything(registry: Registry, isolation: Mapping[str, str]) -> list[Installed]:
    """All plugins by name.

    Args:
        registry: as a worker has it.
        isolation: names of those that the settings isolate.
    """

    def not_running(one: Refusal, state: State) -> Installed:
        return Installed(
            one.name, one.distribution, one.version, state, one.name in isolation, why=one.reason
        )

    found = [
        Installed(one.name, one.distribution, one.version, "runs", one.isolated)
        for one in registry.plugins.values()
    ]
    found += [not_running(one, "refused") for one in registry.refused]
    found += [not_running(one, "left out") for one in registry.left_out]
    return sorted(found, key=lambda one: (one.name, one.distribution))


def built_in() -> list[str]:
    """Names of the plugins that come with this package."""
    return sorted(point.name for point in entry_points(group=GROUP) if point.dist and point.dist.name == OURS)


def entry_point(name: str) -> EntryPoint:
    """The entry point of an installed plugin.

    Raises:
        UserError: there is none of that name, or there are several; says which there are.
    """
    points = list(entry_points(group=GROUP))
    named = [point for point in points if point.name == name]
    if not named:
        names = sorted({point.name for point in points})
        near = get_close_matches(name, names, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"no installed plugin is called {name}{meant}; installed are: {', '.join(names)}", 2)
    if len(named) > 1:
        whose = " and ".join(sorted(point.dist.name if point.dist else "?" for point in named))
        raise UserError(f"two plugins are called {name}: of {whose}; uninstall one of them")
    return named[0]


def loaded(point: EntryPoint) -> LoadedPlugin | Refusal:
    """A plugin, loaded into this process whatever the settings allow or isolate: a person asks for it by name."""
    try:
        point.load()
    except (Exception, SystemExit) as error:  # as the registry, which does not say where
        why = f"it failed to load: {type(error).__name__}: {error}{_where(error)}"
        return Refusal(point.name, package_of(point)[0], why, package_of(point)[1])
    registry = discover(found=[point])
    return registry.plugins[point.name] if point.name in registry.plugins else registry.refused[0]


def _where(error: BaseException) -> str:
    """The last line that was run outside of Python's own import system."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    own = [one for one in frames if "importlib" not in one.filename]
    if not own or isinstance(error, SyntaxError):  # the module or class is not there; or it says itself where
        return ""
    return f" (at {Path(own[-1].filename).name}:{own[-1].lineno})"


def state_of(point: EntryPoint, settings: Settings) -> tuple[State, bool]:
    """Whether a worker with these settings runs a plugin that it would not refuse, and whether isolated."""
    allow = settings.plugins.allow
    allowed = allow is None or point.name in allow or point.name == "standard"
    return "runs" if allowed else "left out", point.name in settings.plugins.isolation


def package_of(point: EntryPoint) -> tuple[str, str]:
    """Name and version of the pip package that an entry point is of."""
    return (point.dist.name, point.dist.version) if point.dist else ("", __version__)
