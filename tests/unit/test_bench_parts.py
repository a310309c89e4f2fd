"""The benchmark's arithmetic: units as DynamoDB charges them, rates, percentiles, loads and the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plots, report
from benchmarks.figures import timed
from benchmarks.loads import LOADS, Load, Message
from benchmarks.probing import percentile
from benchmarks.running import Run
from benchmarks.sampling import Sample, rate
from benchmarks.stages import STAGES
from benchmarks.units import Cost, Meter, read_units, sizes_of, value_bytes, write_units
from kcl_app.settings import PROJECT_ROOT


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "abc"}, 3),
        ({"S": "ä€"}, 5),
        ({"N": "12345"}, 4),
        ({"B": "AAAA"}, 3),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"L": [{"S": "ab"}]}, 6),
        ({"M": {"k": {"S": "ab"}}}, 7),
        ({"SS": ["ab", "c"]}, 3),
    ],
)
def test_a_value_has_the_size_that_dynamodb_counts(value: dict[str, Any], size: int) -> None:
    assert value_bytes(value) == size


@pytest.mark.parametrize(
    ("size", "write", "strong", "eventual"),
    [(0, 1, 1, 0.5), (1024, 1, 1, 0.5), (1025, 2, 1, 0.5), (4096, 4, 1, 0.5), (4097, 5, 2, 1.0)],
)
def test_units_are_rounded_up(size: int, write: int, strong: float, eventual: float) -> None:
    assert write_units(size) == write
    assert (read_units(size, True), read_units(size, False)) == (strong, eventual)


def row(sk: str, size: int) -> dict[str, Any]:
    """An item of so many bytes."""
    item = {"pk": {"S": "p"}, "sk": {"S": sk}, "body": {"S": ""}}
    return item | {"body": {"S": "x" * (size - sum(sizes_of(item).values()))}}


def put(sk: str, size: int) -> dict[str, Any]:
    return {"TableName": "t", "Item": row(sk, size)}


REFUSED = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}


def spent(
    meter: Meter, operation: str, request: dict[str, Any], answer: dict[str, Any], status: int = 200
) -> Cost:
    before = meter.cost
    meter.take(operation, request, status, answer)
    return meter.cost - before


def test_a_write_costs_the_larger_of_before_and_after() -> None:
    meter = Meter()
    assert spent(meter, "PutItem", put("a", 3000), {}) == Cost(1, 3, 0)
    assert spent(meter, "PutItem", put("a", 100), {}) == Cost(1, 3, 0)
    assert spent(meter, "PutItem", put("a", 100), {}) == Cost(1, 1, 0)


def test_a_failed_condition_costs_what_is_there_and_changes_nothing() -> None:
    meter = Meter()
    meter.take("PutItem", put("a", 3000), 200, {})
    assert spent(meter, "PutItem", put("a", 5000), REFUSED, 400) == Cost(1, 3, 0)
    assert spent(meter, "PutItem", put("b", 5000), REFUSED, 400) == Cost(1, 1, 0)
    assert spent(meter, "PutItem", put("c", 5000), {"__type": "x#ThrottlingException"}, 400) == Cost(1, 0, 0)


def test_statements_of_one_call_each_have_their_own_cost() -> None:
    meter = Meter()
    big = {"S": "x" * 2000}
    insert = {
        "Statement": "INSERT INTO \"t\" VALUE {'pk': ?, 'sk': ?, 'body': ?}",
        "Parameters": [{"S": "p"}, {"S": "a"}, big],
    }
    again = {"Responses": [{}, {"Error": {"Code": "DuplicateItem"}}]}
    assert spent(meter, "BatchExecuteStatement", {"Statements": [insert, insert]}, again) == Cost(1, 4, 0)
    update = {
        "Statement": 'UPDATE "t" SET "status"=? SET "body"=? WHERE "pk"=? AND "sk"=? AND "revision"=?',
        "Parameters": [{"S": "s"}, {"S": "small"}, {"S": "p"}, {"S": "a"}, {"S": "r"}],
    }
    assert spent(meter, "BatchExecuteStatement", {"Statements": [update]}, {"Responses": [{}]}) == Cost(
        1, 2, 0
    )
    assert spent(meter, "BatchExecuteStatement", {"Statements": [update]}, {"Responses": [{}]}) == Cost(
        1, 1, 0
    )


def test_a_transaction_costs_twice() -> None:
    request = {"TransactItems": [{"Put": put("a", 1500)}, {"Put": put("b", 10)}]}
    assert spent(Meter(), "TransactWriteItems", request, {}) == Cost(1, 6, 0)


def test_an_update_merges_with_what_is_there() -> None:
    meter = Meter()
    meter.take("PutItem", put("a", 1500), 200, {})
    request = {
        "TableName": "t",
        "Key": {"pk": {"S": "p"}, "sk": {"S": "a"}},
        "UpdateExpression": "SET #s = :s",
        "ExpressionAttributeNames": {"#s": "status"},
        "ExpressionAttributeValues": {":s": {"S": "x" * 1000}},
    }
    assert spent(meter, "UpdateItem", request, {}) == Cost(1, 3, 0)


def test_a_query_is_rounded_once_and_gets_are_each() -> None:
    meter = Meter()
    items = [row("a", 3000), row("b", 3000)]
    for item in items:
        meter.take("PutItem", {"TableName": "t", "Item": item}, 200, {})
    query = {"TableName": "t", "ConsistentRead": True}
    # Only what was asked for comes back, but all of the items is paid for.
    short = [{"pk": item["pk"], "sk": item["sk"]} for item in items]
    assert spent(meter, "Query", query, {"Items": short}) == Cost(1, 0, 2)
    assert spent(meter, "Query", query, {"Items": []}) == Cost(1, 0, 1)
    gets = {"RequestItems": {"t": {"Keys": [{}, {}, {}], "ConsistentRead": True}}}
    assert spent(meter, "BatchGetItem", gets, {"Responses": {"t": items}}) == Cost(1, 0, 3)


def test_describing_costs_nothing() -> None:
    assert spent(Meter(), "DescribeTable", {"TableName": "t"}, {}) == Cost()


def test_a_statement_that_cannot_be_counted_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not know"):
        Meter().take("ExecuteStatement", {"Statement": 'SELECT * FROM "t"'}, 200, {})


@pytest.mark.parametrize(("fraction", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentiles_are_by_nearest_rank(fraction: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), fraction) == value
    assert percentile([7], fraction) == 7
    assert percentile([], fraction) is None


def samples(*points: tuple[float, int]) -> list[Sample]:
    return [Sample(at, settled) for at, settled in points]


def test_the_rate_leaves_out_the_start_and_the_rest_after_the_end() -> None:
    seen = samples((0, 0), (30, 0), (31, 100), (32, 1100), (33, 2100), (40, 2200), (50, 2200))
    assert rate(seen, 2200) == 1000
    assert rate(samples((0, 50), (1, 50), (2, 150), (3, 250)), 1000) == 100
    assert rate(samples((0, 0), (1, 0)), 10) is None
    assert rate(samples((0, 0), (2, 10)), 10) == 5


def one_run(**over: Any) -> Run:
    before = Sample(
        10.0, 100, {1: 1.0, 2: 1.0}, {1: 50 << 20, 2: 40 << 20}, 5.0, {"kinesis": 1.0, "supervisor": 1.0}
    )
    after = Sample(
        20.0, 1100, {1: 1.4, 2: 1.1}, {1: 60 << 20, 2: 70 << 20}, 5.2, {"kinesis": 1.3, "supervisor": 1.0}
    )
    values: dict[str, Any] = {
        "load": Load("burst", 2, (), ()),
        "samples": [before, after],
        "total": 1100,
        "finished": True,
        "probes_sent": 2,
        "seconds": [0.5, 1.0],
        "startup_seconds": 40.0,
        "cost": None,
    }
    return Run(**{**values, **over})


def test_cpu_is_that_of_the_measured_events_and_memory_that_of_the_largest_child() -> None:
    found = timed(one_run())
    assert found["events"] == 1000
    assert (found["python_cpu_us_per_event"], found["jvm_cpu_us_per_event"]) == (500.0, 200.0)
    assert found["emulator_cpu_us_per_event"] == {"kinesis": 300.0}
    assert (found["rss_mb_start"], found["rss_mb_end"]) == (50.0, 70.0)
    assert (found["p50_s"], found["p99_s"], found["capped"]) == (0.5, 1.0, False)
    assert timed(one_run(finished=False))["capped"] is True


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_the_same_every_time_and_a_part_of_it_is_whole_providers(name: str) -> None:
    load = LOADS[name](0.002)
    assert load == LOADS[name](0.002)
    assert load.events
    assert any(one.probe for one in load.events)
    part = load.at_most(len(load.events) // 2)
    assert 0 < len(part.events) <= len(load.events) // 2
    assert part.capped
    assert set(part.events) <= set(load.events)
    assert load.at_most(len(load.events)) is load


def test_a_part_has_all_events_of_its_providers_and_their_setup() -> None:
    def messages(*providers: str) -> tuple[Message, ...]:
        return tuple(Message(provider, str(place).encode()) for place, provider in enumerate(providers))

    load = Load("x", 1, messages("a", "b", "c"), messages("a", "b", "b", "a", "c", "b"))
    part = load.at_most(4)
    kept = {one.provider for one in part.events}
    assert 0 < len(part.events) <= 4
    assert part.events == tuple(one for one in load.events if one.provider in kept)
    assert part.setup == tuple(one for one in load.setup if one.provider in kept)


def test_new_providers_have_in_a_part_about_the_share_that_they_have_in_all() -> None:
    load = LOADS["burst"](0.2)
    part = load.at_most(10_000)

    def share(of: Load) -> float:
        return len({one.provider for one in of.events}) / len(of.events)

    assert share(part) == pytest.approx(share(load), rel=0.2)


def document() -> dict[str, Any]:
    figures = timed(one_run()) | {"write_units_per_event": 2.0, "read_units_per_event": 0.5, "series": []}
    naive = figures | {"python_cpu_us_per_event": 5000.0, "events_per_s": 10.0, "capped": True}
    return {
        "machine": report.machine(None),
        "options": {"scale": 0.1, "store": "dynamodb", "metered_events": 100},
        "loads": {"burst": {"null": figures, "naive": naive, "ours": figures}},
    }


def test_the_page_gets_tables_and_pictures_between_its_marks(tmp_path: Path) -> None:
    pictures = plots.draw(document(), tmp_path)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    text = report.markdown(document(), ["images/bench-sides.png"])
    assert "| burst | naive | 1,000\\* | 10 |" in text
    assert "| burst | times less python cpu than naive | 10.00 |" in text
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.into_page(page, text)
    assert once == report.into_page(once, text)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    with pytest.raises(ValueError, match="no marks"):
        report.into_page("nothing", text)


def test_the_stages_of_a_load_come_to_all_of_it() -> None:
    """Every event is settled in one process; what the looks saw is named, and adds up."""
    command = [sys.executable, "-m", "benchmarks.stages", "--scale", "0.002", "--load", "burst"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line
    ]
    (last,) = [row for row in rows if row[0] == "all"]
    known = {name for name, _, _ in STAGES} | {"other"}
    assert {row[0] for row in rows} <= known | {"all"}
    assert abs(sum(float(row[2]) for row in rows if row[0] != "all") - float(last[2])) <= len(rows)
