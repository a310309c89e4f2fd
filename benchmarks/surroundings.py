"""What one run needs: a local cloud of its own, a DynamoDB, and a worker; all of it ended at the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.children import gate
from benchmarks.dynamodb import Dynoxide
from benchmarks.loads import HORIZON_DAYS
from benchmarks.stores import NULL_STORE
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak.surroundings import TODAY, free_port
from kcl_app.local.soak.workers import ANNOUNCED, environment_of
from kcl_app.scrape import scrape
from kcl_app.settings import PROJECT_ROOT, Settings

START_SECONDS = 240.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.1
SCRAPES = 5
SETTLED = "scheduling_records_total"


def bench_settings(settings: Settings, folder: Path, port: int, dynamodb_port: int | None) -> Settings:
    """The settings of a run: the product's defaults, on a cloud and a DynamoDB of its own."""
    update = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "dynamodb_endpoint_url": None if dynamodb_port is None else f"http://127.0.0.1:{dynamodb_port}",
    }
    return settings.model_copy(
        update={
            "today": TODAY,
            "aws": settings.aws.model_copy(update=update),
            "horizon": settings.horizon.model_copy(update={"days": HORIZON_DAYS}),
            "worker": settings.worker.model_copy(update={"port": 0}),
            "log": settings.log.model_copy(update={"format": "json"}),
            "local": settings.local.model_copy(update={"directory": folder / "cloud"}),
        }
    )


class Cloud:
    """A fresh local cloud, and dynoxide beside it where it is to be had.

    Args:
        base: local settings; their folder has the virtual environment of the local cloud.
        folder: for all that it keeps.
        shards: of the stream.
        program: of dynoxide, or None.
    """

    def __init__(self, base: Settings, folder: Path, shards: int, program: Path | None) -> None:
        self.dynoxide: Dynoxide | None = None
        port = free_port()
        venv = base.local.directory / "venv"
        self._cloud = LocalCloud(bench_settings(base, folder, port, None), venv=venv)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if program is not None:
                self.dynoxide = Dynoxide(program, folder / "dynoxide.log")
            self.dynamodb_port = self.dynoxide.port if self.dynoxide else port
            self.settings = bench_settings(base, folder, port, self.dynoxide.port if self.dynoxide else None)
            self._cloud = LocalCloud(self.settings, venv=venv)
            self._cloud.start(fresh=True, shards=shards)
        except BaseException:
            self.stop()
            raise

    def pids(self) -> dict[str, int]:
        """The emulators' processes, by what they stand for."""
        found = {}
        if (pid := self._cloud.status().pid) is not None:
            found["kinesis" if self.dynoxide else "kinesis_and_dynamodb"] = pid
        if self.dynoxide is not None:
            found["dynamodb"] = self.dynoxide.pid
        return found

    def stop(self) -> None:
        """End it, and all that it holds."""
        if self.dynoxide is not None:
            self.dynoxide.stop()
        self._cloud.stop(save=False)


class BenchWorker:
    """A worker whose shards run one side's module.

    Args:
        module: such as ``benchmarks.children.null``.
        settings: the worker's.
        folder: for its log, its temporary files and the gate.
        null_store: whether its stores answer at once.
    """

    def __init__(self, module: str, settings: Settings, folder: Path, *, null_store: bool) -> None:
        self.log = folder / "worker.log"
        self.gate = folder / "gate"
        self.gate.mkdir(parents=True)
        temporary = folder / "tmp"
        temporary.mkdir()
        environment = environment_of(settings, temporary)
        environment["PYTHONPATH"] = str(PROJECT_ROOT)
        environment[gate.GATE] = str(self.gate)
        if null_store:
            environment[NULL_STORE] = "1"
        self._url: str | None = None
        with self.log.open("wb") as out:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.worker", module],
                env=environment,
                cwd=PROJECT_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C goes to the whole foreground group; this one is asked to end.
                start_new_session=True,
            )
        self.pid = self._popen.pid
        self._seen: dict[int, psutil.Process] = {}

    def await_gate(self, shards: int, tell: Callable[[], None]) -> None:
        """Wait until a child of each shard is at the gate.

        Args:
            shards: how many.
            tell: called now and then.

        Raises:
            UserError: the worker has ended, or takes too long.
        """
        deadline = time.monotonic() + START_SECONDS
        while gate.ready(self.gate) < shards:
            self.check()
            tell()
            if time.monotonic() > deadline:
                raise UserError(
                    f"the KCL did not start {shards} children within {START_SECONDS:.0f} s; see {self.log}"
                )
            time.sleep(LOOK_SECONDS)

    def open_gate(self) -> None:
        """Let the children begin."""
        gate.open_gate(self.gate)

    def check(self) -> None:
        """Raises UserError if it has ended."""
        if self._popen.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise UserError(f"the worker ended: {lines[-1][:300]} (see {self.log})")

    def jvm(self) -> int:
        """Pid of its Java process.

        Raises:
            UserError: it has none.
        """
        for process in self._tree():
            with suppress(psutil.Error):
                if process.name() == "java":
                    return process.pid
        raise UserError(f"the worker has no Java process; see {self.log}")

    def settled(self) -> int:
        """How many records its metrics say are settled."""
        if self._url is None:
            for line in self.log.read_text(errors="replace").splitlines():
                if line.startswith(ANNOUNCED):
                    self._url = line.removeprefix(ANNOUNCED).strip()
        for _ in range(SCRAPES):  # one may fail where everything is busy
            samples = scrape(self._url) if self._url else None
            if samples is not None:
                return int(samples.sum(SETTLED))
            self.check()
        raise UserError(f"the worker's metrics cannot be read; see {self.log}")

    def stop(self) -> None:
        """SIGTERM; what has not ended by then is killed."""
        tree = self._tree()
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(STOP_SECONDS)
        self._kill(tree)

    def kill(self) -> None:
        """End it at once, with all that it started."""
        self._kill(self._tree())

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.Error):
            supervisor = psutil.Process(self.pid)
            for one in supervisor.children(recursive=True):
                self._seen[one.pid] = one
        return list(self._seen.values())

    def _kill(self, tree: list[psutil.Process]) -> None:
        # psutil kills no process that has only the pid of one of these.
        if self._popen.poll() is None:
            self._popen.kill()
        for process in tree:
            with suppress(psutil.Error):
                process.kill()
        self._popen.wait(10)
        psutil.wait_procs(tree, timeout=10)
