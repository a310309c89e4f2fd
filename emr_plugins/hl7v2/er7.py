"""ER7, the text that HL7 v2 messages are written in (HL7 v2.5.1, chapter 2): segments, fields and their parts.

Only the segments that scheduling needs are split, and their fields only when they are asked for; the others, whatever
names a patient included, are never looked at. Values are what python-hl7 gives, whose tests these are held to.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from emr_plugins.api import Reject

from .tables import CHARACTER_SETS

SPACE = " \t\r\n"
_FRAME = "\x0b\x1c\r\n\t \ufeff"
"""Round a message: what MLLP frames it with, a byte order mark, and empty lines."""

_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"M\x00": "utf-16-le", b"\x00M": "utf-16-be"}

SEGMENTS = frozenset({"SCH", "TQ1", "AIS", "AIG", "AIL", "AIP"})
"""The segments that are read, besides the header."""

NULL = '""'
"""HL7's null: the receiver is to empty the field."""

Fields = list[str]
"""The raw fields of a segment; each stands at its number in the standard, and the segment's name at 0."""


def wrong(path: str, why: str) -> Reject:
    """A reject that names segment and field."""
    return Reject("invalid_data", f"{path}: {why}")


class Separators(NamedTuple):
    """The characters that MSH-1 and MSH-2 choose."""

    field: str
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


class Message(NamedTuple):
    """One message, taken apart as far as scheduling needs it.

    Attributes:
        separators: of this message.
        header: the fields of MSH.
        segments: those of `SEGMENTS` that are there, in order, by name.
    """

    separators: Separators
    header: Fields
    segments: dict[str, list[Fields]]

    def components(self, fields: Fields, number: int) -> list[str]:
        """The raw components of a field's first repetition; one empty text where there is nothing."""
        return self.split(field(fields, number))

    def repetitions(self, raw: str) -> list[str]:
        """The repetitions of a raw field."""
        return raw.split(self.separators.repetition)

    def split(self, raw: str) -> list[str]:
        """The raw components of a raw field's first repetition."""
        if self.separators.repetition in raw:
            raw = raw.split(self.separators.repetition, 1)[0]
        return raw.split(self.separators.component)

    def text(self, raw: str) -> str:
        """The text of a raw component: its first subcomponent, unescaped; empty for HL7's null."""
        separators = self.separators
        if separators.subcomponent in raw:
            raw = raw.split(separators.subcomponent, 1)[0]
        return self.unescaped(raw).strip(SPACE)

    def unescaped(self, raw: str) -> str:
        """A raw value with its escape sequences resolved; empty for HL7's null."""
        if raw == NULL:
            return ""
        if self.separators.escape not in raw:
            return raw
        return _unescape(raw, self.separators)

    def first(self, fields: Fields, number: int) -> str:
        """The text of the first component of a field."""
        raw = field(fields, number)
        return self.text(self.split(raw)[0]) if raw else ""


def field(fields: Fields, number: int) -> str:
    """A raw field; empty where the segment is shorter."""
    return fields[number] if number < len(fields) else ""


def read_message(payload: object) -> Message:
    """The message in an event's payload.

    Args:
        payload: text, or bytes in the character set that MSH-18 names.

    Raises:
        Reject: not one message in ER7; says what is wrong, and holds nothing of it.
    """
    if isinstance(payload, bytes):
        payload = _decoded(payload)
    if not isinstance(payload, str):
        raise wrong("data", "must be an HL7 v2 message as text")
    text = payload.strip(_FRAME)
    start = text[:3]
    if start in ("FHS", "BHS"):
        raise wrong(
            start, "files and batches are not taken; send each of their messages as an event of its own"
        )
    if start != "MSH" or len(text) < 8:
        raise wrong("data", "must be an HL7 v2 message in ER7, which begins with MSH")
    separators = _separators(text[3:10].partition(text[3])[2].partition(text[3])[0], text[3])
    lines = _lines(text, separators.field)
    header = lines[0].split(separators.field)
    header.insert(1, separators.field)
    segments: dict[str, list[Fields]] = {}
    for line in lines[1:]:
        name = line[:3]
        if name in SEGMENTS:
            fields = line.split(separators.field)
            if fields[0] == name:
                segments.setdefault(name, []).append(fields)
        elif name == "MSH" and line[3:4] == separators.field:
            raise wrong("MSH", "there are several messages; send each as an event of its own")
    return Message(separators, header, segments)


def _lines(text: str, separator: str) -> list[str]:
    """Segments end with a carriage return; a line feed ends one only where another begins behind it."""
    lines = text.split("\r")
    if "\n" not in text:
        return lines
    found: list[str] = []
    for line in lines:
        parts = line.split("\n")
        began = 0
        for at in range(1, len(parts)):
            name, behind = parts[at][:3], parts[at][3:4]
            if behind in (separator, "") and len(name) == 3 and name.isalnum() and name.isupper():
                found.append("\n".join(parts[began:at]))
                began = at
        found.append("\n".join(parts[began:]))
    return found


@lru_cache(maxsize=256)
def _separators(encoding: str, field_separator: str) -> Separators:
    """Those of MSH-1 and MSH-2; what MSH-2 leaves out is as usual. A fifth, the truncation character, has no use here.

    Raises:
        Reject: they cannot be told apart, or would be found in any text.
    """
    if not encoding or len(encoding) > 5:
        raise wrong("MSH-2", "must be the encoding characters, as ^~\\&")
    found = Separators(field_separator, *encoding[:4])
    if len({*found, *encoding[4:]}) < 5 + len(encoding[4:]):
        raise wrong("MSH-2", "the separators must differ from each other")
    if any(one.isalnum() or one.isspace() or not one.isprintable() or one in '"+-.' for one in found):
        raise wrong("MSH-2", "separators must not be letters, digits, quotes, signs, dots or spaces")
    return found


_ESCAPED = {"F": "field", "S": "component", "R": "repetition", "E": "escape", "T": "subcomponent"}
_HEXADECIMAL = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")


def _unescape(raw: str, separators: Separators) -> str:
    """HL7 v2.5.1, 2.7: separators, hexadecimal bytes, highlighting and formatting; local sequences stay as they are."""
    parts = raw.split(separators.escape)
    done = [parts[0]]
    at = 1
    while at < len(parts):
        code = parts[at]
        if at + 1 == len(parts):  # an escape character that nothing closes
            done.append(separators.escape + code)
            break
        if code in _ESCAPED:
            done.append(getattr(separators, _ESCAPED[code]))
        elif match := _HEXADECIMAL.fullmatch(code):
            done.append(bytes.fromhex(match[1]).decode("latin-1"))
        elif code in ("H", "N"):
            pass
        elif code[:1] == ".":
            done.append(" ")  # .br, .sp and the like: where a line is broken means nothing here
        else:
            done.append(separators.escape + code)
            at += 1
            continue
        done.append(parts[at + 1])
        at += 2
    return "".join(done)


def _decoded(data: bytes) -> str:
    """The text of bytes, by the character set of MSH-18; by UTF-8 or else ISO 8859-1 where it names ASCII or none.

    Bytes that are none of its characters become lone surrogates: they are in the way only where they are read.

    Raises:
        Reject: MSH-18 names a character set that is not known.
    """
    data = data.lstrip(b"\x0b\r\n\t ")
    if wide := _UTF_16.get(data[:2]):
        return _with(data, wide)
    start = data[:4096].decode("latin-1").lstrip("\xef\xbb\xbf")
    lines = start.replace("\n", "\r").split("\r", 1)[0]
    header = lines.split(start[3:4] or "|")
    # MSH-1 is the separator itself, so that MSH-18 is the seventeenth part. Of several sets the first is the usual one.
    named = re.split(r"[~^]", header[17], maxsplit=1)[0] if len(header) > 17 else ""
    key = re.sub(r"[\s/_-]", "", named).upper() if named != NULL else ""
    if key and key not in CHARACTER_SETS:
        raise wrong("MSH-18", "is not a character set that is known here")
    codec = CHARACTER_SETS.get(key)
    if codec is None:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")
    return _with(data, codec)


def _with(data: bytes, codec: str) -> str:
    try:
        return data.decode(codec, "surrogateescape")
    except (
        UnicodeDecodeError
    ):  # what is wrong begins with an ASCII character, for which there is no surrogate
        raise wrong("MSH-18", "the bytes are not in this character set") from None
