"""All checks, in order: what others rest on comes first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from kcl_app.doctor import cloud, machine, permissions, worker
from kcl_app.doctor.checks import Check, State, failed, made, ok, skipped
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings, SettingsError, load
from kcl_app.worker import leadership, preflight


def examine(config: Path | None, java_home: str | None, **over: Any) -> Iterator[Check]:
    """Look at everything, telling each check as it is made. Nothing is changed by it, and it takes a finite time.

    Args:
        config: the settings file; None: as for every command.
        java_home: JAVA_HOME of the environment.
        over: settings that go over file and environment.
    """
    settings: Settings | None = None
    try:
        settings = load(config, **over)
    except SettingsError as error:
        yield failed("settings", str(error), "correct it; docs/settings.md has every key")
    else:
        of = f"application {settings.stream.application} on stream {settings.stream.name}"
        yield ok("settings", f"{settings.environment}, {preflight.where_of(settings)}, {of}")
    yield from made("python", lambda: iter([machine.python()]))
    yield from made("java", partial(machine.java, java_home))
    yield from made("kcl jars", lambda: iter([machine.jars()]))
    if settings is None:
        yield skipped("stream, tables, worker", "the settings are wrong")
        return
    yield from made("plugins", partial(machine.plugins, settings))
    shards: int | None = None
    seen: list[Check] = []
    for check in made("AWS", partial(_cloud, settings)):
        seen.append(check)
        yield check
    shards = _shards(seen)
    yield from made("temporary folder", partial(machine.disk, shards))
    yield from made("memory", partial(machine.memory, settings, shards))
    yield from made("open files", lambda: iter([machine.limits()]))
    yield from made("worker", partial(worker.worker, settings))


def _cloud(settings: Settings) -> Iterator[Check]:
    quick = leadership.quick(settings)
    try:
        clients = cloud.clients(quick)
    except BotoCoreError as error:
        why = " ".join(str(error).split())
        yield failed(
            "AWS", f"the AWS configuration cannot be used: {why}", "see ~/.aws and the AWS_* variables"
        )
        return
    of = settings.stream
    try:
        stream = clients.preflight.stream()
    except PreflightError as error:
        yield failed(f"stream {of.name}", error.wrong, error.mend)
        if error.kind in ("unreachable", "credentials"):
            yield skipped("tables, bucket, permissions, clock", "AWS cannot be asked; see above")
            return
        missing = error.kind == "missing"
    else:
        missing = False
        yield from cloud.stream_of(settings, stream)
    yield from made("clock", partial(cloud.clock, quick, clients))
    there = []
    for name, expires in cloud.tables(settings):
        checks = list(made(f"table {name}", partial(cloud.table, quick, clients, name)))
        if expires:
            checks += made(f"table {name}: time to live", partial(cloud.time_to_live, quick, clients, name))
        checks += made(f"table {name}: backup", partial(cloud.backups, quick, clients, name))
        if all(check.state is not State.FAILED for check in checks):
            there.append(name)
        yield from checks
    bucket = settings.tables.dead_letter_bucket
    buckets = list(made(f"bucket {bucket}", partial(cloud.bucket, quick, clients)))
    yield from buckets
    kcl_there = {}
    for name, key in cloud.kcl_tables(of.application).items():
        checks = list(made(f"KCL table {name}", partial(cloud.kcl_table, quick, clients, name)))
        if all(check.state is State.OK and "not there" not in check.found for check in checks):
            kcl_there[name] = key
        yield from checks
    # What is not there cannot be tried.
    if not missing:
        probes = permissions.stream(quick, clients)
        yield from made("permissions", partial(permissions.check, f"stream {of.name}", probes, quick))
    for name in there:
        probes = permissions.table(clients, name)
        yield from made("permissions", partial(permissions.check, f"table {name}", probes, quick))
    for name, key in kcl_there.items():
        probes = permissions.kcl_table(clients, name, key)
        yield from made("permissions", partial(permissions.check, f"KCL table {name}", probes, quick))
    if not kcl_there:
        yield skipped(
            "permissions: KCL tables", "they are not there yet; dynamodb:CreateTable cannot be tried"
        )
    if all(check.state is not State.FAILED for check in buckets):
        probes = permissions.bucket(quick, clients)
        yield from made("permissions", partial(permissions.check, f"bucket {bucket}", probes, quick))


def _shards(checks: list[Check]) -> int | None:
    for check in checks:
        if check.name.startswith("stream ") and " open shards" in check.found:
            return int(check.found.partition(" open shards")[0].rpartition(" ")[2])
    return None
