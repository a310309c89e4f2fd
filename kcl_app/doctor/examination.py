"""All checks, in order: what others rest on comes first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from kcl_app.doctor import cloud, machine, permissions, worker
from kcl_app.doctor.checks import Check, Make, State, failed, made, ok, skipped
from kcl_app.doctor.needs import KCL_TABLES, OF_THE_KCL, TABLES, TEMPLATE, WORKER, On, Role, name_of
from kcl_app.doctor.probes import probes
from kcl_app.errors import Kind, PreflightError
from kcl_app.settings import Settings, SettingsError, load
from kcl_app.worker import leadership, preflight

CLOCK = "clock"
_INSIDE = {On.BUCKET: On.OBJECTS, On.LEASES: On.LEASES_BY_OWNER}


def examine(config: Path | None, java_home: str | None, role: Role = WORKER, **over: Any) -> Iterator[Check]:
    """Look at everything, telling each check as it is made. Nothing is changed by it, and it takes a finite time.

    Args:
        config: the settings file; None: as for every command.
        java_home: JAVA_HOME of the environment.
        role: whose needs are examined. AWS is asked for nothing that it does not allow.
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
    yield ok("examined for", f"{role.word}: what {role.resource} in {TEMPLATE} allows, and nothing else")
    works = role is WORKER
    yield from made("python", lambda: iter([machine.python()]))
    if works:
        yield from made("java", partial(machine.java, java_home))
        yield from made("kcl jars", lambda: iter([machine.jars()]))
    if settings is None:
        yield skipped("stream, tables, worker", "the settings are wrong")
        return
    yield from made("plugins", partial(machine.plugins, settings))
    seen: list[Check] = []
    for check in made("AWS", partial(_cloud, settings, role)):
        seen.append(check)
        yield check
    if works:
        shards = _shards(seen)
        yield from made("temporary folder", partial(machine.disk, shards))
        yield from made("memory", partial(machine.memory, settings, shards))
        yield from made("open files", lambda: iter([machine.limits()]))
        yield from made("worker", partial(worker.worker, settings))


def _cloud(settings: Settings, role: Role) -> Iterator[Check]:
    quick = leadership.quick(settings)
    try:
        clients = cloud.clients(quick)
    except BotoCoreError as error:
        why = " ".join(str(error).split())
        yield failed(
            "AWS", f"the AWS configuration cannot be used: {why}", "see ~/.aws and the AWS_* variables"
        )
        return
    gone: set[On] = set()
    for on, name, make in _looks(quick, clients, role):
        if on in gone:
            continue
        trouble: list[Kind] = []
        checks = list(made(name, partial(_looked, name, make, trouble)))
        yield from checks
        if set(trouble) & {"unreachable", "credentials"}:
            yield skipped("tables, bucket, permissions, clock", "AWS cannot be asked; see above")
            return
        if name != CLOCK and any(
            check.state is State.FAILED or "not there" in check.found for check in checks
        ):
            gone.add(on)
    # What is not there, or is somebody else's, cannot be tried.
    gone |= {inside for whole, inside in _INSIDE.items() if whole in gone}
    for need in role.needs:
        if need.on not in gone:
            tried = partial(permissions.check, role, need, probes(need, quick, clients), quick)
            yield from made("permissions", tried)
    if gone & set(OF_THE_KCL):
        yield skipped("permissions: KCL tables", "what is not there yet cannot be tried")
    yield from permissions.not_tried(role)


def _looked(name: str, make: Make, trouble: list[Kind]) -> Iterator[Check]:
    """What a look tells; what sort of trouble it met is added to `trouble`."""
    try:
        yield from make()
    except PreflightError as error:
        trouble.append(error.kind)
        if error.kind == "denied":
            yield skipped(name, "may not be looked at; see the permissions")
        else:
            yield failed(name, error.wrong, error.mend)


def _looks(settings: Settings, clients: cloud.Clients, role: Role) -> Iterator[tuple[On, str, Make]]:
    """What to look at, as far as the role allows it: what it is, its name, and what makes the checks."""
    stream = settings.stream.name
    if role.may("kinesis:DescribeStreamSummary", On.STREAM):
        yield (
            On.STREAM,
            f"stream {stream}",
            lambda: cloud.stream_of(settings, clients.preflight.stream()),
        )
    if role.may("kinesis:ListShards", On.STREAM):
        yield On.STREAM, CLOCK, partial(cloud.clock, settings, clients)
    for on in TABLES:
        name = name_of(on, settings)
        if role.may("dynamodb:DescribeTable", on):
            yield on, f"table {name}", partial(cloud.table, settings, clients, name)
        if role.may("dynamodb:DescribeTimeToLive", on):
            yield on, f"table {name}: time to live", partial(cloud.time_to_live, settings, clients, name)
        if role.may("dynamodb:DescribeContinuousBackups", on):
            yield on, f"table {name}: backup", partial(cloud.backups, settings, clients, name)
    if role.may("s3:ListBucket", On.BUCKET):
        bucket = f"bucket {settings.tables.dead_letter_bucket}"
        yield On.BUCKET, bucket, partial(cloud.bucket, settings, clients)
    for on in KCL_TABLES:
        if role.may("dynamodb:DescribeTable", on):
            yield on, f"KCL table {name_of(on, settings)}", partial(cloud.kcl_table, settings, clients, on)


def _shards(checks: list[Check]) -> int | None:
    for check in checks:
        if check.name.startswith("stream ") and " open shards" in check.found:
            return int(check.found.partition(" open shards")[0].rpartition(" ")[2])
    return None
