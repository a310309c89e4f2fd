"""Records that the Kinesis Producer Library has packed into one, unpacked as the KCL does it.

Source: the KPL's aggregation format: four magic bytes, a protobuf message, and the MD5 of that message.

    AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
                       repeated Record records = 3 }
    Record           { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
                       required bytes data = 3; repeated Tag tags = 4 }
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from processors.envelope import Record

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST = 16
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def unpacked(record: Record) -> list[Record]:
    """The records in one of the stream's, in order; itself where it is not aggregated.

    Each gets its own partition key and its place as `sub_sequence_number`, from 0. What looks aggregated and is not
    sound is one record as it is, as it is for the KCL.
    """
    data = record.data
    if len(data) <= len(MAGIC) + _DIGEST or not data.startswith(MAGIC):
        return [record]
    message, digest = data[len(MAGIC) : -_DIGEST], data[-_DIGEST:]
    if hashlib.md5(message, usedforsecurity=False).digest() != digest:
        return [record]
    try:
        keys: list[str] = []
        packed: list[tuple[int, bytes]] = []
        for number, value in _fields(message):
            if number == 1:
                keys.append(_bytes(value).decode())
            elif number == 3:
                packed.append(_one(_bytes(value)))
        return [
            replace(record, data=one, sub_sequence_number=place, partition_key=keys[key])
            for place, (key, one) in enumerate(packed)
        ]
    except (ValueError, IndexError):
        return [record]


def _one(message: bytes) -> tuple[int, bytes]:
    """Index of the partition key, and the bytes, of one record."""
    key: int | None = None
    data: bytes | None = None
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            key = value
        elif number == 3:
            data = _bytes(value)
    if key is None or data is None:
        raise ValueError("a record without partition key or data")
    return key, data


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("not a text or bytes")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message: number and value."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a kind of field that there is not")
        if at + length > len(message):
            raise ValueError("cut off")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("an integer of more than ten bytes")
