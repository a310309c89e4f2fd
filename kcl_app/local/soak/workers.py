"""The workers of a soak: `kcl-app worker` processes, started again whenever one ends, as ECS does with its tasks."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from kcl_app import wiring
from kcl_app.scrape import Samples, scrape
from kcl_app.settings import CONFIG_VARIABLE, PREFIX, Settings

ANNOUNCED = "kcl-app worker: metrics on "
RESTART_SECONDS = 1.0
"""How long a task that has ended stays away."""
EVENTS = "scheduling_events_total"
COUNTED = {
    "store calls throttled": "scheduling_store_throttles_total",
    "batches tried again": "scheduling_retries_total",
    "records processed": "scheduling_records_total",
}
"""What is added up over all workers that there ever were, from what each said last."""


class Worker:
    """One worker process, and all that it starts.

    Args:
        name: such as ``w1``, kept by its successors.
        log: the file that gets its output.
        environment: all of its environment variables.
    """

    def __init__(self, name: str, log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self.counts: Counter[str] = Counter()
        self.expected_end: str | None = None
        """The fault that it is about to end of, if there is one."""
        self._url: str | None = None
        with log.open("wb") as out:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "kcl_app.cli.main", "worker", "--port", "0"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.supervisor = psutil.Process(self._popen.pid)

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._popen.poll()

    def jvm(self) -> psutil.Process | None:
        """Its Java process, if there is one."""
        with suppress(psutil.Error):
            return next((one for one in self.supervisor.children() if "java" in one.name()), None)
        return None

    def children(self) -> list[psutil.Process]:
        """The processes of its shards."""
        jvm = self.jvm()
        with suppress(psutil.Error):
            return (
                [one for one in jvm.children(recursive=True) if "kcl_app.worker.child" in one.cmdline()]
                if jvm
                else []
            )
        return []

    def tree(self) -> list[psutil.Process]:
        """All of its processes, the supervisor first."""
        with suppress(psutil.Error):
            return [self.supervisor, *self.supervisor.children(recursive=True)]
        return []

    def worker_id(self) -> str:
        """What the KCL calls it; empty while that is not known."""
        jvm = self.jvm()
        try:
            command = jvm.cmdline() if jvm else []
            properties = Path(command[command.index("--properties-file") + 1]).read_text()
        except (OSError, ValueError, IndexError, psutil.Error):
            return ""
        return next((line[9:] for line in properties.splitlines() if line.startswith("workerId=")), "")

    def sample(self) -> Samples | None:
        """Its metrics now, also added to what is known of it; None where it does not answer."""
        if self._url is None:
            with self.log.open(errors="replace") as lines:
                for line in itertools.islice(lines, 50):
                    if line.startswith(ANNOUNCED):
                        self._url = line.removeprefix(ANNOUNCED).strip()
        samples = scrape(self._url) if self._url and self.status() is None else None
        if samples is not None:
            for outcome in ("applied", "superseded", "replayed", "rejected", "ignored"):
                self.counts[f"events {outcome}"] = int(samples.sum(EVENTS, outcome=outcome))
            for name, metric in COUNTED.items():
                self.counts[name] = int(samples.sum(metric))
        return samples

    def last_words(self) -> str:
        """The last line that says anything, for a person."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def send(self, number: signal.Signals) -> None:
        """A signal to the supervisor."""
        with suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> int | None:
        """Its exit status once it has ended; None if it has not by then."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


class Workers:
    """All workers, and whoever starts them again.

    Args:
        settings: the workers'.
        folder: for their logs and temporary files.
        number: how many there shall be.
        tell: is told in one line what happened.
    """

    def __init__(self, settings: Settings, folder: Path, number: int, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._environment = environment_of(settings, folder)
        self._lock = threading.Lock()
        self._ended: list[Worker] = []
        self._starts = itertools.count(1)
        self._end = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._names = [f"w{place + 1}" for place in range(number)]
        self._running: dict[str, Worker] = {}
        self.restarts = 0
        self.unexplained: list[str] = []
        """Workers that ended although nothing was done to them."""

    def start(self) -> None:
        """Start them all, and keep them."""
        for name in self._names:
            self._start(name)
        self._keeper.start()

    def _start(self, name: str) -> None:
        worker = Worker(name, self._folder / f"{name}-{next(self._starts):03d}.log", self._environment)
        with self._lock:
            self._running[name] = worker

    def running(self) -> list[Worker]:
        """Those that run now."""
        with self._lock:
            return [one for one in self._running.values() if one.status() is None]

    def counts(self) -> Counter[str]:
        """What all that there ever were have counted."""
        with self._lock:
            return sum((one.counts for one in [*self._ended, *self._running.values()]), Counter())

    def _keep(self) -> None:
        away: dict[str, float] = {}
        while not self._end.wait(0.25):
            for name in self._names:
                worker = self._running[name]
                if worker.status() is None:
                    continue
                if name not in away:
                    away[name] = time.monotonic()
                    self._note_end(worker)
                elif time.monotonic() - away[name] >= RESTART_SECONDS:
                    del away[name]
                    with self._lock:
                        self._ended.append(worker)
                    self._start(name)
                    self.restarts += 1

    def _note_end(self, worker: Worker) -> None:
        said = f"{worker.name} ended with status {worker.status()}"
        if worker.expected_end is None:
            said += f", nothing having been done to it: {worker.last_words()} (see {worker.log})"
            self.unexplained.append(said)
        self._tell(said)

    def sample(self) -> None:
        """Ask each for its metrics."""
        for worker in self.running():
            worker.sample()

    def owned(self) -> int:
        """Shards that they own together, as they say."""
        found = [worker.sample() for worker in self.running()]
        return int(sum(samples.sum("scheduling_shards_owned") for samples in found if samples))

    def release(self) -> None:
        """Start none again from now on."""
        self._end.set()
        if self._keeper.is_alive():
            self._keeper.join(10)

    def stop(self, seconds: float) -> list[str]:
        """SIGTERM to all; what went wrong, one line each."""
        self.release()
        running = self.running()
        for worker in running:
            worker.expected_end = "the end"
            worker.send(signal.SIGTERM)
        wrong = []
        for worker in running:
            status = worker.wait(seconds)
            if status is None:
                wrong.append(
                    f"{worker.name} did not end within {seconds:.0f} s of SIGTERM (see {worker.log})"
                )
            elif status:
                wrong.append(
                    f"{worker.name} ended with status {status} on SIGTERM: {worker.last_words()} (see {worker.log})"
                )
        return wrong

    def kill(self) -> None:
        """SIGKILL to whatever is left of them, orphans too."""
        self._end.set()
        for process in marked(self._folder):
            with suppress(psutil.Error):
                process.kill()
        with self._lock:
            workers = list(self._running.values())
        for worker in workers:
            worker.wait(10)


def marked(folder: Path) -> Iterator[psutil.Process]:
    """Processes whose temporary files are in a folder: workers and what they have started."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = process.as_dict(["environ"])["environ"] or {}
            if told.get("TMPDIR") == str(folder):
                yield process


def environment_of(settings: Settings, folder: Path) -> dict[str, str]:
    """The environment in which `kcl-app` has these settings.

    Args:
        settings: what it shall have.
        folder: for its temporary files.
    """
    environment = wiring.child_environment(settings)
    environment.pop(CONFIG_VARIABLE, None)
    for name, value in settings.model_dump(mode="json", exclude_none=True).items():
        environment[f"{PREFIX}{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    environment["TMPDIR"] = str(folder)
    return environment
