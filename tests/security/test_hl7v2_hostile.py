"""HL7 v2 messages full of patients leave no trace; damaged ones are taken, or set aside with a reason of the input."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from canaries import ADDRESS, BORN, CANARIES, MRN, NAME, NOTE, PHONE, everything_stored, found_in, raw_records
from fuzzing import check_decoding, check_engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_in_memory import Pipeline, host
from siu_messages import DIALECTS, samples
from test_patient_data import assert_clean, envelope, logged

__all__ = ["logged"]

TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How many times as long as in CI."""

slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

PERSON = "^".join([MRN, NAME.replace(", ", "^"), PHONE])
SIU = "\r".join(
    [
        "MSH|^~\\&|SCHED|NORTH|HUB|HUB|20260302150405||SIU^S12|1|P|2.5.1" + f"|{NAME}" * 5,
        f"SCH|p1|f1|2|{MRN}|{NAME}|E^{NOTE}|R^{NOTE}|T^{NAME}|30|min|^^^20260309093000^20260309100000|{PERSON}|{PHONE}"
        f"|{ADDRESS}|{ADDRESS}|{PERSON}|{PHONE}|{ADDRESS}|{ADDRESS}|{PERSON}|{PHONE}|{ADDRESS}|p|f|Booked^{NAME}|{MRN}",
        f"TQ1|1|{MRN}|{NAME}|{NOTE}|{BORN}||20260309093000-0400^{NAME}|20260309100000-0400|S|{NOTE}|{NAME}",
        f"NTE|1||{NOTE}",
        f"PID|1||{MRN}||{NAME}||{BORN}|M|||{ADDRESS}||{PHONE}",
        f"PV1|1|O|{ADDRESS}||||{PERSON}",
        f"OBX|1|TX|{NOTE}||{NOTE}",
        f"DG1|1||{NOTE}",
        f"RGS|1|A|{NAME}",
        f"AIS|1|A|X^{NOTE}|20260309093000|0|min|30|min|{NAME}|Booked^{NAME}|{NOTE}|{NOTE}",
        f"AIG|1|A|{PERSON}|{NAME}|{NAME}|1|{NAME}|20260309093000|0|min|30|min|{NAME}|{NAME}",
        f"AIL|1|A|{ADDRESS}|{NAME}|{NAME}|20260309093000|0|min|30|min|{NAME}|{NAME}",
        f"AIP|1|A|d1^{NAME}^{MRN}|{NAME}|{NAME}|20260309093000|0|min|30|min|{NAME}|Booked^{NAME}",
        f"ZPD|{NAME}|{MRN}",
    ]
)

KEPT = {("MSH", 2), ("MSH", 3), ("SCH", 1), ("SCH", 2), ("SCH", 3), ("AIP", 3)}
"""Ids of senders, appointments and personnel: senders must put no patient's data in them (docs/reliability.md)."""


def wrong() -> Iterator[str]:
    """The message with each canary at every place but ids; with less and less in it, so that all times are read."""
    without_tq1 = "\r".join(line for line in SIU.split("\r") if not line.startswith("TQ1"))
    without_sch_11 = without_tq1.replace("^^^20260309093000^20260309100000", "")
    without_durations = without_sch_11.replace("|0|min|30|min|", "|||||")
    for text in (SIU, without_tq1, without_sch_11, without_durations):
        yield from wrong_at_every_place(text.split("\r"))


def wrong_at_every_place(lines: list[str]) -> Iterator[str]:
    for at, line in enumerate(lines):
        fields = line.split("|")
        for number in range(1, len(fields)):
            if (fields[0], number) in KEPT or (fields[0] == "MSH" and number == 1):
                continue
            for canary in CANARIES:
                for value in (canary, f"{fields[number]}{canary}", f"^{canary}^^^"):
                    changed = [*fields[:number], value, *fields[number + 1 :]]
                    yield "\r".join([*lines[:at], "|".join(changed), *lines[at + 1 :]])


@pytest.mark.parametrize("resources", [["AIP"], ["AIP", "AIG", "AIL"]], ids=str)
@pytest.mark.parametrize("trigger", ["S12", "S15", "S23", "S24", "S26"])
def test_a_message_with_patients_everywhere_leaves_no_trace(
    trigger: str, resources: list[str], logged: Callable[[], str]
) -> None:
    pipeline = Pipeline(host(settings={"hl7v2": {"resources": resources}}))
    text = SIU.replace("SIU^S12", f"SIU^{trigger}")
    text = text.replace(f"AIG|1|A|{PERSON}", "AIG|1|A|x9").replace(f"AIL|1|A|{ADDRESS}", "AIL|1|A|r9")
    encoded = base64.b64encode(text.encode()).decode()
    sent = [envelope("SIU", text, "hl7v2"), envelope("SIU", None, "hl7v2", data_base64=encoded)]
    result = pipeline.run(sent)
    assert result.rejects == {}
    assert result.events["applied"] == 1
    assert found_in(everything_stored(pipeline.store, pipeline.blobs)) == []
    assert_clean(pipeline, logged())


def test_wrong_messages_are_set_aside_without_quoting_them(logged: Callable[[], str]) -> None:
    pipeline = Pipeline(host())
    assert pipeline.run([envelope("SIU", SIU, "hl7v2")]).events == {"applied": 1}
    sent = [envelope("SIU", text, "hl7v2") for text in wrong()]
    result = pipeline.run(sent)
    assert result.events.total() == len(sent) > 2000
    assert set(result.rejects) == {"invalid_data"}
    assert result.rejects["invalid_data"] > 100
    assert_clean(pipeline, logged())
    assert len(found_in(raw_records(pipeline.store, pipeline.blobs))) > 5


# Fuzzing --------------------------------------------------------------------------------------------------------------

SEEDS = [dialect.text.encode() for dialect in DIALECTS.values()]
SEEDS += [path.read_bytes() for path in samples()[:2]]
SEEDS += [SIU.replace("SIU^S12", f"SIU^{trigger}").encode() for trigger in ("S12", "S15", "S23", "S24")]

PIECES = [
    b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\x0b", b"\x1c", b'""', b"|||||||||", b"\\X00\\", b"\\X0D0A\\",
    b"\\.br\\", b"\\", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xef\xbb\xbf", b"MSH|", b"MSH", b"\rSCH|",
    b"\rAIP|", b"\rTQ1|", b"99999999999999", b"20260309", b"-1", b"+", b"0", b"1e9", b"0.0000001", b"999999999",
    b"99991231", b"00000000", b"19700101000000", b"+9999", b"-0000", b"wk", b"UNICODE UTF-16", b"UNICODE UTF-32",
    b"ISO IR87", b"GB 18030-2000", b"BIG-5", b"8859/6", b"Cancelled", b"D", b"S23", b"S24", b"~" * 60, b"^" * 400,
    b"x" * 700, "é名😀\u2028".encode(),
]  # fmt: skip

number = st.integers(0, 10_000)
changes = st.lists(st.tuples(number, number, number), min_size=1, max_size=6)
damaged = st.tuples(st.sampled_from(SEEDS), changes)


def damage(drawn: tuple[bytes, list[tuple[int, int, int]]]) -> bytes:
    """A message with pieces put in, put over others, cut out, doubled, or whole segments moved."""
    data, all_changes = drawn
    for at, what, which in all_changes:
        start = at % (len(data) + 1)
        piece = PIECES[which % len(PIECES)]
        lines = data.split(b"\r")
        match what % 5:
            case 0:
                data = data[:start] + piece + data[start:]
            case 1:
                data = data[:start] + piece + data[start + len(piece) :]
            case 2:
                data = data[:start] + data[start + which % 30 :]
            case 3:
                data = data[:start] + data[start : start + which % 200] * 2 + data[start:]
            case 4:
                data = b"\r".join([*lines, lines[at % len(lines)]])
    return data


def as_text(data: bytes, **over: Any) -> bytes:
    return envelope("SIU", data.decode("utf-8", "replace"), "hl7v2", **over)


def as_bytes(data: bytes, **over: Any) -> bytes:
    return envelope("SIU", None, "hl7v2", data_base64=base64.b64encode(data).decode(), **over)


def test_what_is_fuzzed_is_good_until_it_is_damaged() -> None:
    taken = [seed for seed in SEEDS if check_decoding(as_bytes(seed)) and check_decoding(as_text(seed))]
    assert len(taken) >= len(SEEDS) - 1  # one has a status that only its tenant's settings know


@settings(slow, max_examples=500 * TIMES)
@given(damaged)
def test_damaged_messages_decode_or_are_rejected(drawn: Any) -> None:
    data = damage(drawn)
    check_decoding(as_text(data))
    check_decoding(as_bytes(data))


@settings(slow, max_examples=300 * TIMES)
@given(st.binary(max_size=300), st.sampled_from([b"", b"MSH", b"MSH|^~\\&|", SEEDS[0][:200]]))
def test_any_bytes_decode_or_are_rejected(data: bytes, before: bytes) -> None:
    check_decoding(as_bytes(before + data))
    check_decoding(as_text(before + data))


@settings(slow, max_examples=30 * TIMES)
@given(
    st.lists(st.tuples(damaged, st.booleans(), st.integers(0, 9)), min_size=1, max_size=10),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_a_batch_of_damaged_messages_gives_what_a_clean_pass_gives(
    drawn: list[Any], batch: int, random: Any
) -> None:
    """Good and damaged ones, some twice, in an order that is not theirs."""
    sent = []
    for (seed, all_changes), again, sequence in drawn:
        stamp = {"sequence": f"{sequence:020d}", "time": f"2026-03-02T00:00:{sequence:02d}Z"}
        sent += [as_bytes(damage((seed, all_changes[: sequence % 3])), **stamp)] * (1 + again)
    random.shuffle(sent)
    check_engine(sent, batch)
