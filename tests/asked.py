"""What a recording cloud was asked, in the words of deploy/ecs/service.yaml."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import service_template as template
from service_template import Allowed

from kcl_app.settings import Settings

OURS = "local"
"""The access key of our processes at the local cloud (`wiring.LOCAL_CREDENTIALS`)."""
TESTS = "tests"
"""That of the tests themselves, whose own calls do not count."""

NOT_THERE = frozenset({"stream/other", "table/other", "bucket/other"})
"""How tests call what is not there. IAM refuses it, and should."""

_APPLICATION = Settings().stream.application
_METRICS = f"table/{_APPLICATION}-WorkerMetricStats"
_COORDINATOR = f"table/{_APPLICATION}-CoordinatorState"

RARE: dict[tuple[str, str], str] = {
    ("dynamodb:DeleteItem", f"table/{_APPLICATION}"): "leases of shards that ended minutes ago, or are gone",
    ("dynamodb:DeleteItem", _METRICS): "what a worker reported that has been gone for a day",
    ("dynamodb:UpdateItem", _COORDINATOR): "the leader keeps its lock, which it says every few minutes",
    (
        "s3:DeleteObject",
        f"object/{Settings().tables.dead_letter_bucket}",
    ): "the copy of a raw record that another "
    "process has kept too: a replay after a crash finds the letter written",
}
"""What workers call as well, but not in every run of a test. Those of tables are in the bytecode of the KCL's jars; the
last two have been seen in runs of eight minutes."""

_OF_THE_LOCAL_CLOUD = {
    *(("cloudformation:" + name, "*") for name in (
        "CreateStack", "DescribeStackEvents", "DescribeStackResources", "DescribeStacks", "GetTemplate", "UpdateStack",
    )),
    ("kinesis:ListStreams", "*"),
    ("dynamodb:ListTables", "*"),
    *(("dynamodb:" + name, f"table/{table}") for name in ("DescribeTimeToLive", "UpdateTimeToLive")
      for table in Settings().tables.names().values()),
}  # fmt: skip
"""What `kcl-app local` asks besides, which is never called on AWS."""


def asked(file: Path, settings: Settings, host: str | None = None) -> Allowed:
    """What our processes have asked for, under the default names of everything.

    Args:
        file: what the recording cloud wrote.
        settings: how things are named in it.
        host: only processes that call the cloud by this name.
    """
    lines = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )
    # A test may run workers of another application than the settings of its cloud name.
    applications = {settings.stream.application} | {
        one[3].removeprefix("table/").removesuffix("-CoordinatorState")
        for one in lines
        if one[3].endswith("-CoordinatorState")
    }
    return {
        (action, _by_default_name(action, resource, settings, applications))
        for key, called, action, resource in lines
        if key == OURS and host in (None, called) and resource not in NOT_THERE
    }


def permitted() -> Allowed:
    """All that any of our roles and policies allows, and what the local cloud needs."""
    names = (template.WORKER, template.HORIZON, template.OPERATOR, template.PRODUCER, template.READER)
    return _OF_THE_LOCAL_CLOUD.union(*(template.allowed(name) for name in names))


def _by_default_name(action: str, resource: str, settings: Settings, applications: Collection[str]) -> str:
    default = Settings()
    if (action[:8], resource) == ("kinesis:", "*") and action != "kinesis:ListStreams":
        return f"stream/{default.stream.name}"  # IAM knows the stream of an iterator or a token, which is all there is
    kind, _, name = resource.partition("/")
    if kind == "table":
        tables = {own: default.tables.names()[table] for table, own in settings.tables.names().items()}
        if name in tables:
            return f"table/{tables[name]}"
        for application in applications:
            rest = name.removeprefix(application)
            if name.startswith(application) and rest[:1] in ("", "-", "/"):
                return f"table/{default.stream.application}{rest}"
    if kind == "stream" and name == settings.stream.name:
        return f"stream/{default.stream.name}"
    if kind in ("bucket", "object") and name == settings.tables.dead_letter_bucket:
        return f"{kind}/{default.tables.dead_letter_bucket}"
    return resource
