"""One plugin's process, as it is seen by whoever asks it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import Any

from pydantic_core import from_json

from emr_plugins.answers import Nonsense
from emr_plugins.calls import Elsewhere

from .messages import MAX_ANSWER, framed, read_answer, read_frame

DEFAULT_MEMORY_MB = 256
START_SECONDS = 30.0
"""How long an import may take."""
_INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ", "PYTHONHASHSEED", "PYTHONTZPATH", "PYTHONDONTWRITEBYTECODE")


class CannotStart(Exception):  # noqa: N818
    """The plugin cannot be loaded; the message says why."""


class PluginProcess:
    """A plugin's process, started when it is needed.

    Args:
        point: the plugin's entry point.
        memory_mb: what it may allocate, in MB.
    """

    def __init__(self, point: EntryPoint, memory_mb: int) -> None:
        self._point = point
        self._memory_mb = memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = False  # what it says of its plugin: it has been imported
        self._end: Callable[[], object] = lambda: None

    @property
    def pid(self) -> int | None:
        """Of the process that runs, or None."""
        return None if self._process is None else self._process.pid

    def start(self) -> dict[str, Any]:
        """Start it, and wait until it has imported the plugin.

        Returns:
            what it says of its plugin.

        Raises:
            CannotStart: the plugin does not load, or does not fit.
        """
        self._launch()
        return self._hear()

    def _launch(self) -> None:
        """Start it, and wait for nothing: it imports the plugin while whoever asks does something else."""
        command = [sys.executable, "-P", "-m", "emr_plugins.isolation", self._point.name, self._point.value]
        process = subprocess.Popen(
            [*command, str(self._memory_mb), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            bufsize=0,
            # In a group of its own: what is meant for the worker's children is not meant for their plugins.
            process_group=0,
        )
        self._end = weakref.finalize(self, _end, process)  # also when this process ends, or forgets it
        self._process, self._heard = process, False

    def _hear(self) -> dict[str, Any]:
        """Wait for what it says of its plugin. Interrupted, it goes on with its import, and the next call finds it so.

        Raises:
            CannotStart: the plugin does not load, or does not fit.
        """
        process = self._process
        assert process is not None
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        try:
            if not ready:
                raise CannotStart(f"it failed to load: it takes more than {START_SECONDS:g} s")
            answer = read_frame(process.stdout.read, MAX_ANSWER)
            if answer is None:
                raise CannotStart(f"it failed to load: its process ended ({_status(process)})")
            said: dict[str, Any] = from_json(answer)
            if "refused" in said:
                raise CannotStart(str(said["refused"]))
        except (ValueError, Nonsense):
            self.end()
            raise CannotStart("it failed to load: its process said what cannot be read") from None
        except BaseException:
            self.end()
            raise
        self._heard = True
        return said

    def wait_until_started(self) -> None:
        """Start it if it does not run, and wait for its import: for whoever will not have that count as a call's time.

        Raises:
            Elsewhere: the plugin does not load any more.
        """
        if self._process is None or not self._heard:
            try:
                if self._process is None:
                    self._launch()
                self._hear()
            except CannotStart as error:
                raise Elsewhere(f"could not be called: {error}") from None

    def ask(self, method: str, arguments: tuple[Any, ...], read: Callable[[Any], Any]) -> Any:
        """Call the plugin.

        Args:
            method: `decode`, `impact`, `spans` or `settings`.
            arguments: its arguments, which can be pickled.
            read: makes values of the answer's rows.

        Raises:
            Reject: the plugin rejected its input.
            Nonsense: it returned what cannot be.
            Elsewhere: it raised, or the process ended.
        """
        self.wait_until_started()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _write(process.stdin.fileno(), framed(pickle.dumps((method, *arguments), protocol=5)))
            answer = read_frame(process.stdout.read, MAX_ANSWER)
        except BrokenPipeError:
            answer = None
        except BaseException:
            # Interrupted in the middle: what it answers next would be taken for the answer to another question.
            self._again()
            raise
        if answer is None:
            status = _status(process)
            self._again()
            raise Elsewhere(f"ended its process ({status}; it may take {self._memory_mb} MB)")
        return read_answer(answer, read)

    def _again(self) -> None:
        """End it and start another one, so that its import does not take the next call's time."""
        self.end()
        with suppress(OSError):  # no more processes now; the next call tries it again
            self._launch()

    def end(self) -> None:
        """End the process; the next call starts it again."""
        self._process = None
        self._end()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _environment() -> dict[str, str]:
    """Nothing of what the worker is given for itself, such as its credentials."""
    kept = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONUTF8": "1"}


def _status(process: subprocess.Popen[bytes]) -> str:
    """How it ended."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return "it closed its output"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
