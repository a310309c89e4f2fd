"""The Java daemon's properties are ones that it has, and survive their file; its command line and log are as meant."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from kcl_app.settings import AwsSettings, Settings, TableSettings, WorkerSettings
from kcl_app.worker import daemon
from kcl_app.worker.daemon import DaemonError, DaemonLine

LOCAL = Settings(aws=AwsSettings(endpoint_url="http://127.0.0.1:4566"))
PRODUCTION = Settings(environment="production", tables=TableSettings(dead_letter_bucket="letters"))


def multilang(name: str) -> bytes:
    jar = next(jar for jar in daemon.jars() if jar.name.startswith("amazon-kinesis-client-multilang"))
    with zipfile.ZipFile(jar) as content:
        return content.read(f"software/amazon/kinesis/multilang/{name}.class")


@pytest.mark.parametrize("key", sorted(daemon.properties(LOCAL, "child", "me")))
def test_every_property_is_one_that_this_version_of_the_daemon_has(key: str) -> None:
    """The daemon passes over unknown properties in silence, so a misspelt one would never be noticed."""
    setter = f"set{key[0].upper()}{key[1:]}".encode()
    own = key.encode() if key in ("executableName", "processingLanguage") else None
    assert setter in multilang("config/MultiLangDaemonConfiguration") or (
        own is not None and own in multilang("MultiLangDaemonConfig")
    )


def test_properties_say_what_the_defaults_get_wrong() -> None:
    found = daemon.properties(PRODUCTION, "python -m kcl_app.worker.child", "host-1")
    assert found["initialPositionInStream"] == "TRIM_HORIZON"
    assert found["skipShardSyncAtWorkerInitializationIfLeasesExist"] == "true", (
        "or records are lost with ListShards"
    )
    assert found["retrievalMode"] == "POLLING"
    assert found["metricsLevel"] == "NONE"
    assert found["callProcessRecordsEvenForEmptyRecordList"] == "true"
    assert found["timeoutInSeconds"] == "900"
    assert 0 < int(found["shutdownGraceMillis"]) < 20_000
    assert found["workerId"] == "host-1"
    assert found["executableName"] == "python -m kcl_app.worker.child"


def test_only_a_local_cloud_is_named_and_hurried() -> None:
    extra = set(daemon.properties(LOCAL, "c", "w")) - set(daemon.properties(PRODUCTION, "c", "w"))
    assert extra >= {"kinesisEndpoint", "dynamoDBEndpoint", "parentShardPollIntervalMillis"}
    assert daemon.properties(LOCAL, "c", "w")["kinesisEndpoint"] == "http://127.0.0.1:4566"


@pytest.mark.parametrize("settings", [LOCAL, PRODUCTION], ids=["local", "production"])
def test_a_stopped_workers_shards_are_given_away_within_the_minute_that_an_event_may_take(
    settings: Settings,
) -> None:
    found = daemon.properties(settings, "c", "w")
    failover = settings.stream.failover_milliseconds
    leader_election = 30_000  # a constant of the KCL: how often a worker asks whether it may lead
    assert int(found["leaseAssignmentIntervalMillis"]) == failover
    assert leader_election + failover + failover / 3 < 50_000
    # Eight shards on three workers are up to 25 % off the average, and must rest there.
    assert int(found["reBalanceThresholdPercentage"]) > 25  # percent


@pytest.mark.parametrize("grace", [0.5, 1, 20, 115])
def test_the_daemon_gets_less_than_the_whole_grace(grace: float) -> None:
    settings = Settings(worker=WorkerSettings(grace_seconds=grace))
    assert 0 < int(daemon.properties(settings, "c", "w")["shutdownGraceMillis"]) < grace * 1000


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("k", "v", "k=v"),
        ("a b:c=d#e!", "x", "a\\ b\\:c\\=d\\#e\\!=x"),
        ("k", " two", "k=\\ two"),
        ("k", "a b = c", "k=a b = c"),
        ("k", "a\\b", "k=a\\\\b"),
        ("k", "a\nb\r\t\f", "k=a\\nb\\r\\t\\f"),
        ("k", "Zoë", "k=Zo\\u00eb"),
        ("k", "🏥", "k=\\ud83c\\udfe5"),
    ],
)
def test_escapes_are_those_of_java_properties(key: str, value: str, line: str) -> None:
    assert daemon.properties_text({key: value}) == line + "\n"


def test_a_command_without_spaces_needs_no_script() -> None:
    assert daemon.executable(["/usr/bin/python", "-m", "x"], Path("/tmp/a.sh")) == daemon.Executable(
        "/usr/bin/python -m x"
    )


def test_a_command_with_spaces_gets_a_script_that_runs_it(tmp_path: Path) -> None:
    script = tmp_path / "child.sh"
    made = daemon.executable(["/bin/echo", "it's one", "", "two"], script)
    assert made.script is not None
    script.write_text(made.script)
    assert made.name.split(" ") == ["/bin/sh", str(script)]
    done = subprocess.run(made.name.split(" "), capture_output=True, text=True, timeout=10)
    assert done.stdout == "it's one  two\n"


def test_spaces_everywhere_are_an_error_that_says_so() -> None:
    with pytest.raises(DaemonError, match="TMPDIR"):
        daemon.executable(["/my python/bin/python"], Path("/my tmp/child.sh"))


def test_java_home_is_taken_if_it_has_java(tmp_path: Path) -> None:
    with pytest.raises(DaemonError, match="JAVA_HOME has no bin/java"):
        daemon.java(str(tmp_path))
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch()
    assert daemon.java(str(tmp_path)) == java
    assert daemon.java("").name == daemon.java(None).name == "java"


def test_the_command_line_names_jars_properties_and_log_format() -> None:
    line = daemon.command(LOCAL, Path("/j/java"), [Path("/a.jar"), Path("/b.jar")], Path("/r/d.properties"))
    assert line[0] == "/j/java"
    assert line[line.index("-cp") + 1] == "/a.jar:/b.jar"
    assert line[line.index("--properties-file") + 1] == "/r/d.properties"
    assert line[line.index("--log-configuration") + 1] == str(daemon.LOGBACK)
    assert "-Daws.cborEnabled=false" in line
    assert "-Xmx512m" in line
    options = line[: line.index("-cp")]
    assert daemon.MAIN_CLASS not in options
    assert "-Daws.cborEnabled=false" not in daemon.command(PRODUCTION, Path("j"), [], Path("p"))


def test_quietened_loggers_exist_in_the_jars() -> None:
    names = set()
    for jar in daemon.jars():
        if jar.name.startswith("amazon-kinesis-client"):
            with zipfile.ZipFile(jar) as content:
                names |= {re.sub(r"(\.class|/)$", "", name).replace("/", ".") for name in content.namelist()}
    quiet = [logger.get("name") for logger in ET.parse(daemon.LOGBACK).iter("logger")]
    assert len(quiet) > 10
    assert [name for name in quiet if name not in names] == []


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("INFO\tScheduler\tup\t\n", DaemonLine("info", "Scheduler", "up", "")),
        ("WARN\tA\tm\tx.E: y | at z\n", DaemonLine("warning", "A", "m", "x.E: y | at z")),
        ("ERROR\tA\t\t\n", DaemonLine("error", "A", "", "")),
        ("java.lang.Error: x\n", None),
        ("HELLO\ta\tb\tc\n", None),
        ("INFO\tonly two\n", None),
    ],
)
def test_log_lines_are_parsed(line: str, parsed: DaemonLine | None) -> None:
    assert daemon.parse_line(line) == parsed
