"""Keys keep tenants, EMRs, providers and items apart; encoded revisions sort as revisions do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.keys import ItemKey, ProviderKey, decode_part, encode_part
from processors.revisions import MAX_VERSION, Revision, kinesis_sequence

PART = st.text(st.sampled_from("ab#%/|~. 2é\U0001f600\x00"), max_size=6) | st.text(max_size=8)
KIND = st.sampled_from(["appointment", "slot", "time_off"])
PROVIDER = st.builds(ProviderKey, PART, PART, PART)
ITEM = st.builds(ItemKey, PART, PART, KIND, PART)


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("plain-._~09AZaz", "plain-._~09AZaz"),
        ("a#b", "a%23b"),
        ("a/b c", "a%2Fb%20c"),
        ("50%", "50%25"),
        ("%23", "%2523"),
        ("+|&=", "%2B%7C%26%3D"),
        ("Zoë", "Zo%C3%AB"),
        ("\U0001f600", "%F0%9F%98%80"),
        ("\x00", "%00"),
        ("", ""),
    ],
)
def test_a_key_part_is_percent_encoded(text: str, encoded: str) -> None:
    assert encode_part(text) == encoded
    assert decode_part(encoded) == text


@given(PART)
def test_percent_encoding_turns_back_and_leaves_no_separator(text: str) -> None:
    assert decode_part(encode_part(text)) == text
    assert "#" not in encode_part(text)
    assert encode_part(text).isascii()


@given(PROVIDER, PROVIDER)
def test_no_two_providers_share_a_partition_key(one: ProviderKey, other: ProviderKey) -> None:
    assert (one.pk() == other.pk()) == (one == other)
    assert (one.group() == other.group()) == (one[:2] == other[:2])
    assert (one.partition_key() == other.partition_key()) == (one == other)


@given(ITEM, ITEM, PROVIDER)
def test_no_two_items_share_an_owner_record_and_none_lies_in_a_provider(
    one: ItemKey, other: ItemKey, provider: ProviderKey
) -> None:
    assert (one.owner_pk() == other.owner_pk()) == (one == other)
    assert (one.sk() == other.sk()) == (one[2:] == other[2:])
    assert one.owner_pk() != provider.pk()


def test_keys_are_laid_out_as_documented() -> None:
    assert ProviderKey("t#1", "acme", "dr/a").pk() == "t%231#acme#dr%2Fa"
    assert ProviderKey("t#1", "acme", "dr/a").group() == "t%231#acme"
    assert ItemKey("t", "acme", "slot", "a#1").sk() == "slot#a%231"
    assert ItemKey("t", "acme", "slot", "a#1").owner_pk() == "t#acme#item#slot#a%231"


@pytest.mark.parametrize("length", [1, 200, 248, 249, 250, 2000])
def test_a_kinesis_partition_key_fits_however_long_the_names_are(length: int) -> None:
    key = ProviderKey("tenant", "e", "p" * length)
    other = ProviderKey("tenant", "e", "p" * (length - 1) + "q")
    assert len(key.partition_key()) <= 256
    assert key.partition_key() != other.partition_key()
    assert (key.partition_key() == key.pk()) == (len(key.pk()) <= 256)


MOMENTS = st.datetimes(
    datetime.fromisoformat("1971-01-01"),
    datetime.fromisoformat("2198-12-31"),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5))]),
) | st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)])
VERSIONS = st.integers(0, MAX_VERSION) | st.integers(0, 11)
SEQUENCES = st.text(max_size=6) | st.text(st.sampled_from("0|9."), max_size=4)
REVISIONS = st.builds(Revision.of, VERSIONS, MOMENTS, SEQUENCES)


@given(REVISIONS, REVISIONS)
def test_encoded_revisions_sort_as_revisions_do(one: Revision, other: Revision) -> None:
    assert (one.encode() < other.encode()) == (one < other)
    assert (one.encode() == other.encode()) == (one == other)


@given(REVISIONS)
def test_a_revision_turns_back(revision: Revision) -> None:
    assert Revision.decode(revision.encode()) == revision


@given(VERSIONS, MOMENTS, MOMENTS)
def test_revisions_of_one_version_are_ordered_by_time_whatever_the_offset(
    version: int, one: datetime, other: datetime
) -> None:
    assert (Revision.of(version, one, "") < Revision.of(version, other, "")) == (one < other)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ((0, "2026-01-01T00:00:00+00:00", "1"), (0, "2026-01-01T00:00:00+00:00", "2")),
        ((0, "2026-01-01T00:00:00+00:00", "9"), (0, "2026-01-01T00:00:00.000001+00:00", "1")),
        ((0, "2026-01-01T01:00:00+01:00", "1"), (0, "2026-01-01T00:00:00+00:00", "2")),
        ((9, "2027-01-01T00:00:00+00:00", "9"), (10, "2026-01-01T00:00:00+00:00", "1")),
        (
            (MAX_VERSION - 1, "2027-01-01T00:00:00+00:00", "9"),
            (MAX_VERSION, "2026-01-01T00:00:00+00:00", "1"),
        ),
    ],
)
def test_version_comes_first_then_time_then_sequence(
    older: tuple[int, str, str], newer: tuple[int, str, str]
) -> None:
    one, other = (
        Revision.of(version, datetime.fromisoformat(time), sequence)
        for version, time, sequence in (older, newer)
    )
    assert one < other
    assert one.encode() < other.encode()


NUMBERS = st.integers(0, 10**56) | st.integers(0, 100)
SUB_NUMBERS = st.integers(0, 2**31)


@given(NUMBERS, SUB_NUMBERS, NUMBERS, SUB_NUMBERS)
def test_kinesis_sequences_sort_as_their_numbers_do(
    number: int, sub: int, other_number: int, other_sub: int
) -> None:
    one, other = kinesis_sequence(str(number), sub), kinesis_sequence(str(other_number), other_sub)
    assert (one < other) == ((number, sub) < (other_number, other_sub))
