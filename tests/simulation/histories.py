"""Random histories: what a few providers' events may be, on which shards, in which order, and how often."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from several_providers import (
    EMR,
    EVERY_DAY,
    HOST,
    HOST_THAT_RAISES,
    KILLER,
    NEVER_RIGHT,
    NOON,
    TENANT,
    UNKNOWN,
    SeveralProviders,
    host,
)

from kcl_app.testing.checks import History
from kcl_app.testing.faults import Faults
from kcl_app.testing.small_rows import LARGER_THAN_A_ROW
from kcl_app.testing.stream import FakeStream, Shard
from processors.envelope import Record


@dataclass(frozen=True)
class Recipe:
    """What histories are made of, and what goes wrong.

    Attributes:
        name: of the recipe.
        faults: how often what goes wrong.
        kinds: of items, as often as they are listed.
        events: how many, least and most.
        providers: how many.
        ids: items of each kind.
        named: how many providers an event names, as often as they are listed.
        zones: of working hours.
        days: days that events are about, from today; None: those of the horizon and some past it.
        late: how many events come late.
        twice: how many are delivered again, perhaps on another shard.
        cancelled: how many cancel their item.
        unreadable: how many cannot be read.
        aggregated: how many share a record with the one before.
        sequenced: whether events have a `sequence`; else they count by their place in the one shard there is.
        reshards: splits and merges, at most.
        shards: at first.
        start: the time at which it begins.
        step_seconds: how much time goes by with each message.
        never_right: whether an item may make the plugin fail.
        broken: whether the plugin fails on every day until it is repaired.
        raises: whether the plugin raises errors in `decode` for events of a type, in `impact` for items of an id.
        bounded: how many working hours are those of a day or two.
        zones_only: whether working hours tell a zone and no time.
        in_order: whether kinds come one after the other as they are listed, and again from the first.
        too_large: how many slots are larger than a row may be.
        apart: whether working hours travel on the first shard and all else on the last, as messages may whose
            `subject` names nobody.
        killers: events that end the process that decodes them, at most.
    """

    name: str
    faults: Faults = field(default_factory=Faults)
    kinds: tuple[str, ...] = (
        ("appointment",) * 5 + ("working_hours",) * 2 + ("time_off", "slot", "date_override")
    )
    events: tuple[int, int] = (4, 14)
    providers: int = 3
    ids: int = 2
    named: tuple[int, ...] = (1, 1, 1, 1, 2, 0)
    zones: tuple[str | None, ...] = ("UTC", "America/New_York", "Asia/Kathmandu", None)
    days: tuple[int, ...] | None = None
    late: float = 0.2
    twice: float = 0.1
    cancelled: float = 0.25
    unreadable: float = 0.04
    aggregated: float = 0.1
    sequenced: bool = True
    reshards: int = 0
    shards: int = 2
    start: datetime = NOON
    step_seconds: float = 1.0
    never_right: bool = False
    broken: bool = False
    killers: int = 0
    bounded: float = 0.2
    zones_only: bool = False
    in_order: bool = False
    apart: bool = False
    too_large: float = 0.0
    raises: bool = False


@dataclass
class _Made:
    """An event, the providers on whose shards it travels, and instead of them the number of one shard."""

    data: bytes
    named: list[int]
    shard: int | None = None


class _Maker:
    """Makes one history."""

    def __init__(self, recipe: Recipe, rng: random.Random) -> None:
        self.recipe = recipe
        self.rng = rng
        self.horizon = 2
        self.versions: dict[str, int] = {}
        self.accepted = 0
        self.killers: set[bytes] = set()
        self.too_large: set[bytes] = set()

    def events(self) -> list[_Made]:
        """Events in the order of delivery."""
        recipe, rng = self.recipe, self.rng
        made = [self._event() for _ in range(rng.randint(*recipe.events))]
        if recipe.sequenced:
            for index in range(len(made)):
                if rng.random() < recipe.late:
                    other = min(len(made) - 1, index + rng.randint(1, 6))
                    made[index], made[other] = made[other], made[index]
        for one in list(made):
            if rng.random() < recipe.twice:
                made.insert(rng.randint(made.index(one) + 1, len(made)), self._again(one))
        for number in range(rng.randint(0, recipe.killers)):
            data = self._envelope(KILLER, {"number": number})
            made.insert(rng.randint(0, len(made)), _Made(data, [rng.randrange(recipe.providers)]))
            self.killers.add(data)
        return made

    def _again(self, one: _Made) -> _Made:
        """A retry or a redrive: the same bytes, perhaps on another shard."""
        elsewhere = [self.rng.randrange(self.recipe.providers)] if self.rng.random() < 0.5 else one.named
        return _Made(one.data, elsewhere)

    def _event(self) -> _Made:
        recipe, rng = self.recipe, self.rng
        if rng.random() < recipe.unreadable:
            return self._unreadable()
        kind = self._kind()
        data = self._data(kind)
        count = min(recipe.providers, rng.choice(recipe.named) if kind != "availability" else 1)
        named = sorted(rng.sample(range(recipe.providers), count))
        data["providers"] = [f"p{number}" for number in named]
        if count == 0:
            data["status"] = "cancelled"
        if kind == "availability":
            data["id"] = f"p{named[0]}/{data['date']}"
        name = f"{kind}#{data['id']}"
        if name not in self.versions:
            self.versions[name] = 0 if recipe.sequenced and rng.random() < 0.5 else -1
        if self.versions[name] >= 0:  # this source counts
            self.versions[name] += 1
            data["version"] = self.versions[name]
        if kind == "slot" and named and recipe.too_large and rng.random() < recipe.too_large:
            data["location_id"] = LARGER_THAN_A_ROW
        made = _Made(self._envelope(f"x-{kind}", data), named, self._shard(kind))
        if "location_id" in data:
            self.too_large.add(made.data)
        return made

    def _kind(self) -> str:
        kinds = self.recipe.kinds
        return kinds[self.accepted % len(kinds)] if self.recipe.in_order else self.rng.choice(kinds)

    def _shard(self, kind: str) -> int | None:
        if not self.recipe.apart:
            return None
        return 0 if kind == "working_hours" else -1

    def _envelope(self, type_: str, data: Any, **over: Any) -> bytes:
        self.accepted += 1
        seconds = self.accepted if self.recipe.sequenced else 0
        envelope = {
            "specversion": "1.0",
            "id": f"e{self.accepted}",
            "source": f"/tenants/{TENANT}",
            "type": type_,
            "time": (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat(),
            "tenant": TENANT,
            "emr": EMR,
            "data": data,
            **({"sequence": f"{self.accepted:020d}"} if self.recipe.sequenced else {}),
            **over,
        }
        return json.dumps(envelope).encode()

    def _unreadable(self) -> _Made:
        rng = self.rng
        if self.recipe.raises:
            return _Made(self._envelope(UNKNOWN, {"id": "i1", "providers": ["p0"]}), [0])
        data = rng.choice(
            [
                b"{",
                b"\xff",
                b'{"specversion":"1.0"}',
                self._envelope("x-slot", {"id": "i1"}),
                self._envelope("x-slot", {}, emr="nobody"),
                self._envelope("slot", {"id": "i1", "provider_id": "p1", "status": "free"}),
            ]
        )
        return _Made(data, [rng.randrange(self.recipe.providers)])

    def _data(self, kind: str) -> dict[str, Any]:
        recipe, rng = self.recipe, self.rng
        days = recipe.days or tuple(range(self.horizon + 3))
        day = recipe.start.date() + timedelta(days=rng.choice(days))
        hour = rng.randint(0, 21)
        start = f"{day}T{hour:02d}:00:00Z"
        end = f"{day}T{hour + rng.randint(1, 2):02d}:00:00Z"
        cancelled = "cancelled" if rng.random() < recipe.cancelled else None
        id_ = f"i{rng.randint(1, recipe.ids)}"
        if recipe.never_right and kind == "appointment" and rng.random() < 0.3:
            id_ = NEVER_RIGHT
        data: dict[str, Any]
        match kind:
            case "appointment":
                data = {"start": start, "end": end, "status": cancelled or rng.choice(["booked", "noshow"])}
            case "working_hours":
                times = {"start": f"{rng.randint(6, 9):02d}:00", "end": "20:00"}
                data = {"time_zone": rng.choice(recipe.zones), "weekly": [{"days": EVERY_DAY, **times}]}
                if recipe.zones_only:
                    data["weekly"] = []
                data["status"] = cancelled or "active"
                if rng.random() < recipe.bounded:
                    data["effective_from"] = day.isoformat()
                    data["effective_until"] = (day + timedelta(days=rng.randint(0, 1))).isoformat()
            case "time_off":
                data = {"start": start, "end": end, "status": cancelled or "active"}
            case "date_override":
                data = {"date": day.isoformat(), "hours": [{"start": "20:00", "end": "04:00"}]}
                data["status"] = cancelled or "active"
            case "slot":
                data = {
                    "start": start,
                    "end": end,
                    "status": cancelled or rng.choice(["free", "free", "busy"]),
                }
            case _:
                data = {"date": day.isoformat(), "spans": [{"start": start, "end": end}]}
                data["status"] = cancelled or "active"
        return {**data, "id": id_}


class _Shards:
    """Which provider travels on which shard, while shards are split and merged."""

    def __init__(self, stream: FakeStream, providers: int, rng: random.Random) -> None:
        self.stream = stream
        self.rng = rng
        shards = stream.open_shards()
        self.of = {number: shards[number % len(shards)] for number in range(providers)}

    def reshard(self) -> None:
        """Split one, or merge two."""
        shards = self.stream.open_shards()
        if len(shards) > 1 and self.rng.random() < 0.5:
            one, other = self.rng.sample(shards, 2)
            self._move((one, other), [self.stream.merge(one, other)])
        else:
            one = self.rng.choice(shards)
            self._move((one,), self.stream.split(one))

    def _move(self, parents: Sequence[Shard], children: Sequence[Shard]) -> None:
        for provider, shard in self.of.items():
            if shard in parents:
                self.of[provider] = children[provider % len(children)]

    def taking(self, one: _Made) -> list[Shard]:
        """The shards that an event is sent to: those of the providers it names, mostly."""
        if one.shard is not None:
            return [self.stream.open_shards()[one.shard]]
        shards = {shard.name: shard for shard in (self.of[provider] for provider in one.named)}
        return list(shards.values()) or [self.rng.choice(self.stream.open_shards())]


def make(recipe: Recipe, seed: int) -> History:
    """The history of a seed."""
    rng = random.Random(f"{recipe.name} {seed}")
    maker = _Maker(recipe, rng)
    stream = FakeStream(rng, recipe.shards if recipe.sequenced else 1, recipe.start.timestamp())
    shards = _Shards(stream, recipe.providers, rng)
    events = maker.events()
    reshards = sorted(rng.randrange(len(events) + 1) for _ in range(rng.randint(0, recipe.reshards)))
    sent: list[bytes] = []
    for number, one in enumerate(events):
        while reshards and reshards[0] <= number:
            reshards.pop(0)
            shards.reshard()
        for shard in shards.taking(one):
            stream.put(shard, one.data, joins=rng.random() < recipe.aggregated)
        if one.data not in maker.killers:
            sent.append(one.data)
    for _ in reshards:
        shards.reshard()
    plugin = SeveralProviders(broken=recipe.broken)

    def repair() -> None:
        plugin.broken = False

    return History(
        host(plugin) if recipe.broken else HOST_THAT_RAISES if recipe.raises else HOST,
        stream,
        [Record(data, str(number), 0, "partition", 0.0) for number, data in enumerate(sent, start=1)],
        recipe.start,
        recipe.step_seconds,
        settled_date=recipe.start == NOON and not recipe.faults.jump_seconds,
        horizon_days=maker.horizon,
        repair=repair if recipe.broken else None,
        killers=frozenset(maker.killers),
        too_large=frozenset(maker.too_large),
        slips=recipe.faults.slip > 0,
    )
