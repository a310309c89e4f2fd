"""`kcl-app plugins show`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emr_plugins.api import EmrPlugin, StandardEnginePlugin
from emr_plugins.registry import LoadedPlugin, Refusal
from emr_plugins.standard import RESERVED_TYPES
from kcl_app.cli.common import Config, plain, settings_of
from kcl_app.cli.plugins.installed import entry_point, loaded, package_of, state_of
from kcl_app.errors import UserError
from kcl_app.field_words import kind_of

METHODS = ("decode", "impact", "spans")


@dataclass(frozen=True)
class Setting:
    """One field of a plugin's settings.

    Attributes:
        name: dotted where it is within another.
        type: for a person.
        default: as JSON; None where it is required.
        required: whether there is no default.
        description: the model's, or empty.
    """

    name: str
    type: str
    default: Any
    required: bool
    description: str


@dataclass(frozen=True)
class Shown:
    """What a plugin is.

    Attributes:
        name: the `emr` that it is for.
        distribution: the pip package that it came in.
        version: that package's version.
        entry_point: module and class.
        state: whether a worker with these settings runs it.
        isolated: whether in a process of its own.
        api_version: the version of the API that it was written for.
        own: the methods that are its own; the standard engine does the rest.
        patterns: which item changes make it recompute.
        settings: the fields of its settings.
        event_types: those of the standard format where it is its plugin, else those in the samples that it ships.
        samples: how many it ships.
    """

    name: str
    distribution: str
    version: str
    entry_point: str
    state: str
    isolated: bool
    api_version: int
    own: list[str]
    patterns: list[Any]
    settings: list[Setting]
    event_types: list[str]
    samples: int


def show(
    name: Annotated[str, typer.Argument(help="The plugin, by the `emr` that it is for.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Show what an installed plugin is: API version, methods, patterns, settings, event types.

    It is loaded into this process, whatever the settings allow or isolate. Ends with status 1 where it is refused.
    """
    settings = settings_of(config)
    point = entry_point(name)
    with redirect_stdout(sys.stderr):
        found = loaded(point)
    if isinstance(found, Refusal):
        raise UserError(f"plugin {name} of {found.distribution} {found.version} is refused: {found.reason}")
    shown = _of(found, point.value, *state_of(point, settings), package=package_of(point))
    if as_json:
        typer.echo(json.dumps(asdict(shown), ensure_ascii=False, indent=2))
    else:
        _print(shown)


def _of(found: LoadedPlugin, value: str, state: str, isolated: bool, *, package: tuple[str, str]) -> Shown:
    plugin = found.plugin
    own = [one for one in METHODS if getattr(type(plugin), one) is not getattr(StandardEnginePlugin, one)]
    types = Counter(RESERVED_TYPES) if found.name == "standard" else Counter[str]()
    samples = _samples(plugin)
    types.update(one for one in samples if one not in RESERVED_TYPES)
    return Shown(
        name=found.name,
        distribution=package[0],
        version=package[1],
        entry_point=value,
        state=state,
        isolated=isolated,
        api_version=plugin.api_version,
        own=own,
        patterns=to_jsonable_python(list(plugin.patterns), fallback=str),
        settings=_fields(plugin.Settings),
        event_types=sorted(types),
        samples=len(samples),
    )


def _samples(plugin: EmrPlugin) -> list[str]:
    """The event types of the samples that it ships."""
    from emr_plugins.testing.samples import BadSample, load, shipped  # which other commands need not load

    folder = shipped(type(plugin), plugin.name)
    if folder is None:
        return []
    try:
        return [sample.event.type for sample in load("*", folder, plugin.name)]
    except BadSample as error:
        raise UserError(f"the samples that plugin {plugin.name} ships: {error}") from None


def _fields(model: type[BaseModel], within: str = "", depth: int = 3) -> list[Setting]:
    """The fields of a model, and those of the models within it."""
    found = []
    for name, field in model.model_fields.items():
        annotation = field.annotation
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        kind = kind_of(annotation, field.metadata).replace("`", "")
        shown = to_jsonable_python(default, fallback=str) if default is not PydanticUndefined else None
        found.append(Setting(within + name, kind, shown, field.is_required(), field.description or ""))
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and depth:
            found += _fields(annotation, f"{within}{name}.", depth - 1)
    return found


def _print(shown: Shown) -> None:
    console = Console()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    where = "in a process of its own" if shown.isolated else "in the worker's process"
    left = [one for one in METHODS if one not in shown.own]
    rows = {
        "plugin": shown.name,
        "package": f"{shown.distribution} {shown.version}",
        "class": shown.entry_point,
        "state": f"{shown.state}, {where}" if shown.state == "runs" else f"{shown.state} by plugins.allow",
        "API version": str(shown.api_version),
        "methods": f"its own: {', '.join(shown.own) or 'none'}"
        + (f"; the standard engine's: {', '.join(left)}" if left else ""),
        "patterns": "\n".join(json.dumps(one, ensure_ascii=False) for one in shown.patterns)
        if shown.patterns != [{}]
        else "every item change",
        "event types": ", ".join(shown.event_types) or "not known: it ships no samples",
        "samples": f"{shown.samples} that it ships" if shown.samples else "none that it ships",
    }
    if not shown.settings:
        rows["settings"] = "none"
    for name, text in rows.items():
        grid.add_row(name, escape(plain_lines(text)))
    console.print(grid)
    if shown.settings:
        console.print(_settings_table(shown))


def _settings_table(shown: Shown) -> Table:
    table = Table(title=f"settings, under tenants.NAME.plugins.{shown.name}", title_justify="left")
    for column in ("setting", "type", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for one in shown.settings:
        default = "required" if one.required else json.dumps(one.default, ensure_ascii=False)
        table.add_row(*(escape(plain(text)) for text in (one.name, one.type, default, one.description)))
    return table


def plain_lines(text: str) -> str:
    """As `plain`, with line ends left."""
    return "\n".join(plain(line) for line in text.splitlines())
