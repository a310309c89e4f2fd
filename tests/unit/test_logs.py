"""Logs are one JSON object a line, and never hold what an event held."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import BaseModel

from kcl_app import logs
from kcl_app.settings import LogSettings
from processors.errors import Reject


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    logs.configure(LogSettings(format="json", level="info"), written)
    yield written
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler).__module__ == logs.__name__:
            root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_time_level_event_and_context(stream: io.StringIO) -> None:
    with logs.bound(tenant="acme", event_id="e-1"):
        logs.get_logger(shard="shard-0").info("batch done", records=3)
    logs.get_logger().debug("not this one")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "batch done",
        "shard": "shard-0",
        "tenant": "acme",
        "event_id": "e-1",
        "records": 3,
    }


def test_payloads_and_objects_are_not_shown(stream: io.StringIO) -> None:
    class Item(BaseModel):
        patient: str = "Doe"

    logs.get_logger().warning(
        "odd",
        data={"name": "Doe"},
        Payload="Doe",
        raw=b"Doe",
        nested={"body": "Doe", "count": 1},
        rows=[Item(), b"Doe", float("nan")],
        items=4,
    )
    (line,) = lines(stream)
    assert "Doe" not in stream.getvalue()
    assert line["data"] == line["Payload"] == line["raw"] == logs.DROPPED
    assert line["nested"] == {"body": logs.DROPPED, "count": 1}
    assert line["rows"] == ["<Item>", "<3 bytes>", "nan"]
    assert line["items"] == 4


def test_an_exception_shows_type_and_frames_but_no_input(stream: io.StringIO) -> None:
    class Model(BaseModel):
        number: int

    def fail(name: str) -> None:
        try:
            Model.model_validate({"number": name})
        except ValueError as error:
            raise KeyError(name) from error

    try:
        fail("Jane Doe")
    except KeyError:
        logs.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "Jane" not in stream.getvalue()
    assert line["exception"]["type"] == "KeyError"
    assert line["exception"]["frames"][-1].endswith("fail")
    assert line["exception"]["cause"]["type"].endswith("ValidationError")
    assert "message" not in line["exception"]


def test_our_own_errors_show_their_message(stream: io.StringIO) -> None:
    logs.get_logger().error("set aside", exc_info=Reject("invalid_envelope", "time: missing"))
    assert lines(stream)[0]["exception"]["message"] == "invalid_envelope: time: missing"


def test_pythons_own_logging_comes_out_from_warnings_up(stream: io.StringIO) -> None:
    logging.getLogger("botocore.retries").warning("retry %d", 2)
    logging.getLogger("botocore.retries").info("nothing")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("retry 2", "warning", "botocore.retries")


def test_a_relayed_line_comes_out_as_it_was_made(stream: io.StringIO) -> None:
    made = {"timestamp": "2026-01-01T00:00:00Z", "level": "warning", "event": "from a child", "shard": "s"}
    logs.relay(made)
    logs.relay({**made, "level": "debug"})
    assert lines(stream) == [made]


def test_pretty_lines_carry_the_exception_as_text() -> None:
    written = io.StringIO()
    logs.configure(LogSettings(format="pretty"), written)
    try:
        raise OSError(2, "No such file")
    except OSError:
        logs.get_logger(shard="s").error("failed", exc_info=True)
    finally:
        structlog.reset_defaults()
    assert "failed" in written.getvalue()
    assert "FileNotFoundError: [Errno 2] No such file" in written.getvalue()
    assert "\n  at " in written.getvalue()
