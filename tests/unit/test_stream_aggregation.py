"""Records packed by the Kinesis Producer Library come apart as they do in the KCL."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpl import aggregated, field, varint

from kcl_app.stream.aggregation import MAGIC, unpacked
from processors.envelope import Record


def record(data: bytes) -> Record:
    """One of the stream's."""
    return Record(data, "123", 0, "outer", 5.0)


def sound(message: bytes) -> Record:
    """A message with the right head and digest, whatever it holds."""
    return record(MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest())


def test_each_has_its_place_and_its_own_partition_key() -> None:
    packed = aggregated([("k1", b"a"), ("k2", b""), ("k1", b"c" * 300)])
    assert unpacked(record(packed)) == [
        Record(b"a", "123", 0, "k1", 5.0),
        Record(b"", "123", 1, "k2", 5.0),
        Record(b"c" * 300, "123", 2, "k1", 5.0),
    ]


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=20), st.binary(max_size=300)), min_size=1, max_size=200)
)
def test_what_was_packed_comes_out(users: list[tuple[str, bytes]]) -> None:
    found = unpacked(record(aggregated(users)))
    assert [(one.partition_key, one.data) for one in found] == users
    assert [one.sub_sequence_number for one in found] == list(range(len(users)))


@given(st.binary(max_size=400))
def test_anything_else_is_one_record_as_it_is(data: bytes) -> None:
    for one in (record(data), record(MAGIC + data)):
        assert unpacked(one) == [one]


@given(st.binary(max_size=400))
def test_no_message_however_odd_is_an_error(message: bytes) -> None:
    assert isinstance(unpacked(sound(message)), list)


def test_a_digest_that_is_wrong_makes_it_one_record() -> None:
    packed = bytearray(aggregated([("k", b"a")]))
    packed[-1] ^= 1
    assert unpacked(record(bytes(packed))) == [record(bytes(packed))]


@pytest.mark.parametrize(
    "message",
    [
        field(1, b"k") + field(3, b"\x08\x05" + field(3, b"x")),  # no such partition key
        field(1, b"k") + field(3, b"\x08\x00"),  # no data
        field(1, b"k") + field(3, field(3, b"x")),  # no partition key
        field(1, b"\xff") + field(3, b"\x08\x00" + field(3, b"x")),  # a key that is no text
        field(1, b"k") + b"\x1a\x7f",  # cut off
        b"\x0b",  # a kind of field that there is not
        b"\x08" + b"\xff" * 11,  # an integer without an end
    ],
)
def test_a_message_that_is_not_sound_makes_it_one_record(message: bytes) -> None:
    assert unpacked(sound(message)) == [sound(message)]


def test_fields_of_later_versions_are_passed_over() -> None:
    user = b"\x08\x00" + b"\x10\x07" + field(3, b"x") + field(4, b"tag") + b"\x35" + b"\0" * 4
    message = field(2, b"hash") + field(1, b"k") + field(3, user) + b"\x49" + b"\0" * 8 + varint(80) + b"\x01"
    assert [(one.partition_key, one.data) for one in unpacked(sound(message))] == [("k", b"x")]
