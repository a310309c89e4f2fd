"""Runs the Java daemon and all that is round it: its logs, its metrics, its end.

    supervisor (this process) ── HTTP: /metrics, /healthz, /readyz
      └─ JVM: MultiLangDaemon ── reads the stream, holds the leases
           ├─ child: shard 0
           └─ child: shard 1

A signal reaches the supervisor alone, which asks the JVM to end, which asks its children. Should the supervisor itself
be killed, the kernel asks the JVM. Should both be, the children end with their input.
"""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from prometheus_client import CollectorRegistry

from kcl_app import logs, wiring
from kcl_app.clock import Clock
from kcl_app.errors import PreflightError
from kcl_app.metrics import CHECKPOINT_TIMESTAMP, HEARD_TIMESTAMP, STORES_AVAILABLE, TENANT_LAST_EVENT
from kcl_app.settings import CONFIG_VARIABLE, Settings
from kcl_app.worker import daemon, ending, jvm_process, leadership, machine, preflight, processes
from kcl_app.worker.cloud_watch import CloudWatch
from kcl_app.worker.daemon_output import DaemonOutput
from kcl_app.worker.errors import WorkerError
from kcl_app.worker.http_server import WorkerServer
from kcl_app.worker.metrics_directory import MetricsDirectory
from kcl_app.worker.runtime_folder import runtime_folder
from kcl_app.worker.shard_watch import ShardWatch
from kcl_app.worker.supervisor_metrics import SupervisorCollector, SupervisorValues
from processors import __version__

HOUSEKEEPING_SECONDS = 2.0
PROGRESS_SECONDS = 10.0
CHILD_SECONDS = 1.0
"""How long children may go on after the JVM has ended. They see the end of their input, and can checkpoint no more."""
JVM_SECONDS = 3.0
"""How long a killed JVM may take to be gone."""
RELEASE_SECONDS = 4.0
"""How long the end waits for the leader lock to be freed."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Stopped(BaseException):
    """A signal came before the daemon was started. No `Exception`, which boto3 would take for a call that failed."""


def run(
    settings: Settings,
    config: Path | None = None,
    *,
    child_command: Sequence[str] = daemon.CHILD_COMMAND,
    announce: Callable[[str], None] = print,
) -> None:
    """Run a worker until a signal ends it.

    Only from the main thread: it takes SIGTERM and SIGINT, and Linux ties the JVM's life to the thread that started it.

    Args:
        settings: all of them.
        config: the file they came from; the children read it again.
        child_command: what each shard runs.
        announce: is told in one line where the metrics are.

    Raises:
        WorkerError: something is missing, the daemon ended by itself, or did not end within its grace.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    supervisor = Supervisor(settings, config, child_command)
    for number in _SIGNALS:
        signal.signal(number, supervisor.on_signal)
    try:
        supervisor.run(announce)
    except _Stopped:
        logs.get_logger().info("stopped before the start")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        supervisor.close()


class Supervisor:
    """One run of the daemon. See `run`."""

    def __init__(self, settings: Settings, config: Path | None, child_command: Sequence[str]) -> None:
        self._settings = settings
        self._config = config
        self._child_command = child_command
        self._clock: Clock = wiring.clock(settings)
        self._log = logs.get_logger()
        self._seal = uuid4().hex
        self._output = DaemonOutput(show_any=settings.environment == "local", seal=self._seal)
        self._book = processes.ProcessBook()
        self._jvm: subprocess.Popen[str] | None = None
        self._metrics: MetricsDirectory | None = None
        self._cloud: CloudWatch | None = None
        self._stream: preflight.Preflight | None = None
        self._started = self._clock.seconds()
        self._shards = ShardWatch(settings.worker.judge_seconds, settings.watched_tenants(), self._started)
        self._folder: Path | None = None
        self._signals: list[int] = []
        self._last_resorts: list[threading.Timer] = []
        self._interruptible = True
        self._handed_over = False
        self._ended = threading.Event()
        self._worker_id = f"{socket.gethostname()}-{uuid4()}"
        self._versions = {
            "version": __version__,
            "kcl_version": _installed("amazon_kclpy"),
            "python_version": platform.python_version(),
        }

    def on_signal(self, number: int, _frame: object) -> None:
        """Ask for the end; asked twice, at once."""
        self._signals.append(number)
        grace = 0.0 if len(self._signals) > 1 else self._settings.worker.grace_seconds
        self._last_resorts.append(ending.last_resort(grace + ending.LAST_RESORT_SECONDS, self._below))
        if self._interruptible:
            self._interruptible = False
            raise _Stopped

    def close(self) -> None:
        """Nothing is left that would have to be ended by force."""
        for timer in self._last_resorts:
            timer.cancel()

    def _below(self) -> list[int]:
        if self._jvm is None:
            return []
        seen = processes.observe(self._jvm.pid)
        return [one.pid for one in seen if one.kind != processes.SUPERVISOR]

    def run(self, announce: Callable[[str], None]) -> None:
        """From the checks to the end; raises as `run` above."""
        try:
            java = daemon.java(wiring.java_home())
            jars = daemon.jars()
            preflight.check(self._settings)
            cloud = self._cloud = self._cloud_watch()
        except (daemon.DaemonError, PreflightError) as error:
            raise WorkerError(str(error)) from None
        with runtime_folder() as folder:
            self._run_in(folder, java, jars, cloud, announce)

    def _run_in(
        self,
        folder: Path,
        java: Path,
        jars: Sequence[Path],
        cloud: CloudWatch,
        announce: Callable[[str], None],
    ) -> None:
        self._folder = folder
        metrics = self._metrics = MetricsDirectory(folder / "metrics")
        (folder / "metrics").mkdir()
        try:
            command = self._prepare(folder, java, jars)
        except daemon.DaemonError as error:
            raise WorkerError(str(error)) from None
        registry = CollectorRegistry()
        registry.register(metrics)
        registry.register(SupervisorCollector(self.values))
        server = self._server(registry)
        self._interruptible = False
        if self._signals:
            raise _Stopped
        try:
            jvm = self._jvm = jvm_process.start(command, self._environment(folder))
        except OSError as error:
            raise WorkerError(f"cannot run {java}: {error.strerror}") from None
        readers = [
            jvm_process.read(jvm.stdout, self._output.on_stdout, "daemon-stdout"),
            jvm_process.read(jvm.stderr, self._output.on_stderr, "daemon-stderr"),
        ]
        try:
            server.start()
            threading.Thread(target=self._keep_house, name="housekeeping", daemon=True).start()
            threading.Thread(target=cloud.run, args=(self._ended,), name="cloud-watch", daemon=True).start()
            announce(f"kcl-app worker: metrics on {server.url}/metrics")
            self._log.info("worker started", metrics=f"{server.url}/metrics", jvm_pid=jvm.pid)
            grace = self._settings.worker.grace_seconds
            end = ending.Ending(jvm, self._output, self._signals, cloud, grace)
            end.wait(readers)
            self._handed_over = self._output.initialized and not end.cut_off
        finally:
            self._ended.set()
            self._end_all(jvm)
            server.stop()

    def _prepare(self, folder: Path, java: Path, jars: Sequence[Path]) -> list[str]:
        script = folder / "child.sh"
        executable = daemon.executable(self._child_command, script)
        if executable.script is not None:
            script.write_text(executable.script, encoding="utf-8")
        properties = folder / "daemon.properties"
        properties.write_text(
            daemon.properties_text(daemon.properties(self._settings, executable.name, self._worker_id)),
            encoding="ascii",
        )
        return daemon.command(self._settings, java, jars, properties)

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = wiring.child_environment(self._settings)
        environment[wiring.LOG_SEAL] = self._seal
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
        # Whatever the supervisor shows, it reads JSON from its children.
        environment["SCHEDULING_LOG__FORMAT"] = "json"
        environment["PYTHONUTF8"] = "1"
        config = self._config or (Path(named) if (named := environment.get(CONFIG_VARIABLE)) else None)
        if config is not None:
            environment[CONFIG_VARIABLE] = str(config.resolve())
        return environment

    def _server(self, registry: CollectorRegistry) -> WorkerServer:
        worker = self._settings.worker
        try:
            return WorkerServer(
                worker.bind, worker.port, registry, self.unhealthy, self.unready, self._output.plugins_refused
            )
        except OSError as error:
            raise WorkerError(
                f"cannot listen on {worker.bind} port {worker.port}: {error.strerror}; choose another --port"
            ) from None

    def _cloud_watch(self) -> CloudWatch:
        look = self._stream = preflight.Preflight(leadership.quick(self._settings))
        return CloudWatch(look.look, lambda: self._output.errors)

    def _end_all(self, jvm: subprocess.Popen[str]) -> None:
        if jvm.poll() is None:
            jvm.kill()
        with suppress(subprocess.TimeoutExpired):
            jvm.wait(JVM_SECONDS)
        # Only now: until its end it may start another one.
        below = (processes.CHILD, processes.PLUGIN)
        children = [one for one in processes.observe(jvm.pid) if one.kind in below]
        killed = processes.end(children, CHILD_SECONDS if len(self._signals) < 2 else 0.0)
        if killed:
            self._log.warning("children killed", children=killed)
        # Where AWS cannot be used the lock has to run out.
        if not self._handed_over and not (self._cloud and self._cloud.trouble):
            # Its connections wait a finite time, but longer than there is.
            release = threading.Thread(
                target=leadership.release, args=(self._settings, self._worker_id), daemon=True
            )
            release.start()
            release.join(RELEASE_SECONDS)

    def _keep_house(self) -> None:
        began = told = time.monotonic()
        while not self._ended.wait(HOUSEKEEPING_SECONDS):
            try:
                self.keep_house()
            except Exception:  # the next round may work, and the worker does without
                self._log.error("housekeeping failed", exc_info=True)
            now = time.monotonic()
            if not self._output.initialized and now - told >= PROGRESS_SECONDS:
                told = now
                self._log.info("the KCL sets up its leases", seconds=round(now - began))

    def keep_house(self) -> None:
        """One round: who runs, what they use, and the books of those that ended."""
        if self._metrics is None or self._jvm is None:
            return
        # Files first: a child that has one by now and is not among the running ones has ended.
        with_files = self._metrics.pids()
        ended = self._book.update(processes.observe(self._jvm.pid), with_files)
        self._metrics.bury(ended & with_files)
        self._shards.take(self._metrics.gauges(), self._clock.seconds())

    def unhealthy(self) -> list[str]:
        """Why the worker does not run."""
        if self._jvm is None or self._jvm.poll() is not None:
            return ["the daemon does not run"]
        if self._output.child_failed:
            return [f"a child has failed, so the worker ends: {self._output.hint()}"]
        return []

    def unready(self) -> list[str]:
        """Why the worker is not at work."""
        why = self.unhealthy()
        if self._signals:
            why.append("it is stopping")
        if not self._output.initialized:
            why.append("the KCL sets up its leases")
        if self._cloud is not None and self._cloud.trouble:
            why.append(self._cloud.trouble)
        stores = {} if self._metrics is None else self._metrics.gauges().get(STORES_AVAILABLE.name, {})
        why += [f"stores do not answer {shard}" for shard, value in sorted(stores.items()) if value == 0]
        return why

    def values(self) -> SupervisorValues:
        """What is true now, for /metrics."""
        gauges = {} if self._metrics is None else self._metrics.gauges()
        tenants = {} if self._metrics is None else self._metrics.gauges("tenant")
        now = self._clock.seconds()
        shards = self._shards.values(gauges, now)
        room = None if self._folder is None else machine.room(self._folder)
        return SupervisorValues(
            now=now,
            started=self._started,
            lags=shards.lags,
            trends=shards.trends,
            states=shards.states,
            worker_state=shards.worker_state,
            heard_timestamps=gauges.get(HEARD_TIMESTAMP.name, {}),
            checkpoint_timestamps=gauges.get(CHECKPOINT_TIMESTAMP.name, {}),
            shards_owned=len({shard for by_shard in gauges.values() for shard in by_shard}),
            leases_unowned=self._stream.leases_unowned if self._stream else None,
            open_shards=self._stream.open_shards if self._stream else None,
            retention_seconds=self._stream.retention_seconds if self._stream else None,
            tenant_silences=self._shards.silences(gauges, tenants.get(TENANT_LAST_EVENT.name, {}), now),
            tenant_silence_limits=self._shards.tenant_limits,
            ready=not self.unready(),
            children_exited=self._book.exited,
            processes=self._book.processes,
            cpu_seconds=self._book.cpu_seconds,
            memory_bytes=self._book.memory_bytes,
            memory_limit_bytes=room.memory_limit_bytes if room else None,
            disk_free_bytes=room.disk_free_bytes if room else None,
            disk_size_bytes=room.disk_size_bytes if room else None,
            versions=self._versions,
        )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
