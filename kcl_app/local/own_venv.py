"""Virtual environments of their own, for programs whose packages must not meet ours: made once, and then reused."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kcl_app.errors import UserError

INSTALL_SECONDS = 600.0


def install(
    venv: Path, requirements: Path, what: str, progress: Callable[[str], None] = lambda _: None
) -> None:
    """Make a virtual environment unless it is there, and anew once its requirements or Python changed.

    Several processes may ask at once. What pip printed is in a file beside it, with the ending ``.log``.

    Args:
        venv: its folder.
        requirements: a file of pinned packages.
        what: is installed, for whoever waits: "the local cloud".
        progress: is told that it takes a while, if it does.

    Raises:
        UserError: pip could not install it, or something else is in that folder.
    """
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = venv / "installed"
    venv.parent.mkdir(parents=True, exist_ok=True)
    with lock(venv.with_name(venv.name + ".lock")):
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        progress(f"Installing {what} (first start only)")
        if venv.exists() and not (venv / "pyvenv.cfg").is_file():
            raise UserError(f"{venv} is in the way: it is not a virtual environment")
        shutil.rmtree(venv, ignore_errors=True)
        log = venv.with_name(venv.name + ".log")
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        with log.open("wb") as out:
            for command in (
                [sys.executable, "-m", "venv", str(venv)],
                [*pip, "install", "--requirement", str(requirements)],
            ):
                _run(command, out, log, what)
        stamp.write_text(wanted)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """One process at a time; a lock goes with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def last_line(log: Path) -> str:
    """The last line of a log, for a message about a program that ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "it said nothing"


def _run(command: list[str], out: Any, log: Path, what: str) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"installing {what} took longer than {INSTALL_SECONDS:.0f} s; see {log}") from None
    if done.returncode:
        raise UserError(f"{what} cannot be installed: {last_line(log)} (see {log})")
