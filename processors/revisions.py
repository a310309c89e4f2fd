"""Which of two changes of one item is the newer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

MAX_VERSION = 10**18


class Revision(NamedTuple):
    """What orders two changes of the same item. Copies, retries and redrives of an event have equal revisions.

    Attributes:
        version: the source's own integer; 0 for a source that has none.
        time: when it happened at the source, as fixed-width UTC text, so that it sorts.
        sequence: the order of acceptance, stamped once by ingress; sorts as a string (CloudEvents' `sequence`).
    """

    version: int
    time: str
    sequence: str

    @classmethod
    def of(cls, version: int, time: datetime, sequence: str) -> Revision:
        """The revision of an event's change."""
        return cls(version, cls.text_of(time), sequence)

    @staticmethod
    def text_of(time: datetime) -> str:
        """An instant as it stands in revisions."""
        return f"{time.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"

    def encode(self) -> str:
        """As one string, which sorts as the revision does."""
        return f"{self.version:019d}|{self.time}|{self.sequence}"

    @classmethod
    def decode(cls, text: str) -> Revision:
        """The inverse of `encode`."""
        version, time, sequence = text.split("|", 2)
        return cls(int(version), time, sequence)


def kinesis_sequence(sequence_number: str, sub_sequence_number: int) -> str:
    """The `sequence` of a record that came past ingress without one.

    Kinesis sequence numbers have about 56 digits, more than a DynamoDB number or a float holds, so they are
    compared as zero-padded text, the sub-sequence number of a KPL-aggregated record behind.
    """
    return f"{sequence_number:0>64}.{sub_sequence_number:0>10}"
