"""Secrets and whatever a plugin logs stay out of logs, error messages and metrics."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from botocore.exceptions import ParamValidationError
from canaries import NAME, SECRET, found_in
from command_line import run
from leaky import LeakyPlugin
from pipeline_in_memory import ENVELOPE, Pipeline, host
from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app import logs
from kcl_app.settings import LogSettings, SettingsError, load
from kcl_app.stores.base import Table
from kcl_app.worker.daemon_output import DaemonOutput
from processors.quoting import without_quotes

KEY_ID = "AKIAQ7Z3XEXAMPLE1234"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    logs.configure(LogSettings(format="json", level="debug"), written)
    yield written
    structlog.reset_defaults()
    for handler in list(logging.getLogger().handlers):
        if type(handler).__module__ == logs.__name__:
            logging.getLogger().removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("name", [
    "secret", "client_secret", "AWS_SECRET_ACCESS_KEY", "password", "db_passwd", "token", "session_token", "api_key",
    "apikey", "private_key", "Authorization", "credentials",
])  # fmt: skip
def test_what_is_called_a_secret_is_not_shown(stream: io.StringIO, name: str) -> None:
    logs.get_logger().warning("odd", **{name: SECRET}, nested={name: [SECRET]})
    (line,) = lines(stream)
    assert (line[name], line["nested"]) == (logs.DROPPED, {name: logs.DROPPED})


@pytest.mark.parametrize("text", [
    f"refused for {KEY_ID}", f"aws_secret_access_key={SECRET}", f"https://user:{SECRET}@example.org/x",
    f"session_token={SECRET}&a=1", f'connect password={SECRET}"',
])  # fmt: skip
def test_a_secret_in_a_text_is_taken_out(stream: io.StringIO, text: str) -> None:
    logs.get_logger().warning(text, why=text)
    logging.getLogger("botocore").warning(text)
    assert found_in(stream.getvalue()) == []
    assert KEY_ID not in stream.getvalue()
    assert stream.getvalue().count(logs.DROPPED) == 3


def test_numbers_and_plain_words_stay(stream: io.StringIO) -> None:
    logs.get_logger().info(
        "batch done", records=3, sequence_number="49", shard="s-0", key="a", url="http://127.0.0.1:1/x"
    )
    (line,) = lines(stream)
    assert line["records"] == 3
    assert (line["sequence_number"], line["key"], line["url"]) == ("49", "a", "http://127.0.0.1:1/x")


def test_what_others_log_is_counted_but_not_shown(stream: io.StringIO) -> None:
    """A plugin that uses structlog or Python's logging, in the ways that people do."""
    structlog.contextvars.bind_contextvars(patient=NAME, shard="s-0")
    try:
        structlog.get_logger().error(NAME, patient=NAME)
        structlog.get_logger("plugin", patient=NAME).bind(note=NAME).warning("read")
        logging.getLogger("acme.reader").warning("cannot read %s", NAME)
        try:
            raise OSError(2, "No such file", NAME)
        except OSError:
            logging.getLogger("acme").exception(NAME)
        logs.get_logger().info("ours")
    finally:
        structlog.contextvars.clear_contextvars()
    found = lines(stream)
    assert found_in(stream.getvalue()) == []
    assert [line["event"] for line in found] == [logs.FOREIGN] * 4 + ["ours"]
    assert {line["shard"] for line in found} == {"s-0"}
    assert [line.get("logger") for line in found] == [None, None, "acme.reader", "acme", None]
    assert found[2]["characters"] == len("cannot read ") + len(NAME)


def test_who_tries_a_plugin_sees_what_it_logs() -> None:
    written = io.StringIO()
    logs.configure(LogSettings(format="json"), written, show_any=True)
    structlog.get_logger().info("from a plugin")
    logging.getLogger("acme").warning("from its logger")
    structlog.reset_defaults()
    assert [line["event"] for line in lines(written)] == ["from a plugin", "from its logger"]


def test_only_a_line_with_the_seal_is_one_of_ours() -> None:
    written = io.StringIO()
    logs.configure(LogSettings(format="json"), written, seal="5eal")
    logs.get_logger().info("ours", records=1)
    structlog.reset_defaults()
    text = written.getvalue().strip()
    fields = logs.unseal(text, "5eal")
    assert fields is not None
    assert (fields["event"], fields["records"]) == ("ours", 1)
    assert "seal" not in fields
    for other in (
        text.replace("5eal", "seal"), '{"event": "x"}', '{"event": "x", "seal": ""}', '{"event": "x", "seal": null}',
        "[]", "{", '{"seal": "5eal"}', '{"event": 1, "seal": "5eal"}', f"x{text}", "{" * 5000, '{"a":' * 50_000,
    ):  # fmt: skip
        assert logs.unseal(other, "5eal") is None


def test_an_exception_that_quotes_what_boto3_was_given_is_not_shown(stream: io.StringIO) -> None:
    try:
        raise ParamValidationError(report=f"Invalid type for parameter Key, value: {NAME}")
    except ParamValidationError:
        logs.get_logger().error("failed", exc_info=True)
    (line,) = lines(stream)
    assert found_in(stream.getvalue()) == []
    assert line["exception"]["type"].endswith("ParamValidationError")


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    token: str = ""
    number: int = 0

    @field_validator("token")
    @classmethod
    def _checked(cls, value: str) -> str:
        if value.startswith("custom"):
            raise PydanticCustomError("custom", "odd: {value}", {"value": value})
        if value.startswith("assert"):
            raise AssertionError(f"odd: {value}")
        if value:
            raise ValueError(f"{value} is not a token of ours")
        return value


class _Secretive(LeakyPlugin):
    name = "secretive"
    Settings = _Settings


@pytest.mark.parametrize("given", [
    {"token": SECRET}, {"token": f"custom {SECRET}"}, {"token": f"assert {SECRET}"}, {"number": SECRET},
    {"token": [SECRET]},
])  # fmt: skip
def test_settings_that_a_plugin_refuses_are_named_but_not_quoted(given: dict[str, Any]) -> None:
    registry = Registry()
    registry.add(StandardPlugin())
    registry.add(_Secretive())
    plugins = PluginHost(registry, lambda name: Tenant("UTC", {"secretive": given}))
    with pytest.raises(ValueError, match=rf"^tenants.acme.plugins.secretive.{next(iter(given))}: ") as caught:
        plugins.check_settings(["acme"])
    assert found_in(str(caught.value)) == []
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None

    pipeline = Pipeline(host(_Secretive(), settings={"secretive": given}))
    assert pipeline.run([json.dumps({**ENVELOPE, "emr": "secretive"}).encode()]).rejects == {
        "plugin_failed": 1
    }
    (letter,) = pipeline.store.scan(Table.DEAD_LETTERS)
    assert found_in(json.dumps({**letter, "raw": ""})) == []


@pytest.mark.parametrize("toml", [
    f'[tenants.acme.plugins.fhir_r4]\ntoken = "{SECRET}"', f'[tenants.acme.plugins.fhir_r4]\nactors = ["{SECRET}"]',
    f'[tenants.acme]\ntime_zone = "{SECRET}"', f'[aws]\nendpoint_url = "http://u:{SECRET}@x:1"\nregion = "{SECRET}"',
    f'[worker]\nport = "{SECRET}"', f'[log]\nlevel = "{SECRET}"', f'[tenants.acme.plugins.fhir_r4\ntoken = "{SECRET}"',
    f'environment = "{SECRET}"', f'[tenants.acme]\nplugins = "{SECRET}"',
])  # fmt: skip
def test_no_command_prints_a_setting_that_is_wrong(toml: str, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(toml, encoding="utf-8")
    done = run("try", "-", "--config", str(config), stdin="")
    assert done.status == 2
    assert found_in(done.out + done.err) == []
    assert done.err.count("\n") == 1


def test_a_variable_that_is_wrong_is_named_but_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULING_TENANTS", f'{{"acme": {SECRET}')
    with pytest.raises(SettingsError, match="SCHEDULING_TENANTS") as caught:
        load()
    assert found_in(str(caught.value)) == []


@pytest.mark.parametrize(("detail", "message", "shown"), [
    ("PID-5: Quandle^Zebulon is too long", "PID|1||7||Quandle^Zebulon", "PID-5: … is too long"),
    ("status: must not be 'Quandle'", {"status": "Quandle"}, "status: must not be '…'"),
    ("start: is after end", {"start": "2026-03-09", "end": "2026-03-08"}, "start: is after end"),
    ("cannot read 1961-02-29", {"born": "1961-02-29"}, "cannot read …"),
    ("cannot read 77", {"number": 77}, "cannot read …"),
    ("no Quan", [{"name": ["Quandle"]}], "no …"),
    ("got '\\xc6sa'", {"name": "Æsa"}, "got '\\…'"),
    ('got "\\u00c6sa"', {"name": "Æsa"}, 'got "\\…"'),
    ("field 3 is missing", b"a|b", "field 3 is missing"),
    ("", {"a": None}, ""),
])  # fmt: skip
def test_a_detail_does_not_quote_its_message(detail: str, message: Any, shown: str) -> None:
    assert without_quotes(detail, message) == shown


LIKE_RUNTIME = [
    f"Error: cannot read {NAME}", f"# {NAME}", f"  at {NAME}", f"\tat {NAME} (home)", f"java.{NAME}", f"Usage: {NAME}",
    f"Unrecognized {NAME}", f"Invalid {NAME}", f"Caused by: java {NAME}", f"ImportError: {NAME}", f'  File "{NAME}"',
    f"Exception in thread {NAME}", f"Traceback (most recent call last): {NAME}", f"OpenJDK {NAME}",
    json.dumps({"event": NAME, "level": "error"}), json.dumps({"event": "x", "patient": NAME, "seal": "other"}),
]  # fmt: skip
"""What a plugin may print that begins as lines of Java, of Python or of ours do."""

OF_RUNTIME = [
    "Terminating due to java.lang.OutOfMemoryError: Java heap space", "java.lang.OutOfMemoryError: Java heap space",
    "\tat software.amazon.kinesis.Scheduler.run(Scheduler.java:12)", "Traceback (most recent call last):",
    '  File "/app/kcl_app/worker/child.py", line 3, in <module>', "ModuleNotFoundError: No module named 'kcl_app'",
    "/usr/bin/python: No module named kcl_app",
]  # fmt: skip


def test_once_children_work_only_what_java_alone_can_say_is_shown_beside_their_sealed_lines(
    stream: io.StringIO,
) -> None:
    output = DaemonOutput(show_any=False, seal="5eal")
    output.on_stderr("Error: Could not find or load main class x")  # before the first child
    output.on_stderr('{"seal": "5eal", "level": "info", "event": "shard taken"}')
    for line in (*LIKE_RUNTIME, *OF_RUNTIME):
        output.on_stderr(line)
    shown = [line["event"] for line in lines(stream)]
    assert found_in(stream.getvalue() + output.hint()) == []
    assert shown[:2] == ["Error: Could not find or load main class x", "shard taken"]
    assert shown[2 : 2 + len(LIKE_RUNTIME)] == ["a line that is no log line"] * len(LIKE_RUNTIME)
    assert shown[2 + len(LIKE_RUNTIME) :] == OF_RUNTIME
    assert "5eal" not in stream.getvalue()
