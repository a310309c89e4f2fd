"""Packs records into one, in the Kinesis Producer Library's aggregation format."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

MAGIC = b"\xf3\x89\x9a\xc2"


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes) -> bytes:
    """A field of protobuf with bytes in it."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def aggregated(users: Sequence[tuple[str, bytes]]) -> bytes:
    """One record of the stream with some in it: partition key and bytes of each."""
    keys = list(dict.fromkeys(key for key, _ in users))
    message = b"".join(field(1, key.encode()) for key in keys)
    for key, data in users:
        message += field(3, b"\x08" + varint(keys.index(key)) + field(3, data))
    return MAGIC + message + hashlib.md5(message, usedforsecurity=False).digest()
