"""One soak from start to end: cloud, workers, load and faults, then the drain, the check and the end of everything."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak import resharding
from kcl_app.local.soak.chaos import Chaos
from kcl_app.local.soak.cloud_faults import CloudFaults
from kcl_app.local.soak.leases import LeaseWatch
from kcl_app.local.soak.ledger import Accepted, Ledger
from kcl_app.local.soak.load import Load
from kcl_app.local.soak.proxy import Proxy
from kcl_app.local.soak.report import Report
from kcl_app.local.soak.schedule import plan
from kcl_app.local.soak.sender import SteadySender
from kcl_app.local.soak.surroundings import (
    READ_TIMEOUT_SECONDS,
    TODAY,
    deaf,
    free_port,
    signals,
    soak_settings,
)
from kcl_app.local.soak.verifier import Expected, verify
from kcl_app.local.soak.worker_faults import WorkerFaults
from kcl_app.local.soak.workers import Workers
from kcl_app.settings import Settings
from processors.decoding import Decoded, Rejected, decode

START_SECONDS = 240.0
CALM_SECONDS = 120.0
"""How long the last faults may take to be over."""
STUCK_SECONDS = 300.0
"""For how long nothing may move while it drains. The KCL needs half of it where a leader is gone with its host."""
DRAIN_SECONDS = 3600.0
STOP_SECONDS = 60.0
LEADER_MINUTES = 8.0
"""From how long a soak on the leader may be taken away with its host."""
TELL_SECONDS = 10.0


@dataclass(frozen=True)
class Params:
    """What to do.

    Attributes:
        minutes: how long the load goes on.
        seed: of load and faults.
        workers: how many.
        shards: open shards at the start.
        rate: events a second.
        keep: leave folder and logs where they are.
    """

    minutes: float
    seed: int
    workers: int = 2
    shards: int = 3
    rate: float = 120.0
    keep: bool = False


def run(settings: Settings, params: Params, console: Console) -> Report:
    """Run one soak; everything that it starts has ended when this returns or raises.

    Args:
        settings: local settings; the soak changes what it has to.
        params: what to do.
        console: gets a line for each fault, and the progress.

    Raises:
        UserError: something could not be started or did not come about.
        Stopped: a signal came.
    """
    folder = Path(tempfile.mkdtemp(prefix="kcl-app-soak-"))
    soak = _Soak(settings, params, folder, console)
    good = False
    with signals():
        try:
            report = soak.run()
            good = report.good()
            return report
        finally:
            deaf()
            soak.end(save=params.keep and good)
            if params.keep or (not good and soak.begun):
                console.print(f"logs and state are in {folder}", highlight=False)
            else:
                shutil.rmtree(folder, ignore_errors=True)


class _Soak:
    """The parts of one run."""

    def __init__(self, settings: Settings, params: Params, folder: Path, console: Console) -> None:
        self._params, self._folder, self._console = params, folder, console
        self._began = time.monotonic()
        self.begun = False
        port = free_port()
        self._settings = soak_settings(settings, folder, port)
        self._cloud = LocalCloud(
            self._settings,
            venv=settings.local.directory / "venv",
            progress=self._tell,
            program=("-P", resharding.__file__, "ministack", str(folder / "throttle")),
        )
        self._proxy = Proxy(port, random.Random(f"proxy-{params.seed}"), READ_TIMEOUT_SECONDS + 1)
        self._ledger = Ledger(folder / "sent.ndjson")
        self._host = wiring.plugin_host(self._settings)
        if refused := self._host.registry.refused:
            raise UserError(
                f"the plugin {refused[0].name} does not load, so nothing can be compared: {refused[0].reason}"
            )
        self._limits = self._settings.limits.limits()
        self._store = wiring.store(self._settings)
        self._kinesis, self._dynamodb = wiring.kinesis(self._settings), wiring.dynamodb(self._settings)
        self._workers: Workers | None = None
        self._sender: SteadySender | None = None
        self._watch: LeaseWatch | None = None
        self._chaos: Chaos | None = None

    def _tell(self, line: str) -> None:
        at = time.monotonic() - self._began
        self._console.print(f"{at:7.1f} s  {escape(line)}", highlight=False, soft_wrap=True)

    def run(self) -> Report:
        """All of it."""
        params = self._params
        report = Report(params.seed, params.minutes, params.workers, params.shards, params.rate)
        self._start()
        self.begun = True
        chaos, sender, watch, workers = self._put_under_load()
        self._wait(params.minutes * 60)
        self._tell("the load ends; what is sent is to be accepted, what is broken to be mended")
        sender.stop(CALM_SECONDS)
        last = time.monotonic()
        chaos.finish(CALM_SECONDS)
        if chaos.errors:
            raise UserError(f"a fault could not be done: {chaos.errors[0]!r}")
        self._drain(report, watch, last)
        workers.sample()
        report.wrong += workers.stop(STOP_SECONDS)
        watch.stop()
        self._tell("the clean pass over all that was sent, and the comparison")
        self._verify(report)
        self._sum_up(report, chaos, sender, watch, workers)
        return report

    def _start(self) -> None:
        self._cloud.start(shards=self._params.shards)
        self._proxy.start()
        through = self._settings.aws.model_copy(
            update={"endpoint_url": f"http://127.0.0.1:{self._proxy.port}"}
        )
        self._workers = Workers(
            self._settings.model_copy(update={"aws": through}), self._folder, self._params.workers, self._tell
        )
        self._workers.start()
        self._tell(
            f"{self._params.workers} workers started; the KCL elects a leader and assigns {self._params.shards} shards"
        )
        deadline = time.monotonic() + START_SECONDS
        while self._workers.owned() < self._params.shards:
            if self._workers.unexplained:
                raise UserError(self._workers.unexplained[0])
            if time.monotonic() > deadline:
                raise UserError(f"the workers did not take all shards within {START_SECONDS:.0f} s")
            time.sleep(0.5)

    def _put_under_load(self) -> tuple[Chaos, SteadySender, LeaseWatch, Workers]:
        params, settings, workers = self._params, self._settings, self._workers
        assert workers is not None  # started before
        load = Load(params.seed, TODAY, self._limits, wiring.providers_of(settings))
        self._sender = SteadySender(load.pieces(), self._ledger, self._kinesis, settings, params.rate)
        self._watch = LeaseWatch(
            self._dynamodb,
            self._kinesis,
            self._store,
            settings.stream.application,
            settings.stream.name,
            self._ledger,
            self._decode,
            random.Random(f"watch-{params.seed}"),
            self._tell,
        )
        self._chaos = self._planned_chaos(workers)
        for part in (self._sender, self._watch, self._chaos):
            part.start()
        return self._chaos, self._sender, self._watch, workers

    def _planned_chaos(self, workers: Workers) -> Chaos:
        params, stream = self._params, self._settings.stream
        patient, calm, end = params.minutes >= LEADER_MINUTES, threading.Lock(), threading.Event()
        on_workers = WorkerFaults(
            workers,
            self._dynamodb,
            stream.application,
            patient=patient,
            calm=calm,
            end=end,
            rng=random.Random(f"workers-{params.seed}"),
        )
        on_cloud = CloudFaults(
            self._cloud,
            self._proxy,
            self._folder / "throttle",
            self._kinesis,
            stream.name,
            patient=patient,
            calm=calm,
            end=end,
            rng=random.Random(f"cloud-{params.seed}"),
        )
        planned = plan(params.minutes * 60, params.seed)
        return Chaos(planned, {**on_workers.strikes(), **on_cloud.strikes()}, end, self._tell)

    def _decode(self, accepted: Accepted) -> Decoded | Rejected:
        return decode(accepted.record(), self._host.decode, self._limits)

    def _wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, and tell how things are; whether it came to what was waited for."""
        assert self._workers is not None
        assert self._sender is not None
        deadline, told = time.monotonic() + seconds, time.monotonic()
        with self._console.status("") if self._console.is_terminal else nullcontext() as status:
            while time.monotonic() < deadline:
                if until():
                    return True
                if self._sender.error is not None:
                    raise UserError(f"the load could not be sent: {self._sender.error}")
                self._workers.sample()
                if status is not None:
                    status.update(escape(self._now()))
                elif time.monotonic() - told >= TELL_SECONDS:
                    told = time.monotonic()
                    self._tell(self._now())
                time.sleep(1)
        return False

    def _now(self) -> str:
        """How things are, in one line."""
        assert self._workers is not None
        assert self._watch is not None
        assert self._chaos is not None
        assert self._sender is not None
        progress, counts = self._watch.progress, self._workers.counts()
        return (
            f"{self._sender.events:,} events sent, {progress.backlog:,} records waiting, lag {progress.lag:.0f} s, "
            f"{len(self._workers.running())} workers, {counts['events replayed']:,} replays, "
            f"{sum(self._chaos.done.values())} faults, {self._proxy.calls:,} calls"
            + (f", {len(progress.wrong)} WRONG" if progress.wrong else "")
        )

    def _drain(self, report: Report, watch: LeaseWatch, last: float) -> None:
        drained = False

        def over() -> bool:
            nonlocal drained
            with suppress(BotoCoreError, ClientError):
                drained = watch.drained()
            return drained or time.monotonic() - max(last, watch.progress.moved_at) > STUCK_SECONDS

        self._wait(DRAIN_SECONDS, over)
        if drained:
            report.seconds_to_drain = round(time.monotonic() - last, 1)
            self._tell(f"drained {report.seconds_to_drain:.1f} s after the last record")
            return
        waiting = watch.progress.backlog
        report.wrong.append(f"it did not drain: {waiting} records wait, and no checkpoint has moved for long")

    def _verify(self, report: Report) -> None:
        expected = Expected.of(self._ledger, self._host, self._limits)
        s3, bucket = wiring.s3(self._settings), self._settings.tables.dead_letter_bucket

        def read_blob(key: str) -> bytes:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

        clock = wiring.clock(self._settings)
        found = verify(expected, self._store, read_blob, clock.today, self._settings.horizon.days)
        report.provider_days, report.items = found.days, found.items
        report.expected_letters = dict(found.letters)
        report.differences = found.differences

    def _sum_up(
        self, report: Report, chaos: Chaos, sender: SteadySender, watch: LeaseWatch, workers: Workers
    ) -> None:
        report.events, report.records, report.resent = sender.events, self._ledger.records, sender.failures
        report.processed = dict(workers.counts())
        report.faults, report.left_out = dict(chaos.done), chaos.left_out
        report.calls, report.calls_hit = self._proxy.calls, dict(self._proxy.faults)
        report.restarts, report.unexplained = workers.restarts, workers.unexplained
        progress = watch.progress
        report.checkpoints_looked_up = progress.looked_up
        report.longest_standstill_seconds = round(progress.most_quiet, 1)
        report.most_lag_seconds = round(progress.most_lag, 1)
        report.wrong += progress.wrong
        if self._params.keep or not report.good():
            report.folder = str(self._folder)

    def end(self, *, save: bool) -> None:
        """End everything at once, whatever state it is in; what the cloud holds is saved first if so wished."""
        for part in (self._chaos, self._sender):
            if part is not None:
                part.abandon()
        if self._watch is not None:
            self._watch.stop()
        if self._workers is not None:
            self._workers.release()
            self._workers.kill()
        self._proxy.stop()
        self._cloud.stop(save=save)
