"""The worker's temporary folder: removed at its end, or, had it no chance to, at the next worker's start."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "kcl-app-worker-"
_LOCK = "lock"
_YOUNG_SECONDS = 60.0


@contextmanager
def runtime_folder() -> Iterator[Path]:
    """A folder for this process alone, in the system's temporary folder. Its lock says that somebody uses it."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            # A young one may be about to be locked.
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS or not _abandoned(folder):
                continue
        except OSError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    lock = os.open(folder / _LOCK, os.O_RDWR)
    try:
        # The kernel drops a lock with the process that held it, however that ended.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
