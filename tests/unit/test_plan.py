"""The arithmetic of `kcl-app plan`, against sums done by hand, and the figures against the page that names them."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from kcl_app.capacity import HOURS, MARGIN_DAYS, MONTH, VERSIONS_A_WEIGHT, Plan, plan
from kcl_app.engine import providers
from kcl_app.plan import Demand, Measured, Numbers, Prices, assume
from kcl_app.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "performance.md"


def numbers(providers: int = 1000, events: float = 4000, **over: Any) -> Numbers:
    """All in memory, nothing to spare, round costs, unless said otherwise."""
    round_ = {
        "headroom": 0, "spare_tasks": 0, "event_bytes": 500, "items_per_provider": 87, "python_us": 200, "jvm_us": 50,
        "write_units": 3, "read_units": 0.5, "dead_letter_share": 0, "cached_items": 1_000_000,
    }  # fmt: skip
    demand = Demand(providers=providers, events_per_second=events)
    return assume((demand, Measured(), Prices()), {**round_, **over})


def made(*args: Any, **over: Any) -> Plan:
    return plan(numbers(*args, **over))


def test_records_ask_for_shards_and_cpu_for_tasks() -> None:
    made_ = made()
    assert made_.shards == 4
    assert made_.shards_by == {"records_in": 4, "bytes_in": 2, "bytes_out": 1, "cpu_of_one_child": 1}
    assert made_.vcpu == pytest.approx(1.0)  # 4,000 events of 250 µs
    assert (made_.tasks, made_.shards_per_task, made_.hit_share) == (1, 4, 1.0)


def test_large_events_ask_for_shards_by_bytes_and_many_readers_by_what_goes_out() -> None:
    assert made(event_bytes=2500).shards == 10
    assert made(event_bytes=2500, readers=4).shards == 20


def test_a_child_that_costs_more_than_its_shard_gives_asks_for_more_shards() -> None:
    made_ = made(python_us=2000)
    assert made_.shards == made_.shards_by["cpu_of_one_child"] == 8


def test_providers_that_do_not_fit_are_read_and_paid_for() -> None:
    weight = 1 + 87 + (90 + MARGIN_DAYS + 7) // VERSIONS_A_WEIGHT  # 100
    made_ = made(providers=4000, cached_items=50_000, load_us=1000, load_item_us=0, item_bytes=4096)
    assert made_.hit_share == pytest.approx(50_000 / (weight * 4000 / 4))
    assert made_.event_us == pytest.approx(200 + 0.5 * 1000 + 50)
    loaded = 87 + math.ceil(99 * 427 / 4096) + 1
    assert made_.read_units_per_second == pytest.approx(4000 * (0.5 + 0.5 * loaded))
    assert any("50% of the events" in warning for warning in made_.warnings)


def test_the_bill_is_units_times_prices() -> None:
    made_ = made(mean_share=0.5)
    dollars = made_.dollars
    assert dollars["Kinesis shards"] == pytest.approx(4 * HOURS * 0.015)
    assert dollars["Kinesis retention"] == pytest.approx(4 * HOURS * 0.02)
    assert dollars["Kinesis PUT units"] == pytest.approx(2000 * MONTH / 1e6 * 0.014)
    assert dollars["Fargate vCPU"] == pytest.approx(4 * HOURS * 0.04048)
    assert dollars["Fargate memory"] == pytest.approx(8 * HOURS * 0.004445)
    writes = 2000 * 3 * MONTH + 1000 * 2 * MONTH / 86_400 + 4 * 4 * MONTH
    assert made_.write_units_per_month == pytest.approx(writes)
    assert dollars["DynamoDB writes"] == pytest.approx(writes / 1e6 * 0.625)
    assert made_.dollars_per_month == pytest.approx(sum(dollars.values()))


def test_storage_counts_each_row_with_what_dynamodb_adds() -> None:
    storage = made().storage_gb
    assert storage["spans"] == pytest.approx(1000 * 99 * (427 + 100) / 1e9)
    assert storage["items"] == pytest.approx(1000 * 87 * (511 + 327 + 200) / 1e9)
    assert storage["dead letters"] == 0


def test_a_task_has_memory_that_fargate_sells_and_no_more_shards_than_fit() -> None:
    made_ = made(events=16_000, task_vcpu=8, child_mb=5000)
    assert made_.task_memory_gb in range(16, 61, 4)
    assert made_.shards_per_task * (made_.child_mb + 60) + 300 <= made_.task_memory_gb * 1000
    assert made_.tasks == math.ceil(16 / made_.shards_per_task)


def test_what_does_not_fit_is_said() -> None:
    assert any("cannot carry one shard" in one for one in made(child_mb=50_000).warnings)
    assert any("allows 5" in one for one in made(readers=2).warnings)
    made_ = made(events=16_000)  # 16,000 events of 250 µs take the 4 vCPU of one task
    assert made_.catch_up_minutes is None
    assert any("never catches up" in one for one in made_.warnings)


def test_more_of_anything_never_takes_less() -> None:
    before = made(providers=10, events=10)
    for scale in (100, 10_000, 1_000_000):
        after = made(providers=scale, events=scale)
        assert after.shards >= before.shards
        assert after.tasks >= before.tasks
        assert after.dollars_per_month > before.dollars_per_month
        before = after


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"providers": 0}, "providers must be more than 0, not 0"),
        ({"events_per_second": -1}, "events_per_second must be more than 0, not -1"),
        ({"events_per_second": math.nan}, "events_per_second must be more than 0, not nan"),
        ({"events_per_second": math.inf}, "events_per_second must be more than 0, not inf"),
        ({"mean_share": 1.5}, "mean_share must lie between 0 and 1, not 1.5"),
        ({"headroom": -0.1}, "headroom must be 0 or more, not -0.1"),
        ({"shard_hour": -1}, "shard_hour must be 0 or more, not -1"),
        ({"task_vcpu": 3}, "task_vcpu must be one of 1, 2, 4, 8, 16, not 3"),
        ({"retention_days": 8}, "retention_days must be 7 at most: longer retention is billed otherwise"),
        ({"providers": 1.5}, "providers must be a whole number, not 1.5"),
    ],
)
def test_nonsense_is_refused_by_name(over: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan(assume(numbers(), over))


def test_an_assumption_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^shrad_hour: there is no such assumption; there are "):
        assume(numbers(), {"shrad_hour": 1})


def test_every_number_is_among_the_assumptions_with_its_source() -> None:
    given = numbers()
    found = {one.name: one for one in plan(given, {"python_us": 200}).assumptions}
    assert set(found) == {one.name for group in given for one in fields(group)}
    assert all(one.what and one.source for one in found.values())
    assert found["python_us"].source == "given"
    assert found["jvm_us"].source.startswith("measured")


def test_prices_of_nothing_make_a_bill_of_nothing() -> None:
    demand, measured, prices = numbers()
    free = replace(prices, **{one.name: 0.0 for one in fields(prices)})
    assert plan((demand, measured, free)).dollars_per_month == 0


def test_the_engine_weighs_providers_as_the_plan_does() -> None:
    assert providers.MARGIN == MARGIN_DAYS


def test_the_page_names_the_same_figures() -> None:
    """Whoever puts new figures into `Measured` or `Prices` finds here which lines of the page to change."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Plan\n")[2].partition("\n## ")[0]
    named = {
        name: float(value.replace(",", ""))
        for name, value in re.findall(r"^\| `(\w+)` \| ([\d.,]+) ", section, re.M)
    }
    assert named == {one.name: one.default for group in (Measured, Prices) for one in fields(group)}
