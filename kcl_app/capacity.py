"""What a number of providers and events a second take, on paper: shards, tasks, request units, storage, money.

Pure arithmetic on the numbers of `kcl_app.plan`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kcl_app.plan import TASK_SIZES, Assumption, Demand, Measured, Numbers, assumptions, check

HOURS = 730
"""Hours of a month, as AWS counts them."""
MONTH = HOURS * 3600
"""Seconds of a month."""
MEGABYTE, GIGABYTE, MILLION = 1_000_000, 1_000_000_000, 1_000_000
SHARD_RECORDS, SHARD_BYTES_IN, SHARD_BYTES_OUT, SHARD_READS = 1000, MEGABYTE, 2 * MEGABYTE, 5
"""What a shard takes in a second, records and bytes; and what it gives, bytes and calls."""
PUT_UNIT, WRITE_UNIT, READ_UNIT = 25 * 1024, 1024, 4096
"""Bytes of a unit that is billed."""
ROW_OVERHEAD = 100
"""Bytes that DynamoDB adds to each row whose storage it bills."""
LETTER_BYTES = 700
"""Bytes of a dead letter besides the raw record, which is in base64."""
MARGIN_DAYS = 2
"""Days past the horizon that workers compute."""
VERSIONS_A_WEIGHT = 8
"""Versions of documents that take as much of a child's memory as one item."""


@dataclass(frozen=True)
class Plan:
    """What it takes.

    Attributes:
        shards: of the stream.
        shards_by: what each limit asks for; the largest counts.
        reads_per_shard: calls a second on each shard, of the five that it allows.
        hit_share: share of events whose provider a child has in memory, if all providers are as busy.
        event_us: CPU of an event, Python and JVM, providers read included.
        vcpu: used at the peak, headroom included.
        tasks: Fargate tasks, spare ones included.
        task_memory_gb: of each.
        shards_per_task: what one task can carry.
        child_mb: memory of one child.
        catch_up_minutes: to work off one hour's outage while the peak goes on; None: it never would.
        write_units_per_second: at the peak.
        read_units_per_second: at the peak.
        write_units_per_month: the horizon job's, dead letters' and the KCL's included.
        read_units_per_month: in all.
        storage_gb: by table.
        dollars: for a month, by what they are paid for.
        dollars_per_month: their sum.
        dollars_per_million_events: of them.
        warnings: what does not fit.
        assumptions: every number that this rests on.
    """

    shards: int
    shards_by: dict[str, int]
    reads_per_shard: float
    hit_share: float
    event_us: float
    vcpu: float
    tasks: int
    task_memory_gb: int
    shards_per_task: int
    child_mb: float
    catch_up_minutes: float | None
    write_units_per_second: float
    read_units_per_second: float
    write_units_per_month: float
    read_units_per_month: float
    storage_gb: dict[str, float]
    dollars: dict[str, float]
    dollars_per_month: float
    dollars_per_million_events: float
    warnings: list[str]
    assumptions: list[Assumption]

    def as_json(self) -> dict[str, Any]:
        """As published."""
        return asdict(self)


def plan(numbers: Numbers, given: Mapping[str, float] | None = None) -> Plan:
    """What it takes.

    Args:
        numbers: what is wanted, what was measured, what it is sold for.
        given: those of them that a person gave, by name.

    Raises:
        ValueError: one of them is nonsense.
    """
    check(numbers)
    demand, measured, prices = numbers
    # 1 the stream; how many shards there are says how much of the providers fits into memory
    bounds = shard_bounds(demand)
    shards = _shards(demand, measured, max(bounds.values()))
    bounds["cpu_of_one_child"] = (
        shards if shards > max(bounds.values()) else _by_child(demand, measured, shards)
    )
    hits = _hit_share(demand, shards)
    python_us = _python_us(demand, measured, hits)
    # 2 the tasks
    vcpu = _peak(demand) * (python_us + measured.jvm_us) / MILLION
    child_mb = _child_mb(demand, measured, shards)
    fit, memory = _task(demand, measured, shards, vcpu / shards, child_mb)
    tasks = math.ceil(shards / max(fit, 1)) + demand.spare_tasks
    # 3 the tables
    mean = demand.events_per_second * demand.mean_share
    read_rate = measured.read_units + (1 - hits) * _load_units(demand, measured)
    writes = mean * measured.write_units * MONTH + sum(_other_writes(demand, measured, shards, mean).values())
    reads = mean * read_rate * MONTH
    storage = _storage(demand, measured, mean)
    # 4 the money
    dollars = {
        "Kinesis shards": shards * HOURS * prices.shard_hour,
        "Kinesis PUT units": mean
        * MONTH
        * math.ceil(demand.event_bytes / PUT_UNIT)
        / MILLION
        * prices.put_million,
        "Kinesis retention": shards * HOURS * prices.retention_shard_hour
        if demand.retention_days > 1
        else 0.0,
        "DynamoDB writes": writes / MILLION * prices.write_million,
        "DynamoDB reads": reads / MILLION * prices.read_million,
        "DynamoDB storage": sum(storage.values()) * prices.storage_gb,
        "Fargate vCPU": tasks * demand.task_vcpu * HOURS * prices.vcpu_hour,
        "Fargate memory": tasks * memory * HOURS * prices.memory_gb_hour,
    }
    total = sum(dollars.values())
    drained = _drained(demand, shards, tasks, python_us, measured.jvm_us)
    spare = drained - demand.events_per_second
    return Plan(
        shards=shards,
        shards_by=bounds,
        reads_per_shard=demand.readers * demand.reads_per_second,
        hit_share=hits,
        event_us=python_us + measured.jvm_us,
        vcpu=vcpu,
        tasks=tasks,
        task_memory_gb=memory,
        shards_per_task=fit,
        child_mb=child_mb,
        catch_up_minutes=60 * demand.events_per_second / spare if spare > 0 else None,
        write_units_per_second=demand.events_per_second * measured.write_units,
        read_units_per_second=demand.events_per_second * read_rate,
        write_units_per_month=writes,
        read_units_per_month=reads,
        storage_gb=storage,
        dollars=dollars,
        dollars_per_month=total,
        dollars_per_million_events=total / (mean * MONTH / MILLION),
        warnings=_warnings(demand, fit, hits, spare),
        assumptions=assumptions(numbers, given or {}),
    )


def _peak(demand: Demand) -> float:
    """Events a second that there must be capacity for."""
    return demand.events_per_second * (1 + demand.headroom)


def shard_bounds(demand: Demand) -> dict[str, int]:
    """The shards that each of a shard's own limits asks for."""
    events = _peak(demand)
    return {
        "records_in": math.ceil(events / SHARD_RECORDS),
        "bytes_in": math.ceil(events * demand.event_bytes / SHARD_BYTES_IN),
        "bytes_out": math.ceil(events * demand.event_bytes * demand.readers / SHARD_BYTES_OUT),
    }


def _shards(demand: Demand, measured: Measured, least: int) -> int:
    """The fewest shards of which each child, which has one vCPU at most, can do its part.

    More shards are more memory, so they also make each event cheaper: what is needed falls as shards grow.
    """
    low, high = least, max(least, _by_child(demand, measured, least))
    while low < high:
        middle = (low + high) // 2
        if _by_child(demand, measured, middle) <= middle:
            high = middle
        else:
            low = middle + 1
    return low


def _by_child(demand: Demand, measured: Measured, shards: int) -> int:
    """Children that the CPU of all events asks for, if memory is that of so many shards."""
    return math.ceil(_peak(demand) * _python_us(demand, measured, _hit_share(demand, shards)) / MILLION)


def _documents(demand: Demand) -> int:
    """Provider-days that a provider has documents of."""
    return demand.horizon_days + MARGIN_DAYS + demand.history_days


def _working_set(demand: Demand, shards: int) -> float:
    """What one shard's providers weigh in memory, in items."""
    weight = 1 + demand.items_per_provider + _documents(demand) // VERSIONS_A_WEIGHT
    return weight * demand.providers / shards


def _hit_share(demand: Demand, shards: int) -> float:
    return min(1.0, demand.cached_items / _working_set(demand, shards))


def _python_us(demand: Demand, measured: Measured, hits: float) -> float:
    load = measured.load_us + demand.items_per_provider * measured.load_item_us
    return measured.python_us + (1 - hits) * load


def _load_units(demand: Demand, measured: Measured) -> int:
    """Read units of one provider: its items, the versions of its documents, its own row; consistent reads."""
    items = math.ceil(demand.items_per_provider * measured.item_bytes / READ_UNIT)
    return items + math.ceil(_documents(demand) * measured.document_bytes / READ_UNIT) + 1


def _child_mb(demand: Demand, measured: Measured, shards: int) -> float:
    held = min(demand.cached_items, _working_set(demand, shards))
    return measured.child_mb + held * measured.item_kb / 1000


def _task(
    demand: Demand, measured: Measured, shards: int, vcpu_per_shard: float, child_mb: float
) -> tuple[int, int]:
    """The shards that a task can carry (0: not even one), and the memory in GB that it then needs."""
    least, most, step = TASK_SIZES[demand.task_vcpu]
    per_shard = child_mb + measured.jvm_shard_mb
    by_memory = int((most * 1000 - measured.jvm_mb) / per_shard)
    fit = max(0, min(shards, int(demand.task_vcpu / vcpu_per_shard), by_memory))
    needed = (measured.jvm_mb + max(fit, 1) * per_shard) / 1000
    memory = least + max(0, math.ceil((needed - least) / step)) * step
    return fit, min(memory, most)


def _letter_bytes(demand: Demand) -> float:
    return LETTER_BYTES + demand.event_bytes * 4 / 3


def _other_writes(demand: Demand, measured: Measured, shards: int, mean: float) -> dict[str, float]:
    """Write units of a month besides those of events."""
    days = MONTH / 86_400
    day = math.ceil(measured.document_bytes / WRITE_UNIT) + math.ceil(measured.provider_bytes / WRITE_UNIT)
    letters = mean * demand.dead_letter_share * MONTH
    return {
        "horizon job": demand.providers * days * day,
        "dead letters": letters * math.ceil(_letter_bytes(demand) / WRITE_UNIT),
        "checkpoints": shards * demand.reads_per_second * MONTH,  # one for each read, at most
    }


def _storage(demand: Demand, measured: Measured, mean: float) -> dict[str, float]:
    """GB of each table."""
    rows = {
        "items": (demand.items_per_provider, measured.item_bytes + measured.owner_bytes + ROW_OVERHEAD),
        "spans": (_documents(demand), measured.document_bytes),
        "providers": (1, measured.provider_bytes),
    }
    stored = {
        table: demand.providers * count * (bytes_ + ROW_OVERHEAD) / GIGABYTE
        for table, (count, bytes_) in rows.items()
    }
    letters = mean * demand.dead_letter_share * 86_400 * demand.dead_letter_days
    return {**stored, "dead letters": letters * (_letter_bytes(demand) + ROW_OVERHEAD) / GIGABYTE}


def _drained(demand: Demand, shards: int, tasks: int, python_us: float, jvm_us: float) -> float:
    """Events a second when far behind: the least of what shards give, children do, and tasks have CPU for."""
    return min(
        shards * SHARD_BYTES_OUT / demand.readers / demand.event_bytes,
        shards * MILLION / python_us,
        tasks * demand.task_vcpu * MILLION / (python_us + jvm_us),
    )


def _warnings(demand: Demand, fit: int, hits: float, spare: float) -> list[str]:
    found = []
    reads = demand.readers * demand.reads_per_second
    if reads > SHARD_READS:
        found.append(
            f"the applications would read each shard {reads:g} times a second, which allows {SHARD_READS}: "
            "let each read less often, or by enhanced fan-out, which this plan leaves out"
        )
    if fit == 0:
        found.append(
            f"a task of {demand.task_vcpu:g} vCPU cannot carry one shard: "
            "choose a larger task_vcpu, or fewer cached_items"
        )
    if hits < 1:
        found.append(
            f"{1 - hits:.0%} of the events find their provider not in memory, if all are as busy, and read it: "
            "more cached_items take memory and save reads"
        )
    if spare <= 0:
        found.append("after an outage it never catches up while the peak lasts: plan more tasks or shards")
    return found
