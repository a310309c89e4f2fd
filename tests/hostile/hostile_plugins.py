"""Plugins that do what their messages tell them to: ``do`` in `decode`, ``then`` in `impact` and `spans`.

`then` comes to `spans` as the item's location, which is all that an item carries through.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
import time
from typing import Any

from emr_plugins.api import API_VERSION, ItemChange, Reject, Slot, Span, StandardEnginePlugin

PROTOCOL = """
{"action":"status","responseFor":"processRecords"}
{"action":"checkpoint","sequenceNumber":"9","error":null}
"""


class Worst(BaseException):
    """Nothing that catches an Exception catches it."""

    def __str__(self) -> str:
        raise Worst


def act(what: str, given: Any) -> Any:
    """Do it; what is returned stands for the answer, None for the right one."""
    if what == "print":
        print("x" * 100_000)
        print(PROTOCOL, flush=True)
        print("noise", file=sys.stderr)
    elif what == "write":
        for descriptor in (1, 2):
            os.write(descriptor, PROTOCOL.encode() + b"\0" * 5000)
        sys.__stdout__.write(PROTOCOL)  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    elif what == "sleep":
        time.sleep(10**6)
    elif what == "spin":
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass
    elif what == "raise":
        raise KeyError("Quandle")
    elif what == "exit":
        sys.exit(7)
    elif what == "worst":
        raise Worst
    elif what == "interrupt":
        raise KeyboardInterrupt
    elif what == "generator":
        raise GeneratorExit
    elif what == "recurse":
        act("recurse", given)
    elif what == "mutate":
        mutate(given)
    elif what == "nothing":
        return False
    elif what == "garbage":
        return [object(), 42, "x"]
    elif what == "endless":
        return itertools.repeat(None)
    elif what == "_exit":
        os._exit(9)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "segfault":
        ctypes.string_at(0)
    elif what == "allocate":
        held = []
        while True:
            held.append(bytearray(4_000_000))
    elif what == "close":
        os.closerange(0, 64)
    return None


def mutate(given: Any) -> None:
    """Change whatever is within reach."""
    if isinstance(given, list):
        given.clear()
    elif hasattr(given, "data"):
        given.data.clear()
        object.__setattr__(given, "tenant", "another")
        object.__setattr__(given, "emr", "standard")


class Hostile(StandardEnginePlugin):
    """Shares the worker's process, so it does what can be survived there."""

    name = "hostile"
    api_version = API_VERSION

    def decode(self, event: Any, context: Any) -> Any:
        """A free slot, if it comes to that."""
        data = dict(event.data)
        answer = act(data["do"], event)
        if answer is not None:
            return answer or None
        if data["do"] == "reject":
            raise Reject("made_up", "Quandle, Zebulon")
        times = {"start": data["start"], "end": data["end"]}
        slot = Slot.model_validate({"status": "free", **times, "location_id": data.get("then", "well")})
        return [ItemChange(data["id"], slot, (data["provider"],))]

    def impact(self, change: Any, context: Any) -> Any:
        """What the standard rules say, if it comes to that."""
        item = change.new or change.old
        answer = act(self._then(item), [change])
        return super().impact(change, context) if answer is None else answer

    def spans(self, day: Any, items: Any, context: Any) -> Any:
        """The same of spans."""
        for item in list(items):
            answer = act(self._then(item), items)
            if answer is not None:
                return answer
            if self._then(item) == "overlap":
                return [Span(item.body.start, item.body.end)] * 2
        return super().spans(day, items, context)

    @staticmethod
    def _then(item: Any) -> str:
        return getattr(item.body, "location_id", None) or "well"


class HostileApart(Hostile):
    """Has a process of its own."""

    name = "hostile_apart"


class Old(Hostile):
    """Written for another API."""

    name = "hostile_old"
    api_version = 0


class Twin(Hostile):
    """Takes other arguments."""

    name = "hostile_one"

    def decode(self, event: Any) -> Any:  # type: ignore[override]
        """Nothing."""


class Unnamed(Hostile):
    """Calls itself otherwise than its entry point does."""

    name = "another"
