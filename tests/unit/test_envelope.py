"""Bytes → event: what is accepted, what is refused, and that no refusal repeats what it was given."""

from __future__ import annotations

import base64
import json
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.envelope import Event, Limits, Record, check_size, read_event
from processors.errors import Reject

LIMITS = Limits()
GOOD: dict[str, Any] = {
    "specversion": "1.0",
    "id": "e-1",
    "source": "/tenants/t1",
    "type": "appointment",
    "time": "2026-03-09T09:00:00-04:00",
    "tenant": "t1",
    "emr": "standard",
    "data": {"id": "ap-1"},
}


def read(**fields: Any) -> Event:
    """The good envelope with other fields; None leaves one out."""
    document = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    return read_event(json.dumps(document).encode(), LIMITS)


def refusal(data: bytes, limits: Limits = LIMITS) -> Reject:
    """The Reject that bytes meet."""
    with pytest.raises(Reject) as refused:
        read_event(data, limits)
    return refused.value


def refused(**fields: Any) -> Reject:
    """The Reject that the good envelope with other fields meets."""
    with pytest.raises(Reject) as caught:
        read(**fields)
    return caught.value


def test_a_good_envelope_is_read_whole() -> None:
    event = read(subject="dr-1", sequence="0001", datacontenttype="application/json", unknown={"x": [1]})
    assert event.time == datetime(2026, 3, 9, 13, tzinfo=UTC)
    assert (event.id, event.source, event.type) == ("e-1", "/tenants/t1", "appointment")
    assert (event.tenant, event.emr, event.subject, event.sequence) == ("t1", "standard", "dr-1", "0001")
    assert event.payload() == {"id": "ap-1"}
    assert not hasattr(event, "unknown")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-09T09:00:00Z", datetime(2026, 3, 9, 9, tzinfo=UTC)),
        ("2026-03-09t09:00:00z", datetime(2026, 3, 9, 9, tzinfo=UTC)),
        ("2026-03-09T09:00:00.5+05:45", datetime(2026, 3, 9, 3, 15, 0, 500000, tzinfo=UTC)),
        ("2026-03-09T09:00:00.123456789Z", datetime(2026, 3, 9, 9, 0, 0, 123456, tzinfo=UTC)),
        ("1971-01-01T00:00:00Z", datetime(1971, 1, 1, tzinfo=UTC)),
        ("2198-12-31T23:59:59Z", datetime(2198, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2199-01-01T00:00:00+01:00", datetime(2198, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_times_of_rfc_3339_are_read_in_utc(text: str, expected: datetime) -> None:
    event = read(time=text)
    assert event.time == expected
    assert event.time.utcoffset() == UTC.utcoffset(None)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-09T09:00:00",  # no offset
        "2026-03-09",
        "2026-03-09T09:00Z",
        "2026-03-09 09:00:00Z",
        "2026-W11-1T09:00:00Z",
        "20260309T090000Z",
        "2026-02-29T09:00:00Z",
        "2026-03-09T24:00:00Z",
        "2026-03-09T09:61:00Z",
        "2026-03-09T09:00:00+25:00",
        "2026-03-09T09:00:00Z\n",
        "２０２６-03-09T09:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "1970-12-31T23:59:59Z",
        "1971-01-01T00:00:00+00:01",
        "2199-01-01T00:00:00Z",
        "2198-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59-14:00",
        "",
        "now",
        "1767225600",
    ],
)
def test_other_times_are_refused(text: str) -> None:
    refused_ = refused(time=text)
    assert refused_.reason == "invalid_envelope"
    assert refused_.detail.startswith("time: ")
    assert "; " not in refused_.detail


@pytest.mark.parametrize("missing", ["specversion", "id", "source", "type", "time", "tenant", "emr"])
def test_required_attributes(missing: str) -> None:
    assert refused(**{missing: None}).detail == f"{missing}: is required"


WRONG: dict[str, list[Any]] = {
    **{
        name: ["", 1, 1.5, True, ["a"], {"a": "b"}, "a\nb", "a\x00b", "x" * 5000]
        for name in ("id", "source", "type", "tenant", "emr", "subject", "sequence")
    },
    "specversion": ["0.3", "1.0.0", "", 1, 1.0, ["1.0"]],
    "time": [1767225600, 1767225600.5, True, ["2026-03-09T09:00:00Z"], {}],
    "datacontenttype": [1, [], "x" * 257],
    "data_base64": [1, [], {}],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_wrong_values_are_refused_by_the_name_of_their_field(name: str, value: Any) -> None:
    reject = refused(**{name: value, "data": None} if name == "data_base64" else {name: value})
    assert reject.reason == "invalid_envelope"
    assert reject.detail.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("source", "tenant"),
    [("/tenants/t1", "t1"), ("/tenants/t1/feeds/7", "t1"), ("/tenants/a%2Fb", "a/b"), ("urn:feed:7", "t1")],
)
def test_a_source_of_the_same_tenant_is_accepted(source: str, tenant: str) -> None:
    assert read(source=source, tenant=tenant).tenant == tenant


@pytest.mark.parametrize(
    ("source", "tenant"),
    [
        ("/tenants/t2", "t1"),
        ("/tenants/", "t1"),
        ("/tenants//t1", "t1"),
        ("/tenants/T1", "t1"),
        ("/tenants/a/b", "a/b"),
    ],
)
def test_a_source_that_names_another_tenant_is_refused(source: str, tenant: str) -> None:
    assert refused(source=source, tenant=tenant).detail == (
        "source names another tenant than the attribute tenant does"
    )


def test_data_and_data_base64_exclude_each_other() -> None:
    assert refused(data_base64="QQ==").detail == "data and data_base64 exclude each other"


@pytest.mark.parametrize("message", [b"", b"MSH|^~\\&|\r", bytes(range(256))])
def test_data_base64_gives_bytes(message: bytes) -> None:
    assert read(data=None, data_base64=base64.b64encode(message).decode()).payload() == message


@pytest.mark.parametrize("text", ["SECRET!", "SECRE", "SECR\n===", "é", "\U0001f600"])
def test_what_is_not_base64_is_refused_when_it_is_read(text: str) -> None:
    event = read(data=None, data_base64=text)
    with pytest.raises(Reject) as caught:
        event.payload()
    assert (caught.value.reason, caught.value.detail) == ("invalid_envelope", "data_base64: not base64")


@pytest.mark.parametrize("data", [{"a": 1}, [1, "b"], "MSH|", 5, 1.5, True, [], {}, ""])
def test_data_may_be_any_json(data: Any) -> None:
    assert read(data=data).payload() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b"SECRET",
        b"{",
        b'{"specversion": "1.0",}',
        b"{'specversion': '1.0'}",
        b"\xff\xfe\x00",
        b'"\xc3\x28"',
        b'{"id": "\\ud800"}',
        json.dumps(GOOD).encode("utf-16"),
        json.dumps(GOOD).encode() + b"SECRET",
        json.dumps(GOOD).encode()[:-1],
        b"[" * 10_000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        b"MSH|^~\\&|SECRET",
    ],
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    assert (
        str(refusal(data))
        == "not_json: the record is not a JSON text in UTF-8, or is nested too deeply to be read"
    )


@pytest.mark.parametrize("data", [b"[]", b'"SECRET"', b"5", b"null", b"true", b'[{"specversion": "SECRET"}]'])
def test_json_that_is_no_object_is_refused(data: bytes) -> None:
    assert refusal(data).reason == "invalid_envelope"


def test_a_megabyte_of_junk_is_refused_by_its_size_alone() -> None:
    assert refusal(b"SECRET" * 180_000).reason == "too_large"
    assert refusal(b"x" * (LIMITS.record_bytes + 1)).reason == "too_large"
    assert refusal(b"x" * LIMITS.record_bytes).reason == "not_json"


def nested(levels: int, brackets: tuple[str, str] = ("[", "]")) -> Any:
    """JSON of so many levels."""
    return json.loads(brackets[0] * levels + brackets[1] * levels)


@pytest.mark.parametrize("over", [0, 1, 100])
def test_depth_is_limited(over: int) -> None:
    """The envelope is the first level, so data may have one less than the limit."""
    data = nested(LIMITS.depth - 1 + over)
    if over:
        assert refused(data=data).reason == "too_large"
    else:
        assert read(data=data).payload() == data


def test_brackets_beside_each_other_are_not_depth() -> None:
    data: list[Any] = [[{}] for _ in range(1000)]
    assert read(data=data).payload() == data
    assert read(data="[{" * 1000).payload() == "[{" * 1000


@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: [text], lambda text: {"a": [text]}, lambda text: {text: 1}]
)
@pytest.mark.parametrize("over", [0, 1])
def test_strings_are_limited_wherever_they_stand(wrap: Any, over: int) -> None:
    data = wrap("x" * (LIMITS.string_chars + over))
    if over:
        assert refused(data=data).reason == "too_large"
    else:
        assert read(data=data).payload() == data


def test_data_base64_is_limited_as_other_strings_are() -> None:
    assert read(data=None, data_base64="A" * LIMITS.string_chars)
    assert refused(data=None, data_base64="A" * (LIMITS.string_chars + 4)).reason == "too_large"


def test_check_size_follows_its_limits() -> None:
    limits = Limits(depth=3, string_chars=2)
    check_size({"ab": ["cd"]}, limits)
    wrong: list[Any] = [{"ab": [[]]}, {"abc": 1}, ["abc"], "abc"]
    for value in wrong:
        with pytest.raises(Reject):
            check_size(value, limits)


def test_a_record_without_a_sequence_has_that_of_its_place_on_the_stream() -> None:
    assert Record(b"", "12", 3).sequence() == "0" * 62 + "12." + "0" * 9 + "3"
    assert Record(b"", "9" * 56, 3).sequence() > Record(b"", "1" * 55, 4).sequence()


SECRET = "SECRET"
FIELDS = [*GOOD, "subject", "sequence", "datacontenttype", "data_base64", "unknown"]
LEAVES = st.sampled_from(
    [
        SECRET,
        f"{SECRET}\n",
        f"\x00{SECRET}",
        f"2026-{SECRET}",
        f"/tenants/{SECRET}",
        SECRET * 200,
        1,
        -1.5,
        None,
        True,
    ]
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([SECRET, "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def assert_tells_nothing(reject: Reject) -> None:
    """Neither the reject nor its traceback holds the planted word."""
    assert SECRET not in str(reject)
    assert SECRET not in repr(reject.args)
    assert SECRET not in "".join(traceback.format_exception(reject))


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(st.sampled_from([*FIELDS, SECRET]), JUNK, max_size=6), st.booleans())
def test_no_refusal_repeats_a_value_of_the_envelope(fields: dict[str, Any], complete: bool) -> None:
    document = {**GOOD, **fields} if complete else fields
    try:
        event = read_event(json.dumps(document).encode(), Limits(depth=3, string_chars=1000))
        event.payload()
    except Reject as reject:
        assert_tells_nothing(reject)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 200))
def test_no_refusal_repeats_bytes_and_nothing_but_a_reject_is_raised(
    junk: bytes, low: int, high: int
) -> None:
    """A good record with a piece replaced, as a torn write would leave it."""
    good = json.dumps({**GOOD, "data": SECRET, "id": SECRET, "type": SECRET}).encode()
    try:
        read_event(good[:low] + junk + good[high:], LIMITS).payload()
    except Reject as reject:
        assert_tells_nothing(reject)
