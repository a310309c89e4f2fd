"""The real child over the KCL's protocol: what it stores, counts, logs and prints holds no patient's data."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from canaries import CANARIES, SECRET, found_in, planted
from fhir_examples import example
from pipeline_in_memory import ENVELOPE
from test_hl7v2_hostile import SIU
from test_patient_data import HL7, QUIET_LEAKS, STANDARD, envelope

from kcl_app import logs
from kcl_app.settings import PROJECT_ROOT, LogSettings
from kcl_app.worker.daemon_output import DaemonOutput

HERE = Path(__file__).resolve().parent
SEAL = "6b1d1f0e8a"
PRINTED_LEAKS = ["print", "print_json", "print_like_java"]


def sent() -> list[bytes]:
    """Good and bad messages full of patients, for the built-in plugins and for one that leaks in every way."""
    resource = planted(example("Appointment-example"))
    found = [
        envelope("fhir", resource, "fhir_r4"),
        envelope("fhir", {**resource, "status": CANARIES[0]}, "fhir_r4"),
    ]
    found += [envelope(kind, planted(data)) for kind, data in STANDARD.items()]
    found += [envelope("slot", CANARIES[0]), envelope("SIU^S12", HL7, "hl7v2"), HL7.encode()]
    found += [
        envelope("SIU^S12", text, "hl7v2", id=f"h-{n}")
        for n, text in enumerate((SIU, SIU.replace("S12", "S23")))
    ]
    found += [json.dumps({**ENVELOPE, "time": CANARIES[1], CANARIES[0]: 1}).encode()]
    found += [
        envelope(leak, text, "leaky", id=f"e-{number}")
        for leak in (*QUIET_LEAKS, *PRINTED_LEAKS)
        for number, text in enumerate((HL7, planted(STANDARD["slot"]), *CANARIES))
    ]
    return found


INITIALIZE = {
    "action": "initialize",
    "shardId": "s-0",
    "sequenceNumber": "TRIM_HORIZON",
    "subSequenceNumber": 0,
}


def process_records(data: list[bytes]) -> dict[str, Any]:
    """What the daemon says for a batch."""
    records = [
        {
            "action": "record",
            "data": base64.b64encode(one).decode(),
            "partitionKey": "acme#standard#p1",
            "sequenceNumber": f"{number:056d}",
            "subSequenceNumber": 0,
            "approximateArrivalTimestamp": 1_772_000_000_000,
        }
        for number, one in enumerate(data, 1)
    ]
    return {"action": "processRecords", "records": records, "millisBehindLatest": 0}


def served(child: subprocess.Popen[str], *said: dict[str, Any]) -> list[dict[str, Any]]:
    """What a child answers to what is said, its checkpoints taken as they come."""
    assert child.stdin is not None
    assert child.stdout is not None
    answers = []
    for line in said:
        child.stdin.write(json.dumps(line) + "\n")
        child.stdin.flush()
        for answer in filter(str.strip, child.stdout):
            answers.append(json.loads(answer))
            if answers[-1]["action"] == "status":
                break
            child.stdin.write(json.dumps({**answers[-1], "error": None}) + "\n")
            child.stdin.flush()
    child.stdin.close()
    assert child.stdout.read().strip() == ""
    return answers


@pytest.fixture
def relayed() -> Iterator[io.StringIO]:
    """What the supervisor logs."""
    stream = io.StringIO()
    logs.configure(LogSettings(format="json", level="debug"), stream)
    yield stream
    structlog.reset_defaults()


def test_what_a_child_stores_counts_logs_and_prints_holds_no_patients_data(
    tmp_path: Path, relayed: io.StringIO
) -> None:
    out = tmp_path / "stored"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SCHEDULING_", "AWS_"))}
    env = kept | {
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent, PROJECT_ROOT))),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": "AKIAQ7Z3XEXAMPLE1234",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "KCL_APP_LOG_SEAL": SEAL,
        "SCHEDULING_ENVIRONMENT": "production",
        "SCHEDULING_TABLES__DEAD_LETTER_BUCKET": "bucket",
        "SCHEDULING_ANY_TENANT": "true",
        "SCHEDULING_TODAY": "2026-03-09",
        "SCHEDULING_HORIZON__DAYS": "2",
        "SCHEDULING_CONFIG": str(PROJECT_ROOT / "config" / "production.toml"),
    }
    data = sent()
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        child = subprocess.Popen(
            [sys.executable, str(HERE / "child_in_memory.py"), str(out)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, env=env,
        )  # fmt: skip
        try:
            answers = served(child, INITIALIZE, process_records(data))
            assert child.wait(60) == 0, errors.read_text()[-2000:]
        finally:
            child.kill()
            child.wait()
    printed = errors.read_text()
    assert [one["action"] for one in answers if one["action"] != "checkpoint"] == ["status", "status"]
    assert [one["sequenceNumber"] for one in answers if one["action"] == "checkpoint"][
        -1
    ] == f"{len(data):056d}"

    output = DaemonOutput(show_any=False, seal=SEAL)
    for line in printed.splitlines():
        output.on_stderr(line)
    shown = relayed.getvalue()
    assert "record set aside" in shown
    assert "shard taken" in shown
    assert "a line that is no log line" in shown
    assert found_in(printed) != []  # it did print them
    assert found_in(shown + output.hint()) == []
    assert SEAL not in shown

    stored = out.read_text()
    assert 'scheduling_events_total{outcome="applied"}' in stored
    assert "AKIAQ7Z3XEXAMPLE1234" not in stored + shown + printed
    assert found_in(stored) == []
    assert found_in(out.with_suffix(".raw").read_text()) != []
