"""Fuzzing that looks for new code: libFuzzer by way of atheris, by hand rather than in CI.

    python -m venv /tmp/fuzz
    /tmp/fuzz/bin/pip install -c constraints.txt atheris==3.0.0 hypothesis prometheus-client pydantic-settings pytest \\
        structlog tzdata
    PYTHONPATH=tests/security:tests:. /tmp/fuzz/bin/python tests/security/fuzz_with_coverage.py TARGET SECONDS [FOLDER]

TARGET is `envelope`, `message`, `text` or `hl7v2`. FOLDER keeps what was found interesting, for the next time. The
status is 0 after SECONDS; at the first input for which something does not hold there is a traceback and a file
`crash-…`: make that a test of `test_fuzz.py`.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports(include=["processors", "emr_plugins"]):
    from fuzzing import Mutation, check_decoding, envelope, mutated, seeds

SEEDS = seeds()


def envelope_of(data: bytes) -> None:
    """The bytes are the record."""
    check_decoding(data)


def message_of(data: bytes) -> None:
    """The bytes choose a good message and what is changed in it."""
    given = atheris.FuzzedDataProvider(data)
    type_, emr, good = SEEDS[given.ConsumeIntInRange(0, len(SEEDS) - 1)]
    changes: list[Mutation] = []
    while given.remaining_bytes() >= 5 and len(changes) < 8:
        changes.append(tuple(given.ConsumeIntInRange(0, 4095) for _ in range(3)))
    check_decoding(envelope(type_, emr, mutated(good, changes)))


def text_of(data: bytes) -> None:
    """The bytes are the text of a FHIR resource."""
    check_decoding(envelope("fhir", "fhir_r4", data.decode("utf-8", "replace")))


def hl7v2_of(data: bytes) -> None:
    """The bytes are an HL7 v2 message, in the character set that it names."""
    check_decoding(envelope("SIU", "hl7v2", None, data_base64=base64.b64encode(data).decode()))


TARGETS = {"envelope": envelope_of, "message": message_of, "text": text_of, "hl7v2": hl7v2_of}


def main(target: str, seconds: str, folder: str | None = None) -> None:
    """Fuzz one target for a time."""
    places = []
    if folder is not None:
        corpus = Path(folder)
        corpus.mkdir(parents=True, exist_ok=True)
        for number, (type_, emr, good) in enumerate(SEEDS):
            whole = json.dumps(good).encode() if target == "text" else envelope(type_, emr, good)
            if target == "hl7v2" and isinstance(good, str):
                whole = good.encode()
            (corpus / f"seed-{number}").write_bytes(whole)
        places = [folder]
    arguments = [f"-max_total_time={seconds}", "-max_len=20000", "-timeout=5", "-rss_limit_mb=1024"]
    atheris.Setup([sys.argv[0], *arguments, *places], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
