"""Any input at all: it is taken, or set aside with a reason that blames the input; and the tables stay right."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from fuzzing import ODD, check_decoding, check_engine, envelope, mutated, seeds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pipeline_in_memory import ENVELOPE

SEEDS = seeds()
TIMES = int(os.environ.get("FUZZ_TIMES", "1"))
"""How many times as long as in CI."""

number = st.integers(0, 10_000)
mutations = st.lists(st.tuples(number, number, number), max_size=6)
messages = st.tuples(st.sampled_from(SEEDS), mutations)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def message(drawn: tuple[tuple[str, str, Any], Any], **over: Any) -> bytes:
    (type_, emr, data), changes = drawn
    return envelope(type_, emr, mutated(data, changes), **over)


@settings(slow, max_examples=300 * TIMES)
@given(st.binary(max_size=300))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"specversion":"1.0"' + b" " * 100)
def test_any_bytes_decode_to_a_reject(data: bytes) -> None:
    assert check_decoding(data) is None


@settings(slow, max_examples=300 * TIMES)
@given(mutations)
def test_mutated_envelopes_decode_or_are_rejected(changes: list[Any]) -> None:
    whole = {**ENVELOPE, "type": "slot", "data": SEEDS[-2][2], "data_base64": None}
    check_decoding(json.dumps(mutated(whole, changes)).encode())


@settings(slow, max_examples=800 * TIMES)
@given(messages)
def test_mutated_messages_decode_or_are_rejected(drawn: Any) -> None:
    check_decoding(message(drawn))


@settings(slow, max_examples=150 * TIMES)
@given(messages)
def test_mutated_messages_as_text_and_as_bytes_decode_alike(drawn: Any) -> None:
    (type_, emr, data), changes = drawn
    text = json.dumps(mutated(data, changes))
    encoded = base64.b64encode(text.encode()).decode()
    as_text = check_decoding(envelope(type_, emr, text))
    as_bytes = check_decoding(envelope(type_, emr, None, data_base64=encoded))
    assert (as_text.items if as_text else None) == (as_bytes.items if as_bytes else None)


@settings(slow, max_examples=150 * TIMES)
@given(messages, st.lists(st.tuples(number, st.integers(0, 255), number), max_size=5))
def test_damaged_bytes_decode_or_are_rejected(drawn: Any, damage: list[tuple[int, int, int]]) -> None:
    """Bytes changed, cut out and doubled: broken UTF-8, names twice, numbers that go on."""
    data = bytearray(message(drawn))
    for at, byte, length in damage:
        start = at % len(data) if data else 0
        piece = bytes(data[start : start + length % 40])
        data[start : start + length % 3] = (bytes([byte]), piece, b"")[byte % 3]
    check_decoding(bytes(data))


@settings(slow, max_examples=150 * TIMES)
@given(
    json_values, st.sampled_from(["fhir_r4", "standard"]), st.sampled_from(["slot", "fhir", "working_hours"])
)
def test_any_json_decodes_or_is_rejected(data: Any, emr: str, type_: str) -> None:
    check_decoding(envelope(type_, emr, data))


@settings(slow, max_examples=60 * TIMES)
@given(
    st.lists(st.tuples(messages, st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_a_batch_of_anything_gives_what_a_clean_pass_gives(drawn: list[Any], batch: int, random: Any) -> None:
    """Mutated messages, some of them twice, in an order that is not theirs, in batches of any size."""
    sent = []
    for one, again, sequence in drawn:
        data = message(one, sequence=f"{sequence:020d}", time=f"2026-03-02T00:00:{sequence:02d}Z")
        sent += [data] * (1 + again // 3)
    random.shuffle(sent)
    sent.append(random.randbytes(20))
    check_engine(sent, batch)
