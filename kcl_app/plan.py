"""The numbers that a capacity plan rests on: what is wanted, what one event costs, what AWS asks for it.

Each has its unit, and where it comes from. `kcl_app.capacity` does the arithmetic. docs/performance.md lists what was
measured and what things cost, and a test compares it with this file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

MEASURED = "measured, docs/performance.md"
ASSUMED = "assumed"
KINESIS = "AWS, us-east-1, provisioned; as quoted publicly in 2026, check it"
DYNAMODB = "AWS, us-east-1, on demand; since November 2024"
FARGATE = "AWS, us-east-1, on demand; March 2026"

TASK_SIZES: Mapping[float, tuple[int, int, int]] = {
    1: (2, 8, 1),
    2: (4, 16, 1),
    4: (8, 30, 1),
    8: (16, 60, 4),
    16: (32, 120, 8),
}
"""vCPU of a Fargate task → the GB of memory it may have: from, to, in steps of."""


def _number(default: float, unit: str, what: str, source: str) -> Any:
    return field(default=default, metadata={"unit": unit, "what": what, "source": source})


def _given(unit: str, what: str) -> Any:
    return field(metadata={"unit": unit, "what": what, "source": "given"})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one event, one provider and one process cost. The one place to put in new figures."""

    # make bench-growth: providers in memory; make bench, load burst: the JVM
    python_us: float = _number(220, "µs", "Python CPU of an event whose provider is in memory", MEASURED)
    jvm_us: float = _number(70, "µs", "JVM CPU of an event", MEASURED)
    write_units: float = _number(3.2, "WRU", "written for an event", MEASURED)
    read_units: float = _number(0.1, "RRU", "read for an event whose provider is in memory", MEASURED)
    # make bench-growth: providers past the default bound, and 5,000 items past it
    load_us: float = _number(100, "µs", "Python CPU to read a provider that is not in memory", MEASURED)
    load_item_us: float = _number(24, "µs", "Python CPU for each of its items", MEASURED)
    # make bench-memory: the line through 6,000 and 100,000 items in memory
    child_mb: float = _number(99, "MB", "a Python child with no items in memory", MEASURED)
    item_kb: float = _number(0.8, "kB", "one item in a child's memory", MEASURED)
    # a JVM with four shards takes some 200 to 250 MB resident; its heap grows with what it reads ahead
    jvm_mb: float = _number(300, "MB", "the JVM and the supervisor", ASSUMED)
    jvm_shard_mb: float = _number(60, "MB", "the JVM's heap for each shard", ASSUMED)
    # rows of `kcl-app simulate` as DynamoDB counts them
    item_bytes: int = _number(511, "B", "row of an item's copy", MEASURED)
    owner_bytes: int = _number(327, "B", "row of an item's owner record", MEASURED)
    document_bytes: int = _number(427, "B", "row of a provider-day", MEASURED)
    provider_bytes: int = _number(201, "B", "row of a provider", MEASURED)


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What AWS asks, in US dollars."""

    shard_hour: float = _number(0.015, "$", "a provisioned shard for an hour", KINESIS)
    put_million: float = _number(0.014, "$", "a million PUT payload units of 25 KB", KINESIS)
    retention_shard_hour: float = _number(0.02, "$", "a shard's retention past 24 h, an hour", KINESIS)
    write_million: float = _number(0.625, "$", "a million write request units", DYNAMODB)
    read_million: float = _number(0.125, "$", "a million read request units", DYNAMODB)
    storage_gb: float = _number(0.25, "$", "a GB in DynamoDB for a month", DYNAMODB)
    vcpu_hour: float = _number(0.04048, "$", "a vCPU of Fargate (Linux, x86) for an hour", FARGATE)
    memory_gb_hour: float = _number(0.004445, "$", "a GB of Fargate (Linux, x86) for an hour", FARGATE)


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is wanted, and how it is spread."""

    providers: int = _given("", "providers")
    events_per_second: float = _given("/s", "events at the peak")
    mean_share: float = _number(1.0, "", "the month's mean rate, as a share of the peak", ASSUMED)
    event_bytes: int = _number(412, "B", "one event on the stream, as `kcl-app simulate` makes them", ASSUMED)
    items_per_provider: int = _number(50, "", "items kept of each, those withdrawn included", ASSUMED)
    headroom: float = _number(0.25, "", "capacity over the peak: no key spreads evenly", ASSUMED)
    readers: int = _number(1, "", "applications that poll the stream, this one included", ASSUMED)
    dead_letter_share: float = _number(0.0001, "", "events that are set aside, of all", ASSUMED)
    task_vcpu: float = _number(4, "vCPU", "of one Fargate task", ASSUMED)
    spare_tasks: int = _number(1, "", "tasks over what the load needs, so that one may be lost", ASSUMED)
    retention_days: int = _number(7, "d", "the stream keeps events for", "deploy/ecs/data.yaml")
    dead_letter_days: int = _number(30, "d", "dead letters stay for", "docs/how-it-works.md")
    horizon_days: int = _number(90, "d", "days ahead with documents", "setting horizon.days")
    history_days: int = _number(7, "d", "past days with documents", "setting horizon.history_days")
    cached_items: int = _number(
        100_000, "", "items in a child's memory at most", "setting worker.cached_items"
    )
    reads_per_second: float = _number(
        4.0, "/s", "reads of a shard by each application", "setting stream.idle_milliseconds"
    )


@dataclass(frozen=True)
class Assumption:
    """One number that a plan rests on."""

    name: str
    value: float
    unit: str
    what: str
    source: str


Numbers = tuple[Demand, Measured, Prices]


def assumptions(numbers: Numbers, given: Mapping[str, float]) -> list[Assumption]:
    """All numbers, each with its source; those in `given` were given."""
    return [
        Assumption(
            one.name,
            getattr(group, one.name),
            one.metadata["unit"],
            one.metadata["what"],
            "given" if one.name in given else one.metadata["source"],
        )
        for group in numbers
        for one in fields(group)
    ]


def assume(numbers: Numbers, over: Mapping[str, float]) -> Numbers:
    """The same with some numbers replaced, by name.

    Raises:
        ValueError: there is no such number (says which there are), or it must be a whole one.
    """
    known = {one.name for group in numbers for one in fields(group)}
    for name in over:
        if name not in known:
            raise ValueError(f"{name}: there is no such assumption; there are {', '.join(sorted(known))}")

    def changed(group: Any) -> Any:
        mine = {one.name: _typed(one, over[one.name]) for one in fields(group) if one.name in over}
        return replace(group, **mine)

    demand, measured, prices = numbers
    return changed(demand), changed(measured), changed(prices)


def _typed(number: Field[Any], value: float) -> float:
    if number.type != "int" or not math.isfinite(value):  # which `check` refuses
        return value
    if value != int(value):
        raise ValueError(f"{number.name} must be a whole number, not {value:g}")
    return int(value)


MAY_BE_0 = {
    "headroom", "dead_letter_share", "dead_letter_days", "history_days", "cached_items", "spare_tasks", "write_units",
    "read_units", "load_us", "load_item_us", "item_kb", "jvm_us", "jvm_shard_mb",
}  # fmt: skip
"""Numbers that may be nothing; so may all prices."""
MOST = 1e15
"""Larger than anything that is planned with, and small enough to multiply."""


def check(numbers: Numbers) -> None:
    """Refuse numbers with which nothing can be planned.

    Raises:
        ValueError: names the first one that is wrong, and says what it must be.
    """
    demand, _, prices = numbers
    for group in numbers:
        for one in fields(group):
            value = getattr(group, one.name)
            zero = one.name in MAY_BE_0 or group is prices
            if not 0 <= value <= MOST or (value == 0 and not zero):  # NaN is between nothing
                raise ValueError(
                    f"{one.name} must be {'0 or more' if zero else 'more than 0'}, not {value:g}"
                )
    for name in ("mean_share", "dead_letter_share"):
        if getattr(demand, name) > 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {getattr(demand, name):g}")
    if demand.task_vcpu not in TASK_SIZES:
        sizes = ", ".join(f"{size:g}" for size in TASK_SIZES)
        raise ValueError(f"task_vcpu must be one of {sizes}, not {demand.task_vcpu:g}")
    if demand.retention_days > 7:
        raise ValueError("retention_days must be 7 at most: longer retention is billed otherwise")
