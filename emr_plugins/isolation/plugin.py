"""What stands for an isolated plugin in the worker's process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from importlib.metadata import EntryPoint
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from emr_plugins.api import Context, EmrPlugin, StandardEnginePlugin
from processors.envelope import Event
from processors.impacts import Change, Touched
from processors.items import Item, ItemChange
from processors.spans import Span

from . import messages
from .process import CannotStart, PluginProcess


class Given(BaseModel):
    """A tenant's settings as they were given: the plugin's process has its model of them.

    Attributes:
        values: by name; JSON values.
    """

    model_config = ConfigDict(frozen=True)

    values: dict[str, Any]


def isolated(point: EntryPoint, memory_mb: int) -> EmrPlugin:
    """Start a plugin in its own process.

    What it leaves to the standard engine is done here and not there: it is ours.

    Args:
        point: its entry point.
        memory_mb: what it may allocate, in MB.

    Returns:
        what stands for it.

    Raises:
        CannotStart: it does not load or does not fit; the message says why.
    """
    process = PluginProcess(point, memory_mb)
    said = process.start()
    try:
        own, patterns = set(said["own"]), list(said["patterns"])
        version = said["api_version"]
    except (KeyError, TypeError):
        process.end()
        raise CannotStart("it failed to load: its process said what cannot be read") from None

    class Settings(Given):
        """Validated where its model is."""

        @classmethod
        def model_validate(cls, obj: Any, **_: Any) -> Settings:
            process.ask("settings", (dict(obj),), messages.read_settings)
            return cls(values=dict(obj))

    class Isolated(StandardEnginePlugin):
        """Asks its process."""

        name = point.name
        api_version = version
        patterns: ClassVar[Sequence[Any]] = ()

        def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
            answer: list[ItemChange] = process.ask("decode", (event, _sent(context)), messages.read_changes)
            return answer

        def wait_until_started(self) -> None:
            process.wait_until_started()

    def impact(self: EmrPlugin, change: Change, context: Context) -> Iterable[Touched]:
        answer: list[Touched] = process.ask("impact", (change, _sent(context)), messages.read_impact)
        return answer

    def spans(self: EmrPlugin, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        answer: list[Span] = process.ask("spans", (day, list(items), _sent(context)), messages.read_spans)
        return answer

    more = {name: method for name, method in (("impact", impact), ("spans", spans)) if name in own}
    made = type("Isolated", (Isolated,), {**more, "Settings": Settings, "patterns": patterns})
    plugin: EmrPlugin = made()
    return plugin


def _sent(context: Context) -> tuple[str, str, str, dict[str, Any]]:
    return context.tenant, context.emr, context.zone, context.settings.values
