"""What to write for a change of an item, as tables: what is stored, what comes, what follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from processors.impacts import Change, Impacts
from processors.items import Item, body_from_json
from processors.keys import ItemKey
from processors.revisions import Revision
from processors.times import Interval
from processors.upserts import Copy, Owner, Verdict, impacts_at, judge, judge_full, outlives

KEY = ItemKey("acme", "standard", "appointment", "ap-1")
HOUR = 3_600_000_000
START = int(datetime(2026, 3, 9, tzinfo=UTC).timestamp()) * 1_000_000
EXPIRES, OWNER_EXPIRES = 1000, 2000


def when(hour: int) -> Interval:
    """An hour of the day."""
    return START + hour * HOUR, START + (hour + 1) * HOUR


def item(version: int, *providers: str, hour: int = 9, status: str = "booked") -> Item:
    """A revision of the appointment."""
    body = body_from_json(
        "appointment",
        f'{{"start":"2026-03-09T{hour:02d}:00:00Z","end":"2026-03-09T{hour + 1:02d}:00:00Z","status":"{status}"}}',
    )
    return Item(KEY, providers, Revision(version, "2026-03-01T00:00:00.000000Z", "1"), body)


def working_hours(version: int, provider: str, zone: str | None) -> Item:
    """Working hours without any hours, but with a zone."""
    body = body_from_json("working_hours", "{}" if zone is None else f'{{"time_zone":"{zone}"}}')
    key = ItemKey("acme", "standard", "working_hours", "wh-1")
    return Item(key, (provider,), Revision(version, "t", "1"), body)


def copy(
    provider: str, of: Item, impacts: Impacts | None = None, owner_expires_at: int | None = OWNER_EXPIRES
) -> Copy:
    """The copy of an item under a provider."""
    return Copy(provider, of, impacts or Impacts(), owner_expires_at)


def owner(
    version: int, providers: tuple[str, ...], holders: tuple[str, ...], impacts: Impacts | None = None
) -> Owner:
    """The owner record."""
    return Owner(KEY, providers, holders, item(version).revision, impacts or Impacts(), OWNER_EXPIRES)


def touches(provider: str, change: Change) -> tuple[Interval, ...]:
    """The time before and after, as the standard rules have it."""
    bodies = [one.body for one in (change.old, change.new) if one is not None]
    return tuple(hull for body in bodies if (hull := body.hull()) is not None)


@pytest.mark.parametrize(
    ("new", "stored", "verdict"),
    [
        (item(2, "p1"), None, Verdict.NEW),
        (item(2, "p1"), copy("p1", item(1, "p1")), Verdict.STEADY),
        (item(2, "p1"), copy("p1", item(2, "p1")), Verdict.REPLAY),
        (item(2, "p1"), copy("p1", item(3, "p1")), Verdict.SUPERSEDED),
        (item(2), None, Verdict.FULL),
        (item(2, "p1", "p2"), copy("p1", item(1, "p1")), Verdict.FULL),
        (item(2, "p1"), copy("p1", item(1, "p2")), Verdict.FULL),  # a tombstone comes back
        (item(2, "p1"), copy("p1", item(1, "p1", "p2")), Verdict.FULL),
        (item(2, "p1"), copy("p1", item(3, "p2")), Verdict.SUPERSEDED),  # a tombstone newer than this
        (item(2, "p1"), copy("p1", item(2, "p2")), Verdict.REPLAY),
        (item(2, "p1"), copy("p1", item(1, "p1"), owner_expires_at=EXPIRES - 1), Verdict.FULL),
        (item(2, "p1"), copy("p1", item(1, "p1"), owner_expires_at=EXPIRES), Verdict.STEADY),
        (item(2, "p1"), copy("p1", item(1, "p1"), owner_expires_at=None), Verdict.STEADY),
    ],
)
def test_the_way_that_the_providers_own_copy_tells(new: Item, stored: Copy | None, verdict: Verdict) -> None:
    assert judge(new, stored, EXPIRES) is verdict


@pytest.mark.parametrize(
    ("item_expires", "owner_expires", "longer"),
    [(1, 2, False), (2, 2, False), (3, 2, True), (None, 2, True), (None, None, False), (9, None, False)],
)
def test_an_owner_record_must_outlive_its_item(
    item_expires: int | None, owner_expires: int | None, longer: bool
) -> None:
    assert outlives(item_expires, owner_expires) is longer


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (None, item(2, "p1", hour=9), (when(9),)),
        (item(1, "p1", hour=9), None, (when(9),)),
        (item(1, "p1", hour=9), item(2, "p1", hour=14), (when(9), when(14))),
        (item(1, "p1", hour=9), item(2, "p1", hour=9), ()),  # nothing it says has changed
        (None, None, ()),
    ],
)
def test_a_change_touches_the_old_and_the_new_time(
    old: Item | None, new: Item | None, expected: tuple[Interval, ...]
) -> None:
    assert dict(impacts_at("p1", old, new, touches).items()) == ({"p1": expected} if expected else {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, working_hours(1, "p1", None)),
        (working_hours(1, "p1", None), None),
        (working_hours(1, "p1", "UTC"), working_hours(2, "p1", "Asia/Kathmandu")),
        (working_hours(1, "p1", "UTC"), working_hours(2, "p1", None)),
    ],
)
def test_what_moves_the_zone_touches_every_day_whatever_the_plugin_says(
    old: Item | None, new: Item | None
) -> None:
    assert dict(impacts_at("p1", old, new, lambda provider, change: ()).items()) == {"p1": None}


def full(
    new: Item, stored: Owner | None, *copies: Copy, settled: bool = False
) -> tuple[Verdict, dict[str, Any], dict[str, tuple[str, ...]]]:
    """Verdict, impacts, and for each copy rewritten the providers of its item."""
    verdict, impacts, rewrite = judge_full(new, stored, copies, touches, EXPIRES, 500, lambda one: settled)
    live = {one.provider: one.item.providers for one in rewrite.copies} if rewrite else {}
    if rewrite is not None:
        assert verdict is Verdict.FULL
        assert rewrite.owner_expect == (stored.revision if stored else None)
        there = {one.provider: one.item.revision for one in copies}
        assert rewrite.copies_expect == {provider: there.get(provider) for provider in rewrite.owner.holders}
        assert {one.item.revision for one in rewrite.copies} | {rewrite.owner.revision} == {new.revision}
        assert all(one.impacts == rewrite.owner.impacts == impacts for one in rewrite.copies)
        assert rewrite.owner.expires_at == EXPIRES + 500
        assert rewrite.owner.holders == tuple(sorted(live))
    return verdict, dict(impacts.items()), live


def test_a_new_item_of_two_providers_is_live_under_both() -> None:
    assert full(item(1, "p1", "p2"), None) == (
        Verdict.FULL,
        {"p1": (when(9),), "p2": (when(9),)},
        {"p1": ("p1", "p2"), "p2": ("p1", "p2")},
    )


def test_a_hand_over_leaves_a_tombstone_and_touches_both_ends() -> None:
    stored = owner(1, ("p1",), ("p1",))
    assert full(item(2, "p2", hour=14), stored, copy("p1", item(1, "p1", hour=9))) == (
        Verdict.FULL,
        {"p1": (when(9),), "p2": (when(14),)},
        {"p1": ("p2",), "p2": ("p2",)},
    )


def test_a_tombstone_that_comes_back_touches_only_what_it_has_now() -> None:
    stored = owner(2, ("p2",), ("p1", "p2"))
    moved = item(2, "p2", hour=9)
    verdict, impacts, _ = full(item(3, "p1", hour=14), stored, copy("p1", moved), copy("p2", moved))
    assert (verdict, impacts) == (Verdict.FULL, {"p1": (when(14),), "p2": (when(9),)})


def test_an_item_of_nobody_stays_with_whoever_has_it() -> None:
    stored = owner(1, ("p2",), ("p1", "p2"))
    before = item(1, "p2", hour=9)
    verdict, impacts, live = full(item(2, status="cancelled"), stored, copy("p1", before), copy("p2", before))
    assert (verdict, live) == (Verdict.FULL, {"p1": ("p2",), "p2": ("p2",)})
    assert impacts == {"p2": (when(9),)}


def test_an_item_of_nobody_that_is_not_known_is_an_owner_record_alone() -> None:
    assert full(item(2, status="cancelled"), None) == (Verdict.FULL, {}, {})


@pytest.mark.parametrize(
    ("stored", "copies"),
    [
        (owner(3, (), ()), ()),
        (owner(1, ("p1",), ("p1",)), (copy("p1", item(3, "p1")),)),
        (owner(1, ("p1",), ("p1", "p2")), (copy("p1", item(1, "p1")), copy("p2", item(3, "p1")))),
    ],
    ids=["by the owner record", "by a copy that took the steady path", "by any copy"],
)
def test_something_newer_anywhere_supersedes(stored: Owner, copies: tuple[Copy, ...]) -> None:
    assert full(item(2, "p1"), stored, *copies) == (Verdict.SUPERSEDED, {}, {})


@pytest.mark.parametrize("settled", [False, True])
def test_a_replay_gives_the_stored_impacts_even_if_they_were_settled(settled: bool) -> None:
    stored = owner(2, ("p1",), ("p1",))
    there = copy("p1", item(2, "p1"), impacts=Impacts({"p1": (when(9),), "p3": None}))
    verdict, impacts, _ = full(item(2, "p1"), stored, there, settled=settled)
    assert (verdict, impacts) == (Verdict.REPLAY, {"p1": (when(9),), "p3": None})


def test_an_owner_record_whose_copy_was_never_written_is_gone_on_from() -> None:
    stored = owner(2, ("p1",), ("p1",), impacts=Impacts({"p1": (when(9),)}))
    assert full(item(2, "p1"), stored) == (Verdict.FULL, {"p1": (when(9),)}, {"p1": ("p1",)})
    verdict, impacts, _ = full(item(3, "p2", hour=14), stored)
    assert (verdict, impacts) == (Verdict.FULL, {"p1": (when(9),), "p2": (when(14),)})


@pytest.mark.parametrize("settled", [False, True])
def test_what_is_stored_and_may_not_be_settled_is_taken_over(settled: bool) -> None:
    stored = owner(1, ("p1",), ("p1",))
    there = copy("p1", item(2, "p1", hour=9), impacts=Impacts({"p1": (when(7),), "p4": None}))
    _, impacts, _ = full(item(3, "p2", hour=14), stored, there, settled=settled)
    own = {"p1": (when(9),), "p2": (when(14),)}
    assert impacts == (own if settled else {"p1": (when(7), when(9)), "p2": (when(14),), "p4": None})


def test_a_copy_knows_whether_it_is_live_and_alone() -> None:
    assert (copy("p1", item(1, "p1")).live, copy("p1", item(1, "p1")).sole) == (True, True)
    assert (copy("p1", item(1, "p1", "p2")).live, copy("p1", item(1, "p1", "p2")).sole) == (True, False)
    assert (copy("p1", item(1, "p2")).live, copy("p1", item(1, "p2")).sole) == (False, False)
