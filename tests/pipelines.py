"""For tests of the whole pipeline: commands as a person runs them, and the tables held against `kcl-app try`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from kcl_app import wiring
from kcl_app.scrape import Samples, scrape
from kcl_app.settings import PREFIX, Settings
from kcl_app.stores.base import Row, Table
from processors.keys import ProviderKey

KCL_APP = [sys.executable, "-m", "kcl_app.cli.main"]

Environment = dict[str, str]
Day = tuple[str, str]
"""Partition key of a provider, date."""

NO_WORKER = ("--metrics", "127.0.0.1:9", "--seconds", "0")
"""For `kcl-app status`: no worker to ask, and nothing to watch."""


def kcl_app(*arguments: str, env: Environment, status: int = 0, stdin: str | None = None) -> str:
    """What a command prints; it must end with `status`."""
    done = subprocess.run(
        [*KCL_APP, *arguments], env=env, input=stdin, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == status, f"{arguments} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


class PipelineWorker:
    """A `kcl-app worker` process.

    Args:
        env: its settings.
        log: the file that gets its output.
        command: what stands for `kcl-app`.
    """

    def __init__(self, env: Environment, log: Path, command: Sequence[str] = KCL_APP) -> None:
        self.log = log
        self._url: str | None = None
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "worker", "--port", "0"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                # A group of its own, as a shell gives it.
                start_new_session=True,
            )

    def output(self) -> str:
        """All that it has printed and logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def last_line(self) -> str:
        """The last of that, which tells why it ended."""
        return self.output().splitlines()[-1]

    def url(self) -> str | None:
        """Where its metrics are, once it has said so."""
        if self._url is None:
            for line in self.output().splitlines():
                if line.startswith("kcl-app worker: metrics on "):
                    self._url = line.removeprefix("kcl-app worker: metrics on ")
        return self._url

    def get(self, page: str) -> tuple[int, str]:
        """Status and body of ``healthz`` or another page; 0 where nothing answers."""
        url = self.url()
        try:
            with urllib.request.urlopen(f"{url}".replace("/metrics", f"/{page}"), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ValueError):
            return 0, ""

    def samples(self) -> Samples:
        """Its metrics now; none where it does not answer yet."""
        url = self.url()
        found = scrape(url) if url else None
        return found or Samples("")

    def jvm(self) -> psutil.Process:
        """The Java daemon."""
        (jvm,) = psutil.Process(self.process.pid).children()
        return jvm

    def below(self) -> list[psutil.Process]:
        """The Java daemon and the children; none once it has ended."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self, *, java: bool = True) -> None:
        """SIGKILL to the supervisor, to all children, and to the Java process unless that is spared."""
        processes = self.below()
        self.process.kill()
        for process in processes:
            try:
                if java or "java" not in process.name():
                    process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(20)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def wait_until(
    what: str, is_so: Callable[[], bool], workers: Iterable[PipelineWorker], seconds: float
) -> None:
    """Wait for something that workers do; fails if one of them ends or time runs out."""
    workers = list(workers)
    end = time.monotonic() + seconds
    while not is_so():
        for worker in workers:
            assert worker.process.poll() is None, f"a worker ended:\n{worker.log.read_text()[-3000:]}"
        if time.monotonic() > end:
            logs = "\n".join(worker.log.read_text()[-3000:] for worker in workers)
            raise AssertionError(f"not {what} within {seconds:.0f} s:\n{logs}")
        time.sleep(0.5)


def processed(workers: Iterable[PipelineWorker]) -> float:
    """Events counted by workers, by whatever outcome."""
    return sum(worker.samples().sum("scheduling_events_total") for worker in workers)


def said_by_try(events: Path, env: Environment, horizon: int) -> dict[Day, list[dict[str, Any]]]:
    """Every provider-day as `kcl-app try` prints it."""
    printed = kcl_app("try", str(events), "--json", "--horizon", str(horizon), env=env)
    days = {}
    for line in printed.splitlines():
        day = json.loads(line)
        key = ProviderKey(day["tenant"], day["emr"], day["provider_id"])
        days[key.pk(), day["date"]] = day["spans"]
    return days


def stored(settings: Settings) -> dict[Day, Row]:
    """Every document of `available-spans`."""
    rows = wiring.store(settings).scan(Table.SPANS)
    return {(str(row["pk"]), str(row["sk"])): row for row in rows}


def differences(settings: Settings, wanted: dict[Day, list[dict[str, Any]]]) -> list[str]:
    """Provider-days of which the table says otherwise, or nothing; days past the horizon do not count."""
    rows = stored(settings)
    found = []
    for day, spans in wanted.items():
        row = rows.get(day)
        if row is None:
            found.append(f"{day}: no document")
        elif row["status"] != "fresh" or json.loads(str(row["spans"])) != spans:
            found.append(f"{day}: {row['status']} {row['spans']}, not {spans}")
    found += [f"{pk}: not known to try" for pk in {pk for pk, _ in rows} - {pk for pk, _ in wanted}]
    return found


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that run in or on a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        info = process.info
        if str(folder) in " ".join([*(info["cmdline"] or []), *(info["environ"] or {}).values()]):
            found.append(" ".join(info["cmdline"] or []))
    return found


def ndjson(path: Path, events: Iterable[dict[str, Any]]) -> Path:
    """Write events, one a line."""
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def environment(settings: Settings, folder: Path | None = None, **more: str) -> Environment:
    """The environment in which `kcl-app` has these settings, whatever its ``--config`` says.

    Args:
        settings: what it shall have.
        folder: for its temporary files.
        more: further variables.
    """
    values = settings.model_dump(mode="json", exclude_none=True)
    named = {
        f"{PREFIX}{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
    return {**os.environ, **named, **({"TMPDIR": str(folder)} if folder else {}), **more}
