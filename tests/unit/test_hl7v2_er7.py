"""The ER7 splitter: python-hl7's results on generated messages, line ends, character sets."""

from __future__ import annotations

from typing import Any

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siu_messages import DIALECTS, booking, msh, samples
from test_hl7v2 import one, refusal

from emr_plugins.hl7v2.er7 import SEGMENTS, Message, field, read_message

NAMES = sorted(SEGMENTS)
FIELDS = 14

# Of plain characters only, so that no field is HL7's null, and nothing is stripped.
texts = st.text(st.sampled_from("abc019.:-é"), max_size=5)
escapes = st.sampled_from(["F", "S", "T", "R", "E", "X41", "X4a4B"])


@st.composite
def messages(draw: st.DrawFn) -> str:
    """A message with separators of its own, and escape sequences in its values."""
    separators = draw(st.permutations("|^~\\&#$%!*").map(lambda all_: all_[:5]))
    field_, component, repetition, escape, sub = separators
    encoding = f"{component}{repetition}{escape}{sub}{draw(st.sampled_from(['', '?']))}"
    atom = texts | st.builds(lambda a, code, b: f"{a}{escape}{code}{escape}{b}", texts, escapes, texts)

    def joined(of: st.SearchStrategy[str], mark: str, most: int) -> st.SearchStrategy[str]:
        return st.lists(of, min_size=1, max_size=most).map(mark.join)

    value = joined(joined(joined(atom, sub, 2), component, 3), repetition, 3)
    line = st.builds(
        lambda name, fields: field_.join([name, *fields]),
        st.sampled_from([*NAMES, "PID", "NTE", "ZZ1"]),
        st.lists(value, min_size=1, max_size=FIELDS),
    )
    header = field_.join([f"MSH{field_}{encoding}", *draw(st.lists(value, min_size=1, max_size=10)), "x"])
    return "\r".join([header, *draw(st.lists(line, max_size=6))])


def check_against_the_library(text: str) -> int:
    """Every field, repetition, component and first subcomponent of what is read; how many they were."""
    message = read_message(text)
    parsed = hl7.parse(text)
    checked = 0
    found: dict[str, Any] = dict(message.segments)
    assert {str(line[0]) for line in parsed} & SEGMENTS == set(found)
    for name, lines in {**found, "MSH": [message.header]}.items():
        theirs = parsed.segments(name)
        assert [[str(one) for one in line] for line in theirs] == lines
        for line, segment in zip(lines, theirs, strict=True):
            first = 3 if name == "MSH" else 1
            for number in range(first, len(line)):
                raw = field(line, number)
                for repetition, one_of in enumerate(message.repetitions(raw)):
                    for at, part in enumerate(message.split(one_of)):
                        expected = segment.extract_field(1, number, repetition + 1, at + 1, 1)
                        assert message.text(part) == str(expected).strip(), (name, number, repetition, at)
                        checked += 1
    return checked


@settings(deadline=None)
@given(messages())
def test_the_splitter_gives_what_python_hl7_gives(text: str) -> None:
    check_against_the_library(text)


@pytest.mark.parametrize("path", samples(), ids=lambda path: path.stem)
def test_the_splitter_gives_what_python_hl7_gives_of_the_samples(path: Any) -> None:
    assert check_against_the_library(path.read_bytes().decode().replace("\n", "\r")) > 100


@pytest.mark.parametrize(
    "raw", ["a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\", "\\X0A41\\", "\\Xe9\\", "a\\E\\F\\E\\b", "\\E\\\\E\\"], ids=repr
)
def test_escape_sequences_are_resolved_as_python_hl7_does(raw: str) -> None:
    text = f"{msh()}\rSCH||{raw}"
    message = read_message(text)
    assert message.unescaped(message.segments["SCH"][0][2]) == hl7.parse(text).unescape(raw)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a\\H\\b\\N\\c", "abc"),
        ("a\\.br\\b\\.sp+2\\c", "a b c"),
        ("a\\Zlocal\\b", "a\\Zlocal\\b"),
        ("a\\X4\\b\\XZZ\\c", "a\\X4\\b\\XZZ\\c"),
        ("C:\\temp", "C:\\temp"),
        ("a\\", "a\\"),
        ("\\\\", "\\\\"),
        ('""', ""),
        ("\\Cabcd\\x", "\\Cabcd\\x"),
    ],
)
def test_other_escape_sequences_are_layout_or_stay_as_they_are(raw: str, text: str) -> None:
    message = read_message(f"{msh()}\rSCH||{raw}")
    assert message.unescaped(message.segments["SCH"][0][2]) == text


# Lines ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\r", "\r\r", "\n\n"], ids=repr)
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("\x0b", "\x1c\r"), ("\ufeff", "\n"), ("\r\n ", "\x1c"), ("\ufeff\x0b", "")],
)
def test_lines_may_end_in_any_way_and_be_framed(end: str, before: str, after: str) -> None:
    assert one(before + booking(end=end) + after) == one(booking())


@pytest.mark.parametrize(
    "note", ["two\nlines", "two\n\nlines", "AIP\nAI", "a\nAIP and more", "\n", "x\naip|1||d9"]
)
def test_a_line_feed_within_a_field_ends_no_segment(note: str) -> None:
    for end in "\r", "\n", "\r\n":
        text = booking(end=end).replace("SCH||f1|||||", f"SCH||f1|||||{note}")
        assert one(text) == one(booking())


def test_a_header_may_name_fewer_separators() -> None:
    text = booking().replace("|^~\\&|", "|^|")
    assert one(text) == one(booking())
    assert read_message(text).separators == read_message(booking()).separators


def test_only_the_segments_of_scheduling_are_kept() -> None:
    message = read_message(booking("PID|1||secret", "ZPD|secret", "PV1|secret"))
    assert isinstance(message, Message)
    assert set(message.segments) == {"SCH", "TQ1", "AIP"}
    assert "secret" not in repr(message)


# Character sets -------------------------------------------------------------------------------------------------------


def in_set(name: str, codec: str, provider: str, mark: bytes = b"") -> bytes:
    text = booking(header={18: name}).replace("d1^Doe", f"{provider}^Doe")
    return mark + text.encode(codec)


@pytest.mark.parametrize(
    ("name", "codec", "provider"),
    [
        ("", "utf-8", "dé1"), ("", "latin-1", "dé1"), ("ASCII", "ascii", "d1"), ("ASCII", "utf-8", "dé1"),
        ('""', "utf-8", "dé1"), ("UNICODE UTF-8", "utf-8", "d名1"), ("utf8", "utf-8", "dé1"),
        ("UNICODE", "utf-8", "dé1"),
        ("8859/1", "latin-1", "dé1"), ("8859/1~UNICODE UTF-8", "latin-1", "dé1"), ("ISO-8859-1", "latin-1", "dé1"),
        ("8859/2", "iso8859-2", "dł1"), ("8859/5", "iso8859-5", "дж1"), ("8859/7", "iso8859-7", "δ1"),
        ("8859/15", "iso8859-15", "d€1"), ("GB 18030-2000", "gb18030", "医1"), ("BIG-5", "big5", "醫1"),
        ("KS X 1001", "euc_kr", "의1"), ("ISO IR87", "iso2022_jp", "医1"), ("ISO IR14", "shift_jis", "ｱ1"),
        ("UNICODE UTF-16", "utf-16", "d名1"), ("UNICODE UTF-16", "utf-16-le", "d名1"), ("", "utf-16-be", "d名1"),
        ("windows-1252", "cp1252", "d€1"),
    ],
)  # fmt: skip
def test_bytes_are_read_in_the_character_set_that_the_header_names(
    name: str, codec: str, provider: str
) -> None:
    assert one(encoded(in_set(name, codec, provider))).providers == (provider,)


def encoded(data: bytes) -> Any:
    """An event's payload as bytes: the tests' `one` takes what `Event.data` holds, so it is put past base64."""
    return data


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\x0b", b"\r\n"])
def test_marks_before_the_bytes_are_passed_over(mark: bytes) -> None:
    assert one(
        encoded(in_set("8859/1" if mark != b"\xef\xbb\xbf" else "UTF-8", "ascii", "d1", mark))
    ).providers == ("d1",)


def test_an_unknown_character_set_is_refused_by_name_of_its_field_alone() -> None:
    detail = refusal(encoded(in_set("EBCDIC-SECRET", "ascii", "d1")))
    assert detail == "MSH-18: is not a character set that is known here"


def test_bytes_that_are_none_of_the_set_are_in_the_way_only_where_they_are_read() -> None:
    data = in_set("UNICODE UTF-8", "ascii", "d1").replace(b"^Doe", b"^D\xffe")
    assert one(encoded(data)).providers == ("d1",)
    assert refusal(encoded(data.replace(b"d1^", b"d\xff1^"))) == "AIP-3: must not hold control characters"


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
def test_dialects_decode_alike_as_text_and_as_bytes(dialect: Any) -> None:
    assert one(dialect.text, **dialect.settings) == one(encoded(dialect.text.encode()), **dialect.settings)
