"""The commands of `kcl-app`, one module each."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

# Python's own handler would show where in the loading of modules a Ctrl-C came; `main` sets it again.
if (
    Path(sys.argv[0]).name in ("kcl-app", "-m")
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# The base install has what a plugin needs to run, and the command is installed with it all the same.
_NEEDED = ("typer", "rich", "pydantic_settings")
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    raise SystemExit(
        f"kcl-app: {_missing[0]} is not installed; install the command's parts with "
        "pip install 'scheduling-kcl-app[worker]', or [plugins] to write a plugin"
    )
