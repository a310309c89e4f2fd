"""HL7's tables, as far as scheduling messages use them, and what their codes mean here."""

from __future__ import annotations

from typing import Literal

Status = Literal[
    "proposed", "pending", "booked", "arrived", "fulfilled", "cancelled", "noshow", "entered-in-error",
    "checked-in", "waitlist",
]  # fmt: skip
"""FHIR R4 AppointmentStatus."""

TRIGGERS: dict[str, Status] = {
    "S12": "booked",  # new appointment
    "S13": "booked",  # rescheduled
    "S14": "booked",  # modified
    "S15": "cancelled",
    "S16": "cancelled",  # discontinued
    "S17": "entered-in-error",  # deleted
    "S18": "booked",  # a service or resource added,
    "S19": "booked",  # modified,
    "S20": "booked",  # cancelled,
    "S21": "booked",  # discontinued,
    "S22": "booked",  # or deleted: the appointment stays
    "S26": "noshow",
}
"""HL7 table 0003: what a trigger says of an appointment where SCH-25 is empty."""

BLOCK, UNBLOCK = "S23", "S24"
"""The triggers that block time of a schedule, and open it again."""

STATUSES: dict[str, Status] = {
    # HL7 table 0278, as HL7's v2-to-FHIR guide maps it
    "pending": "pending",
    "waitlist": "waitlist",
    "booked": "booked",
    "started": "checked-in",
    "complete": "fulfilled",
    "cancelled": "cancelled",
    "deleted": "entered-in-error",
    "noshow": "noshow",
    # what that guide leaves open: whether the time is taken decides
    "dc": "cancelled",
    "discontinued": "cancelled",
    "blocked": "booked",
    "overbook": "booked",
    # FHIR's own codes, and common words
    "proposed": "proposed",
    "arrived": "arrived",
    "fulfilled": "fulfilled",
    "checkedin": "checked-in",
    "enteredinerror": "entered-in-error",
    "canceled": "cancelled",
    "completed": "fulfilled",
    "confirmed": "booked",
    "overbooked": "booked",
    "rescheduled": "booked",
    "scheduled": "booked",
    "waitlisted": "waitlist",
}
"""Statuses by `status_key`."""

_NOT_IN_KEY = str.maketrans("", "", " -_.\t\r\n")


def status_key(text: str) -> str:
    """A status as it is looked up: case, spaces and hyphens make no difference."""
    return text.translate(_NOT_IN_KEY).casefold()


_SECONDS: dict[str, tuple[int, str]] = {
    "s": (1, "sec secs second seconds"),
    "min": (60, "m mn mins minute minutes"),
    "h": (3600, "hr hrs hour hours"),
    "d": (86_400, "day days"),
    "wk": (604_800, "w wks week weeks"),
}
UNITS: dict[str, int] = {
    name: seconds for unit, (seconds, others) in _SECONDS.items() for name in (unit, *others.split())
}
"""Seconds of each unit of time, in lower case."""

_CODECS = {
    "utf-8": "UNICODE UNICODEUTF8 UTF8",
    "utf-16": "UNICODEUTF16 UTF16",
    "utf-32": "UNICODEUTF32 UTF32",
    "shift_jis": "ISOIR14",  # JIS X 0201
    "iso2022_jp": "ISOIR87",  # JIS X 0208
    "iso2022_jp_1": "ISOIR159",  # JIS X 0212
    "gb18030": "GB180302000 GB18030",
    "euc_kr": "KSX1001",
    "big5": "BIG5",
    "cp1252": "WINDOWS1252 CP1252",
}
CHARACTER_SETS: dict[str, str | None] = {
    **dict.fromkeys(("", "ASCII", "USASCII", "ISOIR6")),  # UTF-8 holds it, and is what is often meant
    **{name: codec for codec, names in _CODECS.items() for name in names.split()},
    **{
        f"{prefix}8859{part}": f"iso8859_{part}"
        for prefix in ("", "ISO")
        for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)
    },
}
"""HL7 table 0211, spaces and punctuation left out: Python's name of each character set."""
