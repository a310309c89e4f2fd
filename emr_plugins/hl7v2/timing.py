"""When an appointment is: timestamps and durations, and in which fields they are looked for, one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import NamedTuple

from processors import times
from processors.items import aware_instant

from .er7 import Fields, Message, field, wrong
from .tables import UNITS

_DAY = timedelta(days=1)
_TIME = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,9}))?)?)?)?(?:([+-])(\d\d)([0-5]\d))?",
    re.ASCII,
)
_NUMBER = re.compile(r"\+?(\d{1,9}(?:\.\d{1,6})?)", re.ASCII)
_SIGNED = re.compile(r"([+-]?)(\d{1,9}(?:\.\d{1,6})?)", re.ASCII)
_TQ_DURATION = re.compile(r"([A-Za-z]?)(\d{1,9})(?: ?([A-Za-z]+))?", re.ASCII)


class When(NamedTuple):
    """A timestamp.

    Attributes:
        at: the instant; of a date without a time its first, in the tenant's zone.
        day: that date; None where there is a time.
    """

    at: datetime
    day: date | None = None


class Timing(NamedTuple):
    """What one place of a message says of the time.

    Attributes:
        start, end: where given.
        duration: where given and not 0.
        paths: the fields of start, end and duration, for reasons.
    """

    start: When | None
    end: When | None
    duration: timedelta | None
    paths: tuple[str, str, str]


@lru_cache(maxsize=8192)
def _read(text: str, zone: str, fold: int) -> When:
    """HL7's DTM: ``YYYYMMDD[HH[MM[SS[.S…]]]][+/-ZZZZ]``.

    Without an offset it is local time in the zone. Of an hour that comes twice, `fold` 0 is the first; an hour that is
    left out is read as if clocks had not been put forward yet.

    Raises:
        ValueError: it is none; says why, and does not quote it.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("must be a date, or date and time, as 20260309, 202603090930 or 20260309093000-0400")
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    micros = int((match[7] or "0")[:6].ljust(6, "0"))
    zone_info = times.zone(zone)
    try:
        local = datetime(year, month, day, hour, minute, second, micros, tzinfo=zone_info, fold=fold)
        if match[8] and match[4]:
            ahead = timedelta(hours=int(match[9]), minutes=int(match[10]))
            local = local.replace(tzinfo=timezone(-ahead if match[8] == "-" else ahead))
    except ValueError:
        raise ValueError("there is no such date and time") from None
    if not times.FIRST_YEAR < year < times.LAST_YEAR:
        raise ValueError(f"the year must lie between {times.FIRST_YEAR + 1} and {times.LAST_YEAR - 1}")
    at = aware_instant(local.astimezone(UTC))
    return When(at, None if match[4] else date(year, month, day))


def read_when(path: str, text: str, zone: str, fold: int = 0) -> When:
    """A timestamp of a field.

    Raises:
        Reject: it is none.
    """
    try:
        return _read(text, zone, fold)
    except ValueError as error:
        raise wrong(path, str(error)) from None


def later(when: When, by: timedelta, path: str) -> When:
    """So much later; a date without a time by whole days, the last of which is meant.

    Raises:
        Reject: by less than whole days, or too far.
    """
    if when.day is not None:
        if by % _DAY:
            raise wrong(path, "must be whole days, since the start is a date without a time")
        by -= _DAY
    try:
        at = aware_instant(when.at + by)
        return When(at, when.day and when.day + by)
    except OverflowError:
        raise wrong(path, "is too long") from None
    except ValueError as error:
        raise wrong(path, str(error)) from None


class Clock:
    """Reads the times of one message.

    Args:
        message: the message.
        zone: of times without an offset.
        unit: of durations without a unit.
    """

    def __init__(self, message: Message, zone: str, unit: str) -> None:
        self._message, self._zone, self._unit = message, zone, unit

    def when(self, path: str, raw: str, after: When | None = None) -> When | None:
        """A timestamp, if there is one; the second of two hours of one name where the first is not after the start."""
        text = self._message.text(raw)
        if not text:
            return None
        when = read_when(path, text, self._zone)
        if after is not None and when.at <= after.at:
            return read_when(path, text, self._zone, 1)
        return when

    def duration(self, path: str, raw: str, unit_path: str, unit: Iterable[str]) -> timedelta | None:
        """A duration with its unit; none where it is 0.

        Args:
            path: the field of the number.
            raw: it.
            unit_path: the field of the unit.
            unit: its raw components: the code, or else the text, counts.
        """
        text = self._message.text(raw)
        if not text:
            return None
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise wrong(path, "must be a number")
        return self._times(match[1], unit_path, unit)

    def offset(self, path: str, raw: str, unit_path: str, unit: Iterable[str]) -> timedelta:
        """How much later, or earlier, than the appointment something starts."""
        match = _SIGNED.fullmatch(self._message.text(raw) or "0")
        if match is None:
            raise wrong(path, "must be a number")
        by = self._times(match[2], unit_path, unit) or timedelta()
        return -by if match[1] == "-" else by

    def _times(self, number: str, unit_path: str, unit: Iterable[str]) -> timedelta | None:
        if not float(number):
            return None
        names = [name for raw in unit if (name := self._message.text(raw).lower())]
        seconds = next((UNITS[name] for name in names if name in UNITS), None)
        if seconds is None:
            if names:
                raise wrong(unit_path, "is not a unit of time that is known here (s, min, h, d or wk)")
            seconds = UNITS[self._unit]
        try:
            return timedelta(seconds=float(number) * seconds)
        except OverflowError:
            raise wrong(unit_path, "the duration is too long") from None

    def tq_duration(self, path: str, raw: str) -> timedelta | None:
        """The duration of a TQ: ``M30``, and as it is also written ``30`` or ``30 min``."""
        text = self._message.text(raw)
        if not text:
            return None
        match = _TQ_DURATION.fullmatch(text)
        if match is None or (match[1] and match[3]):
            raise wrong(path, "must be a duration, as M30")
        return self._times(match[2], path, [match[1] or match[3] or ""])


def of_tq1(message: Message, clock: Clock) -> Iterator[Timing]:
    """TQ1-7, TQ1-8 and TQ1-6, of each TQ1."""
    for fields in message.segments.get("TQ1", ()):
        if not any(fields[6:9]):
            continue
        quantity, *unit = message.components(fields, 6)
        start = clock.when("TQ1-7", message.components(fields, 7)[0])
        end = clock.when("TQ1-8", message.components(fields, 8)[0], start)
        duration = clock.duration("TQ1-6", quantity, "TQ1-6.2", unit[:1]) if not end else None
        yield Timing(start, end, duration, ("TQ1-7", "TQ1-8", "TQ1-6"))


def of_sch_11(message: Message, clock: Clock, sch: Fields) -> Iterator[Timing]:
    """The components 4, 5 and 3 of SCH-11, of each repetition."""
    raw = field(sch, 11)
    if not raw:
        return
    for repetition in message.repetitions(raw):
        parts = [*message.split(repetition), "", "", "", "", ""]
        if any(parts[2:5]):
            start = clock.when("SCH-11.4", parts[3])
            end = clock.when("SCH-11.5", parts[4], start)
            duration = clock.tq_duration("SCH-11.3", parts[2]) if not end else None
            yield Timing(start, end, duration, ("SCH-11.4", "SCH-11.5", "SCH-11.3"))


_START = {"AIS": 4, "AIG": 8, "AIL": 6, "AIP": 6}
"""The number of the field Start Date/Time; behind it stand offset, its units, duration and its units."""


def of_resources(
    message: Message, clock: Clock, segments: Iterable[tuple[str, Fields]], start: When | None
) -> list[Timing]:
    """The own times of services and resources.

    Args:
        message: the message.
        clock: reads it.
        segments: name and fields of each.
        start: of the appointment, which offsets count from; if None they count from the earliest start of these.
    """
    own: list[tuple[str, Fields, When | None]] = []
    for name, fields in segments:
        at = _START[name]
        if any(fields[at : at + 5]):
            own.append((name, fields, clock.when(f"{name}-{at}", message.components(fields, at)[0])))
    base = start or min((when for _, _, when in own if when), key=lambda when: when.at, default=None)
    found = []
    for name, fields, when in own:
        at = _START[name]
        if when is None and base is not None and base.day is None:
            path, units = f"{name}-{at + 1}", message.components(fields, at + 2)
            raw = message.components(fields, at + 1)[0]
            when = later(base, clock.offset(path, raw, f"{name}-{at + 2}", units[:2]), path)
        path, units = f"{name}-{at + 3}", message.components(fields, at + 4)
        raw = message.components(fields, at + 3)[0]
        duration = clock.duration(path, raw, f"{name}-{at + 4}", units[:2])
        found.append(Timing(when or base, None, duration, (f"{name}-{at}", path, path)))
    return found


def of_sch_9(message: Message, clock: Clock, sch: Fields) -> list[Timing]:
    """The duration of SCH-9 and SCH-10."""
    raw, unit = field(sch, 9), message.components(sch, 10)
    # Some senders write number and unit into the one field, as 30^MIN.
    number, *inside = message.split(raw)
    duration = clock.duration("SCH-9", number, "SCH-10", [*unit[:2], *inside[:1]])
    return [Timing(None, None, duration, ("SCH-9", "SCH-9", "SCH-9"))]


def find(sources: Iterable[Callable[[When | None], Iterable[Timing]]]) -> tuple[When, When | None]:
    """The start, and the end if there is one, from the first sources that give them.

    What one source says several times is taken together, from the first start to the last end.

    Args:
        sources: give their timings when they are asked, so that those behind may be wrong; each is told the start
            that is known by then.

    Raises:
        Reject: there is no start, the end is not after it, or the times of one source are more than a day apart.
    """
    start: When | None = None
    for source in sources:
        timings = list(source(start))
        own = start is None
        if own:
            starts = sorted((t.start for t in timings if t.start), key=_instant)
            if starts:
                start = starts[0]
                if starts[-1].at - start.at > _DAY:
                    raise wrong(
                        timings[0].paths[0], "the times are more than a day apart; send each by itself"
                    )
        if start is None:
            continue
        ends = [end for t in timings if (end := _end(t, start)) and (own or end.at > start.at)]
        if ends:
            end = max(ends, key=_instant)
            if end.at < start.at or (end.at == start.at and end.day is None):
                raise wrong(timings[0].paths[1], "must be after the start")
            return start, end
    if start is None:
        raise wrong("TQ1-7, SCH-11.4, AIS-4 or AIP-6", "no start is given")
    return start, None


def _instant(when: When) -> datetime:
    return when.at


def _end(timing: Timing, start: When) -> When | None:
    if timing.end is not None:
        return timing.end
    return later(timing.start or start, timing.duration, timing.paths[2]) if timing.duration else None
