"""A plugin's process: `python -m emr_plugins.isolation NAME MODULE:CLASS MEMORY_MB PARENT`.

Its first message says what the plugin is, or why it does not fit; then each request has one answer. Descriptors 0 and 1
are moved aside for that before the plugin is imported, so that nothing it prints can get in between.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from emr_plugins.answers import Nonsense, checked_changes, checked_impact, checked_spans, gone_through
from emr_plugins.api import Context
from emr_plugins.calls import described
from emr_plugins.registry import GROUP, LoadedPlugin, discover
from processors.errors import Reject, explain

from .messages import framed, read_frame, write_changes, write_impact, write_spans

_PR_SET_PDEATHSIG = 1
_MB = 1024 * 1024


def main(name: str, value: str, memory_mb: str, parent: str) -> int:
    """Serve a plugin until whoever asks it has ended."""
    requests, answers = _aside()
    _end_with(int(parent))
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_mb) * _MB,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    registry = discover(found=[EntryPoint(name, value, GROUP)])
    if registry.refused:
        _send(answers, to_json({"refused": registry.refused[0].reason}))
        return 0
    loaded = registry.plugins[name]
    _send(answers, _introduction(loaded))
    methods = Methods(loaded)
    while (request := read_frame(lambda length: os.read(requests, length))) is not None:
        method, *arguments = pickle.loads(request)
        _send(answers, _answer(getattr(methods, method), arguments))
    return 0


class Methods:
    """What can be asked of a plugin; each answer is checked here first, where its mistakes can be told from others'.

    Args:
        loaded: the plugin.
    """

    def __init__(self, loaded: LoadedPlugin) -> None:
        self._plugin = loaded.plugin
        self._settings: dict[str, BaseModel] = {}

    def settings(self, given: Mapping[str, Any]) -> bytes:
        """What is wrong with settings, or null."""
        try:
            self._validated(given)
        except ValidationError as error:
            return to_json({"ok": explain(error, ours=False)})
        return to_json({"ok": None})

    def decode(self, event: Any, context: Any) -> bytes:
        """The item changes of an event."""
        changes = gone_through(self._plugin.decode(event, self._context(context)))
        return write_changes(checked_changes(changes, False))

    def impact(self, change: Any, context: Any) -> bytes:
        """What a change touches."""
        return write_impact(checked_impact(self._plugin.impact(change, self._context(context))))

    def spans(self, day: Any, items: Any, context: Any) -> bytes:
        """The spans of a day. Whether they lie within it, the worker looks."""
        return write_spans(checked_spans(self._plugin.spans(day, items, self._context(context)), None))

    def _context(self, sent: tuple[str, str, str, Mapping[str, Any]]) -> Context:
        tenant, emr, zone, given = sent
        return Context(tenant, emr, zone, self._validated(given))

    def _validated(self, given: Mapping[str, Any]) -> BaseModel:
        name = repr(sorted(given.items()))
        settings = self._settings.get(name)
        if settings is None:
            if len(self._settings) > 1000:
                self._settings.clear()
            settings = self._settings[name] = self._plugin.Settings.model_validate(dict(given))
        return settings


def _answer(method: Callable[..., bytes], arguments: list[Any]) -> bytes:
    try:
        return method(*arguments)
    except Nonsense as error:
        return to_json({"nonsense": str(error)})
    except Reject as reject:
        return to_json({"reject": [str(reject.reason), str(reject.detail)[:10_000]]}, inf_nan_mode="null")
    except BaseException as error:  # whatever it is, it is answered; the process ends only where it is ended
        return to_json({"raised": f"raised {described(error)}"})


def _introduction(loaded: LoadedPlugin) -> bytes:
    try:
        return to_json(
            {
                "api_version": loaded.plugin.api_version,
                "patterns": list(loaded.plugin.patterns),
                "own": [
                    method
                    for method, standard in (
                        ("impact", loaded.standard_impact),
                        ("spans", loaded.standard_spans),
                    )
                    if not standard
                ],
            }
        )
    except ValueError:
        return to_json({"refused": "its patterns are not JSON"})


def _aside() -> tuple[int, int]:
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _end_with(parent: int) -> None:
    """End when the process that asks has ended, whatever the plugin does then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _send(descriptor: int, message: bytes) -> None:
    view = memoryview(framed(message))
    while view:
        view = view[os.write(descriptor, view) :]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
