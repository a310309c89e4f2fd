"""What a call asks of the world outside of its arguments, seen by Python's own profiler hook."""

from __future__ import annotations

import datetime
import gc
import os
import random
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"}
_CLOCKS |= {"localtime", "gmtime", "ctime", "process_time", "process_time_ns"}
_DATES = {"now", "today", "utcnow"}
_MODULES = {"posix": "os", "_socket": "socket", "_thread": "threading", "select": "select", "_ssl": "ssl"}
_HARMLESS = {"fspath", "allocate_lock", "get_ident", "get_native_id", "RLock"}
_ENVIRONMENT = {
    method.__code__
    for name in ("__getitem__", "__iter__", "__setitem__", "__delitem__")
    if (method := getattr(type(os.environ), name, None)) is not None
}
_LIBRARY = (sysconfig.get_path("stdlib"), "<frozen ")

_ALLOWED = (
    "/logging/", "/structlog/", "/importlib/", "<frozen importlib", "/zoneinfo/", "/warnings.py", "/linecache.py",
    "/traceback.py", "/processors/times.py", "/threading.py", "/emr_plugins/time_limit.py", "/encodings/",
    "/_strptime.py",
)  # fmt: skip
"""Who may ask on a plugin's behalf: what it logs has a time, what it imports and the zones are files."""


def asks_for(call: Callable[[], Any], seen: list[str]) -> Any:
    """Make a call, and note what it asks for, each with its place.

    Args:
        call: into the plugin.
        seen: gets what was asked for.
    """

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            what = _named(argument)
        elif event == "call" and frame.f_code in _ENVIRONMENT:
            what = "os.environ"
        else:
            return
        if what is not None and (place := _place(frame)) is not None:
            seen.append(f"{what} at {place}")

    before, collecting = sys.getprofile(), gc.isenabled()
    # What the collector calls, such as a callback of the test's own tools, the plugin has not called.
    gc.disable()
    sys.setprofile(look)
    try:
        return call()
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()


def _named(function: Any) -> str | None:
    """What a function of C is called, if nobody pure calls it."""
    name = getattr(function, "__name__", "")
    module = getattr(function, "__module__", None)
    owner = getattr(function, "__self__", None)
    if module == "time" and name in _CLOCKS:
        return f"time.{name}"
    if name in _DATES and isinstance(owner, type) and issubclass(owner, datetime.date):
        return f"{owner.__name__}.{name}"
    if isinstance(owner, random.Random):
        return f"random.{name}" if name != "seed" else None
    if module in _MODULES and name not in _HARMLESS:
        return f"{_MODULES[module]}.{name}"
    if module in ("io", "_io") and name in ("open", "open_code"):
        return "open"
    if name == "input" and module == "builtins":
        return "input"
    return None


def _place(frame: FrameType | None) -> str | None:
    """The nearest line that is no library's; None where the call is made by who may."""
    place = None
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in _ALLOWED):
            return None
        if file == __file__:
            break
        if place is None and not file.startswith(_LIBRARY):
            place = f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return place or "a library"
