"""Whatever a plugin raises, returns or does not return, its event or its provider-day fails and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, date, datetime, timedelta, tzinfo
from enum import IntEnum, StrEnum
from typing import Any, ClassVar, NoReturn

import pytest
from pydantic import BaseModel, ConfigDict, field_validator

from emr_plugins.answers import MAX_CAPACITY, MAX_CHANGES, MAX_SPANS, MAX_TOUCHED
from emr_plugins.api import (
    API_VERSION,
    Appointment,
    Change,
    Context,
    Event,
    Instants,
    Item,
    ItemChange,
    LocalDates,
    Reject,
    Slot,
    Span,
    StandardEnginePlugin,
    Touched,
)
from emr_plugins.breaker import Breakers, Policy
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from emr_plugins.time_limit import TimeLimit
from processors.items import BODIES
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.times import instant

SHORT = 0.25
DAY = date(2026, 3, 9)
MARKER = "Zq7marker"


def at(hour: int) -> datetime:
    return datetime(2026, 3, 9, hour, tzinfo=UTC)


def for_ever(*_: Any) -> NoReturn:
    while True:
        pass


def fails(*_: Any) -> NoReturn:
    raise RuntimeError(MARKER)


class AnyPlugin(StandardEnginePlugin):
    """Answers with whatever its test gives it."""

    name: ClassVar[str] = "any"
    api_version: ClassVar[int] = API_VERSION

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        answer: Iterable[ItemChange] = self.answer()
        return answer

    def impact(self, change: Change, context: Context) -> Iterable[Touched]:
        answer: Iterable[Touched] = self.answer()
        return answer

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        answer: Sequence[Span] = self.answer()
        return answer


class Heard:
    """A host with everything on, and what it tells."""

    def __init__(self, plugin: Any, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.now = 0.0
        self.failed: list[tuple[str, str, str]] = []
        self.suspended: list[tuple[str, str, str, bool]] = []
        self.timed: list[tuple[str, str]] = []
        tenant = Tenant("UTC", settings or {})
        registry = Registry()
        registry.add(StandardPlugin(), "tests", "1")
        registry.add(plugin, "tests", "1")
        assert not registry.refused
        breakers = Breakers(
            Policy(call_seconds=SHORT, failures=4),
            lambda: self.now,
            lambda: 1.0,
            lambda call, scope, number, begins: self.suspended.append(
                (call.plugin, call.method, scope, begins)
            ),
        )
        self.host = PluginHost(
            registry,
            lambda name: tenant,
            self._timer,
            limit=TimeLimit(SHORT),
            breakers=breakers,
            failed=lambda *what: self.failed.append(what),
        )

    def _timer(self, plugin: str, method: str) -> AbstractContextManager[None]:
        self.timed.append((plugin, method))
        return nullcontext()

    def decode(self, subject: str | None = "p1", type_: str = "x", emr: str = "any") -> Any:
        envelope = {"specversion": "1.0", "id": "e1", "source": "s", "time": "2026-01-01T00:00:00Z"}
        more = {"type": type_, "tenant": "t", "emr": emr, "subject": subject, "data": {"name": MARKER}}
        return self.host.decode(Event.model_validate(envelope | more))

    def impact(self) -> Any:
        key = ItemKey("t", "any", "slot", "s1")
        item = Item(key, ("p1",), Revision.of(1, at(0), "1"), slot())
        return self.host.impact(ProviderKey("t", "any", "p1"), lambda: "UTC", Change(None, item))

    def spans(self, provider: str = "p1", tenant: str = "t", emr: str = "any") -> Any:
        return self.host.spans(ProviderKey(tenant, emr, provider), "UTC", DAY, [])


def host(answer: Callable[[], Any]) -> Heard:
    return Heard(AnyPlugin(answer))


def refused(call: Callable[[], Any]) -> Reject:
    with pytest.raises(Reject) as caught:
        call()
    assert MARKER not in str(caught.value)
    return caught.value


def slot() -> Slot:
    return Slot(status="free", start=at(14), end=at(15))


# Values that are worse than wrong ------------------------------------------------------------------------------------


class LateZone(tzinfo):
    """A zone that fails, hangs, or has another offset each time it is asked."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        offset: timedelta | None = self._answer()
        return offset

    def dst(self, when: datetime | None) -> timedelta | None:
        return timedelta(0)

    def tzname(self, when: datetime | None) -> str:
        return "late"


class LateTime(datetime):
    """A time that fails as soon as it is compared or asked for its offset."""

    utcoffset = fails
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = fails
    __hash__ = datetime.__hash__


class Hanging(LateTime):
    utcoffset = for_ever


class LyingSpan(Span):
    """Is another span each time."""

    __slots__ = ()
    __iter__ = fails
    __lt__ = fails


class LyingList(list[Any]):
    __len__ = fails
    __iter__ = for_ever


class Liar:
    """Says that it is whatever it is asked to be."""

    __class__ = datetime  # type: ignore[assignment]
    utcoffset = fails


class Text(str):
    """A text that cannot be compared, hashed or shown."""

    __eq__ = fails
    __hash__ = fails
    __str__ = fails
    __len__ = fails


class Where(StrEnum):
    MAIN = "main"


class HowMany(IntEnum):
    TWO = 2


def late(answer: Callable[[], Any]) -> Span:
    return Span(datetime(2026, 3, 9, 9, tzinfo=LateZone(answer)), at(10))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: [late(fails)], "plugin_nonsense"),
        (lambda: [late(lambda: None)], "plugin_nonsense"),
        (lambda: [late(lambda: "hours")], "plugin_nonsense"),
        (lambda: [late(lambda: timedelta(days=3))], "plugin_nonsense"),
        (lambda: [late(for_ever)], "plugin_timeout"),
        (lambda: [Span(LateTime(2026, 3, 9, 9, tzinfo=UTC), at(10))], "plugin_nonsense"),
        (lambda: [Span(Hanging(2026, 3, 9, 9, tzinfo=UTC), at(10))], "plugin_timeout"),
        (lambda: [Span(Liar(), at(10))], "plugin_nonsense"),  # type: ignore[arg-type]
        (lambda: [LyingSpan(at(9), at(10))], "plugin_nonsense"),
        (lambda: LyingList(), "plugin_timeout"),
        (lambda: [Span(datetime.min.replace(tzinfo=UTC), at(10))], "plugin_nonsense"),
        (lambda: [Span(at(9), at(10), None, (), 10**5000)], "plugin_nonsense"),
        (lambda: [Span(at(9), at(10), None, (), MAX_CAPACITY + 1)], "plugin_nonsense"),
        (lambda: [Span(at(9), at(10), "\ud800")], "plugin_nonsense"),
        (lambda: (Span(at(9), at(10)) for _ in range(1)), "plugin_nonsense"),
        (lambda: {Span(at(9), at(10))}, "plugin_nonsense"),
        (lambda: [Span(at(9), at(10))] * (MAX_SPANS + 1), "document_too_large"),
        (for_ever, "plugin_timeout"),
        (lambda: time.sleep(60), "plugin_timeout"),
        (fails, "plugin_failed"),
    ],
)
def test_what_spans_returns_fails_its_own_day(answer: Callable[[], Any], reason: str) -> None:
    heard = host(answer)
    assert refused(heard.spans).reason == reason
    outcome = {"plugin_nonsense": "nonsense", "plugin_timeout": "timeout", "plugin_failed": "raised"}.get(
        reason
    )
    assert heard.failed == ([("any", "spans", outcome)] if outcome else [])


def test_good_spans_of_other_types_become_plain_ones() -> None:
    """Times in any zone, enums as texts and numbers: a plugin author may well write that."""
    east = LateZone(lambda: timedelta(hours=2))
    odd = Span(datetime(2026, 3, 9, 11, tzinfo=east), at(10), Where.MAIN, (Where.MAIN,), HowMany.TWO)
    (span,) = host(lambda: [odd]).spans()
    assert span == Span(at(9), at(10), "main", ("main",), 2)
    assert [type(value) for value in span] == [datetime, datetime, str, tuple, int]
    assert type(span.service_types[0]) is str
    assert span.start.tzinfo is UTC


def test_a_zone_that_changes_its_mind_is_asked_once() -> None:
    offsets = iter([timedelta(0), timedelta(0)])
    assert host(lambda: [late(lambda: next(offsets))]).spans() == (Span(at(9), at(10)),)


class Slippery(ItemChange):
    """An item change that is none: its class decides what its fields say."""

    __slots__ = ()
    providers = property(fails)


def construct(**fields: Any) -> Appointment:
    """A body made past its validation."""
    return Appointment.model_construct(**fields)


def change(id_: Any = "s1", body: Any = None, providers: Any = ("p1",), version: Any = 0) -> ItemChange:
    return ItemChange(id_, slot() if body is None else body, providers, version)


def slippery() -> ItemChange:
    made = object.__new__(Slippery)
    for name, value in (("id", "s1"), ("body", slot()), ("version", 0), ("kind", "slot")):
        object.__setattr__(made, name, value)
    return made


def unhashable_kind() -> ItemChange:
    made = change()
    object.__setattr__(made, "kind", [])
    return made


def endless() -> Iterator[ItemChange]:
    while True:
        yield change()


def stuck() -> Iterator[ItemChange]:
    yield change()
    for_ever()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: [slippery()], "plugin_nonsense"),
        (lambda: [change(Text("s1"))], None),
        (lambda: [change(providers=(Text("p1"),))], None),
        (lambda: [unhashable_kind()], None),
        (lambda: [change(body=construct(status="booked", start=MARKER, end=at(2)))], "plugin_nonsense"),
        (lambda: [change(body=construct(status="nonsense", start=at(1), end=at(2)))], "plugin_nonsense"),
        (lambda: [change(body=construct(status="booked", start=at(2), end=at(1)))], "plugin_nonsense"),
        (lambda: [change(body=construct(status="booked"))], "plugin_nonsense"),
        (lambda: [change(version=10**5000)], "invalid_data"),
        (endless, "too_large"),
        (stuck, "plugin_timeout"),
        (lambda: LyingList(), "plugin_timeout"),
        (for_ever, "plugin_timeout"),
        (fails, "plugin_failed"),
    ],
)
def test_what_decode_returns_fails_its_own_event(answer: Callable[[], Any], reason: str | None) -> None:
    heard = host(answer)
    if reason is None:
        (found,) = heard.decode()
        assert (found.id, found.providers, found.kind) == ("s1", ("p1",), "slot")
        assert {type(found.id), type(found.providers[0])} == {str}
    else:
        assert refused(heard.decode).reason == reason


def test_every_body_that_decode_may_return_reads_back_as_it_is() -> None:
    made = {
        "working_hours": {"weekly": [{"days": ["mon"], "start": "09:00", "end": "17:00", "capacity": 3}]},
        "date_override": {"date": DAY, "hours": []},
        "time_off": {"start": "2026-12-25", "end": "2026-12-26"},
        "appointment": {"start": at(1), "end": at(2), "status": "booked"},
        "slot": {"start": at(1), "end": at(2), "status": "free"},
        "availability": {"date": DAY, "spans": [{"start": at(1), "end": at(2)}]},
    }
    assert set(made) == set(BODIES)
    for kind, fields in made.items():
        body = BODIES[kind].model_validate(fields)
        (found,) = host(lambda body=body: [change(body=body)]).decode()  # type: ignore[misc]
        assert found.body == body


@pytest.mark.parametrize(
    "answer",
    [
        fails,
        for_ever,
        lambda: [Instants(at(10), at(9))],
        lambda: [LocalDates(DAY, DAY - timedelta(days=1))],
        lambda: [LocalDates("2026", "2027")],  # type: ignore[arg-type]
        lambda: [Instants(LateTime(2026, 3, 9, tzinfo=UTC), at(9))],
        lambda: [Instants(datetime(2026, 3, 9), at(9))],  # noqa: DTZ001
        lambda: [Instants(at(9), at(10))] * (MAX_TOUCHED + 1),
        lambda: iter(lambda: Instants(at(9), at(10)), None),
    ],
)
def test_what_impact_returns_means_every_day_where_it_makes_no_sense(answer: Callable[[], Any]) -> None:
    assert host(answer).impact() is None


def test_good_impacts_are_taken() -> None:
    (found,) = host(lambda: [Instants(at(9), at(10))]).impact()
    assert found == (instant(at(9)), instant(at(10)))


class Unspeakable(type):
    """A class that does not tell its name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError(MARKER)


class Unspeakably(Exception, metaclass=Unspeakable):  # noqa: N818
    pass


class Untraceable(Exception):  # noqa: N818
    __traceback__ = property(fails)


def raising(error: Callable[[], BaseException]) -> Callable[[], Any]:
    def answer() -> NoReturn:
        raise error()

    return answer


@pytest.mark.parametrize(
    "error",
    [
        lambda: Unspeakably(),
        lambda: Untraceable(),
        lambda: type(MARKER * 30, (Exception,), {})(),
        lambda: type(f"{MARKER} Doe\n", (Exception,), {})(),
        lambda: SystemExit(0),
        lambda: GeneratorExit(),
        lambda: MemoryError(),
        lambda: RecursionError(),
        lambda: StopIteration(),
        lambda: BaseException(MARKER),
        lambda: BaseExceptionGroup("all", [KeyboardInterrupt(MARKER)]),
    ],
)
def test_whatever_is_raised_is_told_without_what_it_says(error: Callable[[], BaseException]) -> None:
    heard = host(raising(error))
    for call in (heard.decode, heard.spans):
        reject = refused(call)
        assert reject.reason == "plugin_failed"
        assert len(reject.detail) < 200
    assert heard.impact() is None


def test_a_reject_that_cannot_be_read_is_the_plugins_failure() -> None:
    assert refused(host(raising(lambda: Reject("invalid_data", Text("x")))).decode).reason == "plugin_failed"


@pytest.mark.parametrize("reason", ["plugin_timeout", "plugin_suspended", "killed_worker", "unknown_tenant"])
def test_a_plugin_cannot_say_what_is_not_its_to_say(reason: str) -> None:
    heard = host(raising(lambda: Reject(reason, "data: is missing")))
    assert refused(heard.decode).reason == "invalid_data"
    assert heard.failed == [], "the input was rejected, no plugin failed"


def test_ctrl_c_that_a_plugin_raises_itself_where_nobody_can_press_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import signal

    heard = host(raising(KeyboardInterrupt))
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # as at a terminal
    try:
        with pytest.raises(KeyboardInterrupt):
            heard.spans()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a worker's child
        assert refused(heard.spans).reason == "plugin_failed"
    finally:
        signal.signal(signal.SIGINT, former)


class Picky(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    rooms: int = 0

    @field_validator("rooms")
    @classmethod
    def _rooms(cls, rooms: int) -> int:
        return {1: for_ever, 2: fails}.get(rooms, lambda: rooms)()


class PickyPlugin(AnyPlugin):
    Settings = Picky


@pytest.mark.parametrize(
    ("rooms", "why", "reason", "outcome"),
    [
        (1, ": plugin any: settings took more than 0.25 s", "plugin_timeout", "timeout"),
        (
            2,
            ": plugin any: settings raised RuntimeError at test_plugin_failures.py:",
            "plugin_failed",
            "raised",
        ),
        ("many", ".rooms: ", "plugin_failed", "raised"),
    ],
)
def test_settings_that_a_plugin_does_not_accept_or_fails_to_read_are_validated_once(
    rooms: Any, why: str, reason: str, outcome: str
) -> None:
    heard = Heard(PickyPlugin(list), {"any": {"rooms": rooms}})
    with pytest.raises(ValueError, match="^tenants.t.plugins.any" + re.escape(why)):
        heard.host.check_settings(["t"])
    for asked in (heard.decode, heard.spans, heard.decode):
        assert refused(asked).reason == reason
    assert heard.impact() is None
    assert heard.timed == [("any", "settings")], "what they came to is remembered"
    assert heard.failed == [("any", "settings", outcome)] * 5, "whoever needed them is counted"


def test_validators_that_hang_for_every_tenant_are_suspended() -> None:
    registry = Registry()
    registry.add(PickyPlugin(list), "tests", "1")
    now = [0.0]
    breakers = Breakers(Policy(call_seconds=SHORT, failures=4), lambda: now[0], lambda: 1.0)
    tenants = {f"t{number}": Tenant("UTC", {"any": {"rooms": 1}}) for number in range(30)}
    tenants["good"] = Tenant("UTC", {})
    host = PluginHost(registry, tenants.get, limit=TimeLimit(SHORT), breakers=breakers)

    def spans(tenant: str) -> Any:
        return host.spans(ProviderKey(tenant, "any", "p1"), "UTC", DAY, [])

    reasons = [refused(lambda n=n: spans(f"t{n}")).reason for n in range(30)]  # type: ignore[misc]
    assert reasons == ["plugin_timeout"] * 2 + ["plugin_suspended"] * 28
    assert refused(lambda: spans("good")).detail.startswith("plugin any: settings is suspended for everybody")
    now[0] += 31
    assert spans("good") == (), "a refusal is not remembered"


# Suspension -----------------------------------------------------------------------------------------------------------


def test_a_plugin_that_fails_on_everything_is_suspended_and_recovers_by_itself() -> None:
    answers: list[Callable[[], Any]] = [fails]
    heard = host(lambda: answers[0]())
    reasons = [refused(lambda n=n: heard.spans(f"p{n}")).reason for n in range(6)]  # type: ignore[misc]
    assert reasons == ["plugin_failed"] * 4 + ["plugin_suspended"] * 2
    assert heard.failed[-1] == ("any", "spans", "refused")
    answers[0] = list
    assert refused(heard.spans).reason == "plugin_suspended"
    heard.now += 31
    assert heard.spans() == ()
    assert heard.suspended == [("any", "spans", "tenant", True), ("any", "spans", "tenant", False)]


def test_while_one_plugin_is_suspended_others_and_the_standard_format_go_on() -> None:
    heard = host(fails)
    for number in range(6):
        refused(lambda n=number: heard.decode(f"p{n}"))  # type: ignore[misc]
    assert refused(heard.decode).detail == (
        "plugin any: decode is suspended for this tenant, "
        "since it failed for one provider after the other, or took too long"
    )
    with pytest.raises(Reject, match="invalid_data"):
        heard.decode(type_="slot")  # of the standard format, under this plugin's emr
    assert refused(heard.spans).reason == "plugin_failed", "spans have a breaker of their own"
    assert heard.spans(emr="standard") == ()


def test_a_suspended_impact_means_every_day() -> None:
    heard = host(for_ever)
    assert [heard.impact() for _ in range(4)] == [None] * 4
    assert [outcome for _, _, outcome in heard.failed] == ["timeout", "timeout", "refused", "refused"]


@pytest.mark.parametrize("rejects", [False, True])
def test_a_plugin_that_answers_everything_but_slowly_is_suspended(rejects: bool) -> None:
    def answer() -> list[Any]:
        time.sleep(0.7 * SHORT)
        if rejects:
            raise Reject("invalid_data", "data: is missing")
        return []

    heard = host(answer)
    came_to = []
    for number in range(40):
        try:
            heard.spans(f"p{number}")
            came_to.append("answer")
        except Reject as reject:
            came_to.append(reject.reason)
    assert came_to == ["invalid_data" if rejects else "answer"] * 6 + ["plugin_suspended"] * 34
    assert heard.suspended == [("any", "spans", "tenant", True)]
    assert {outcome for _, _, outcome in heard.failed} == {"refused"}


def test_bad_input_suspends_nobody() -> None:
    heard = host(raising(lambda: Reject("invalid_data", "data: is missing")))
    for number in range(50):
        assert refused(lambda n=number: heard.decode(f"p{n}")).reason == "invalid_data"  # type: ignore[misc]
    assert heard.suspended == []


def test_too_many_changes_are_the_events_fault() -> None:
    heard = host(lambda: [change(f"s{n}") for n in range(MAX_CHANGES + 1)])
    assert refused(heard.decode).reason == "too_large"
    assert heard.failed == []
