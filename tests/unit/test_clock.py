"""The one clock: what a pinned date changes, and what it does not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from kcl_app.clock import Clock

DAY = 86_400
PINNED = date(2013, 3, 9)


class Stopped(Clock):
    """The real time stands at 2026-03-09T03:30:00Z, 23:30 of the day before in New York."""

    def now(self) -> datetime:
        return datetime(2026, 3, 9, 3, 30, tzinfo=UTC)

    def seconds(self) -> float:
        return self.now().timestamp()


def test_the_real_time_is_in_utc() -> None:
    clock = Clock()
    assert clock.now().tzinfo is UTC
    assert abs(clock.seconds() - clock.now().timestamp()) < 5


def test_today_is_the_date_in_the_zone() -> None:
    clock = Clock()
    east, west = clock.today("Pacific/Kiritimati"), clock.today("Pacific/Pago_Pago")
    # 25 hours apart, so never the same date.
    assert timedelta(days=1) <= east - west <= timedelta(days=2)


def test_a_pinned_date_holds_in_every_zone_and_time_goes_on() -> None:
    clock = Clock(PINNED)
    assert {clock.today(zone) for zone in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago")} == {PINNED}
    assert clock.now().year >= 2026


def test_an_unknown_zone_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a time zone"):
        Clock().today("Mars/Olympus")


def test_without_a_pinned_date_an_expiry_is_what_it_says() -> None:
    assert Stopped().expiry_at(1_000_000.75) == 1_000_000


def test_under_a_pinned_date_the_same_stretch_of_time_lies_ahead() -> None:
    clock = Stopped(PINNED)
    in_a_week = datetime(2013, 3, 16, tzinfo=UTC).timestamp()
    assert clock.expiry_at(in_a_week) == datetime(2026, 3, 16, tzinfo=UTC).timestamp()


def test_something_stays_so_long_after_its_end_or_after_now_if_that_is_later() -> None:
    clock = Stopped()
    now = clock.seconds()
    assert clock.expiry_after(now + DAY, 10 * DAY) == now + 11 * DAY
    assert clock.expiry_after(now - 400 * DAY, 10 * DAY) == now + 10 * DAY
    assert clock.expiry_after(0, 10 * DAY) == now + 10 * DAY
    pinned = Stopped(PINNED)
    tomorrow = datetime(2013, 3, 10, tzinfo=UTC).timestamp()
    assert pinned.expiry_after(tomorrow, DAY) == datetime(2026, 3, 11, tzinfo=UTC).timestamp()
