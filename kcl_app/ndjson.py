"""Reading NDJSON: one JSON text a line, numbered from 1, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class Line:
    """One line of input: its number from 1, and its bytes, or None where there are more than the limit."""

    number: int
    data: bytes | None


def read_lines(file: BinaryIO, limit: int) -> Iterator[Line]:
    """The lines of a file that are not blank; one of more than `limit` bytes is read past, not held."""
    longest = limit + 3  # with its line end
    number = 0
    while piece := file.readline(longest):
        number += 1
        if piece.endswith(b"\n") or len(piece) < longest:
            if stripped := piece.strip():
                yield Line(number, stripped)
            continue
        while piece and not piece.endswith(b"\n"):
            piece = file.readline(1 << 20)
        yield Line(number, None)
