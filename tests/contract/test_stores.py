"""One contract that every store passes, and how the DynamoDB store bears what only a faulty network brings.

The contract runs on the store in memory and on DynamoDB as the local cloud has it. moto is left out: its PartiQL needs
a package of its own and takes an UPDATE whose condition does not hold for a success.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from kcl_app import wiring
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.settings import Settings, load
from kcl_app.stores.base import Outcome, Put, Row, Store, Table
from kcl_app.stores.dynamodb import ATTEMPTS, CALL_BYTES, DynamoDBStore
from kcl_app.stores.memory import MemoryStore
from kcl_app.stores.s3 import S3Blobs
from processors.errors import Fatal, Retry

APPLIED, CONFLICT, UNKNOWN, TOO_LARGE = Outcome.APPLIED, Outcome.CONFLICT, Outcome.UNKNOWN, Outcome.TOO_LARGE


@pytest.fixture(scope="module")
def local_settings(local_cloud_venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """One local cloud for all tests of this file; each writes under keys of its own."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = load(
        aws={"region": "us-east-1", "endpoint_url": f"http://127.0.0.1:{port}"},
        local={"directory": tmp_path_factory.mktemp("cloud")},
    )
    cloud = LocalCloud(settings, venv=local_cloud_venv)
    try:
        cloud.start()
        yield settings
    finally:
        cloud.stop(save=False)


@pytest.fixture(params=["memory", pytest.param("local cloud", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store."""
    if request.param == "memory":
        return MemoryStore()
    return wiring.store(request.getfixturevalue("local_settings"))


@pytest.fixture
def pk(request: pytest.FixtureRequest) -> str:
    """A partition that no other test writes to."""
    return f"contract#{request.node.originalname}"


def put(pk: str, sk: str, version: str, expect: str | None = None, **over: Any) -> Put:
    """A write of a row of `scheduling-items`."""
    return Put(Table.ITEMS, {"pk": pk, "sk": sk, "revision": version, "body": "{}", **over}, expect)


def test_a_row_is_inserted_where_there_is_none(store: Store, pk: str) -> None:
    assert store.write([put(pk, "a", "1")]) == [APPLIED]
    assert store.query(Table.ITEMS, pk) == [dict(put(pk, "a", "1").row)]


def test_a_row_that_is_there_is_not_inserted_again(store: Store, pk: str) -> None:
    store.write([put(pk, "a", "1")])
    assert store.write([put(pk, "a", "1", body="other")]) == [CONFLICT]
    assert store.query(Table.ITEMS, pk) == [dict(put(pk, "a", "1").row)]


def test_a_row_is_replaced_whole_where_the_version_is_exactly_the_one_read(store: Store, pk: str) -> None:
    store.write([put(pk, "a", "5", count=1, note="x")])
    new = put(pk, "a", "6", "5", count=2, note=None)
    assert store.write([new]) == [APPLIED]
    assert store.query(Table.ITEMS, pk) == [dict(new.row)]


@pytest.mark.parametrize("expect", ["4", "6", "05", ""])
def test_nothing_is_written_on_any_other_version(store: Store, pk: str, expect: str) -> None:
    """Not on an older one, not on a newer one: only on the very one."""
    key = f"a{expect}"
    store.write([put(pk, key, "5")])
    assert store.write([put(pk, key, "7", expect, body="other")]) == [CONFLICT]
    assert store.get(Table.ITEMS, [(pk, key)]) == {(pk, key): dict(put(pk, key, "5").row)}


def test_no_row_is_made_by_an_update(store: Store, pk: str) -> None:
    assert store.write([put(pk, "a", "2", "1")]) == [CONFLICT]
    assert store.query(Table.ITEMS, pk) == []


@pytest.mark.parametrize("table", list(Table))
def test_every_table_has_a_version_of_its_own_name(store: Store, pk: str, table: Table) -> None:
    def row(version: str) -> dict[str, str | int | None]:
        return {"pk": pk, "sk": table.name, table.version: version}

    assert store.write([Put(table, row("1"), None)]) == [APPLIED]
    assert store.write([Put(table, row("3"), "2"), Put(table, row("2") | {"sk": "other"}, None)]) == [
        CONFLICT,
        APPLIED,
    ]
    assert store.write([Put(table, row("2"), "1")]) == [APPLIED]


@pytest.mark.parametrize("number", [1, 25, 26, 130])
def test_outcomes_come_in_the_order_of_the_writes(store: Store, pk: str, number: int) -> None:
    """More writes than one call takes, every third of them refused."""
    names = [f"{number}-{index:03d}" for index in range(number)]
    random.Random(number).shuffle(names)
    there = names[::3]
    store.write([put(pk, name, "1") for name in there])
    outcomes = store.write([put(pk, name, "1", note="new") for name in names])
    assert outcomes == [CONFLICT if name in there else APPLIED for name in names]
    assert len(store.query(Table.ITEMS, pk, (f"{number}-", f"{number}-999"))) == number


def test_no_writes_have_no_outcomes(store: Store) -> None:
    assert store.write([]) == []


def test_a_query_reads_past_the_megabyte_of_a_page(store: Store, pk: str) -> None:
    puts = [put(pk, f"{index:02d}", "1", body="x" * 100_000) for index in range(25)]
    assert set(store.write(puts)) == {APPLIED}
    assert [row["sk"] for row in store.query(Table.ITEMS, pk)] == [f"{index:02d}" for index in range(25)]


def test_a_query_is_sorted_and_takes_bounds_that_are_included(store: Store, pk: str) -> None:
    store.write([put(pk, sk, "1") for sk in ("b", "d", "a", "c", "B")])
    assert [row["sk"] for row in store.query(Table.ITEMS, pk)] == ["B", "a", "b", "c", "d"]
    assert [row["sk"] for row in store.query(Table.ITEMS, pk, ("b", "c"))] == ["b", "c"]
    assert store.query(Table.ITEMS, pk, ("e", "f")) == []
    assert store.query(Table.ITEMS, pk + "x") == []


def test_a_query_gives_only_the_attributes_wanted(store: Store, pk: str) -> None:
    """Also those whose names are words of the query language."""
    store.write([put(pk, "a", "1", status="s", date="d")])
    wanted = store.query(Table.ITEMS, pk, attributes=("sk", "status", "date"))
    assert wanted == [{"sk": "a", "status": "s", "date": "d"}]


def test_get_finds_those_that_are_there_among_more_than_a_call_takes(store: Store, pk: str) -> None:
    store.write([put(pk, f"{index:03d}", "1") for index in range(0, 250, 2)])
    keys = [(pk, f"{index:03d}") for index in range(250)]
    found = store.get(Table.ITEMS, [*keys, *keys[:3]])
    assert sorted(found) == keys[::2]
    assert all(row["sk"] == sk for (_, sk), row in found.items())
    assert store.get(Table.ITEMS, [(pk, "none")]) == {}
    assert store.get(Table.ITEMS, []) == {}


def test_a_transaction_writes_all(store: Store, pk: str) -> None:
    store.write([put(pk, "a", "1")])
    assert store.transact([put(pk, "a", "2", "1"), put(pk, "b", "2"), put(pk + "2", "c", "2")]) is APPLIED
    assert [row["revision"] for row in store.query(Table.ITEMS, pk)] == ["2", "2"]
    assert len(store.query(Table.ITEMS, pk + "2")) == 1


@pytest.mark.parametrize(
    "refused",
    [put("", "old", "9", "1"), put("", "there", "9"), put("", "absent", "9", "1")],
    ids=["another version", "there although it should not be", "absent although it should be there"],
)
def test_a_transaction_of_which_one_condition_fails_writes_nothing(
    store: Store, pk: str, refused: Put
) -> None:
    pk = f"{pk}#{refused.key[1]}"
    store.write([put(pk, "fine", "1"), put(pk, "old", "2"), put(pk, "there", "1")])
    before = store.query(Table.ITEMS, pk)
    mine = Put(Table.ITEMS, {**refused.row, "pk": pk}, refused.expect)
    assert store.transact([put(pk, "fine", "2", "1"), put(pk, "new", "1"), mine]) is CONFLICT
    assert store.query(Table.ITEMS, pk) == before


def test_a_transaction_takes_a_hundred_rows(store: Store, pk: str) -> None:
    puts = [put(pk, f"{index:03d}", "1") for index in range(100)]
    assert store.transact(puts) is APPLIED
    assert store.transact(puts) is CONFLICT
    assert len(store.query(Table.ITEMS, pk)) == 100


def test_values_come_back_as_they_were(store: Store, pk: str) -> None:
    """Null, numbers, nothing at all, quotes, and every plane of Unicode."""
    row: dict[str, Any] = {
        "n": None,
        "zero": 0,
        "big": 2**53,
        "minus": -1,
        "empty": "",
        "text": "Zoë \U0001f600 'x' \"y\" ? \\ \n",
        "control": "\x00\x1f\x7f\u2028\r\t",
        "long": "é" * 50_000,
        "word select": "name",
    }
    store.write(
        [
            put(pk, "insert", "1", **row),
            put(pk, "update", "1", n="", zero=1, big=1, minus=1, empty=None, text="", control=1),
        ]
    )
    store.write([put(pk, "update", "2", "1", **row)])
    inserted, updated = store.query(Table.ITEMS, pk)
    for name, value in row.items():
        assert inserted[name] == updated[name] == value
        assert type(inserted[name]) is type(updated[name]) is type(value)


def test_percent_encoded_keys_do_not_reach_each_other(store: Store, pk: str) -> None:
    keys = ["a%23b", "a#b", "a%2523b", "a'b", 'a"b']
    assert store.write([put(f"{pk}#{key}", key, "1") for key in keys]) == [APPLIED] * 5
    for key in keys:
        assert [row["sk"] for row in store.query(Table.ITEMS, f"{pk}#{key}")] == [key]


def test_a_scan_gives_every_row_once(store: Store, pk: str) -> None:
    store.write([put(f"{pk}#{index % 7}", f"{index:03d}", "1", body="x" * 20_000) for index in range(80)])
    found = sorted(str(row["sk"]) for row in store.scan(Table.ITEMS) if str(row["pk"]).startswith(pk + "#"))
    assert found == [f"{index:03d}" for index in range(80)]


def test_a_scan_gives_only_the_attributes_wanted(store: Store, pk: str) -> None:
    store.write([put(pk, "a", "1", status="s", date="d")])
    found = [row for row in store.scan(Table.ITEMS, ("pk", "date", "status")) if row["pk"] == pk]
    assert found == [{"pk": pk, "date": "d", "status": "s"}]


@pytest.mark.parametrize("table", list(Table))
def test_a_row_is_deleted_where_it_is_the_one_that_was_read(store: Store, pk: str, table: Table) -> None:
    def row(sk: str) -> Put:
        return Put(table, {"pk": pk, "sk": sk, table.version: "5"}, None)

    store.write([row("a"), row("b")])
    for other in ("4", "6", "05", ""):
        assert store.delete(table, (pk, "a"), other) is CONFLICT
    assert len(store.query(table, pk)) == 2
    assert store.delete(table, (pk, "a"), "5") is APPLIED
    assert [one["sk"] for one in store.query(table, pk)] == ["b"]


def test_deleting_a_row_that_is_not_there_is_a_conflict_and_makes_none(store: Store, pk: str) -> None:
    assert store.delete(Table.ITEMS, (pk, "a"), "1") is CONFLICT
    assert store.query(Table.ITEMS, pk) == []
    store.write([put(pk, "a", "1")])
    assert store.delete(Table.ITEMS, (pk, "a"), "1") is APPLIED
    assert store.delete(Table.ITEMS, (pk, "a"), "1") is CONFLICT
    assert store.write([put(pk, "a", "2")]) == [APPLIED], "there is room for another"


def test_what_is_read_is_a_copy(store: Store, pk: str) -> None:
    """Changing what a store gave does not change what it holds."""
    store.write([put(pk, "a", "1")])
    store.query(Table.ITEMS, pk)[0]["body"] = "changed"
    store.get(Table.ITEMS, [(pk, "a")])[pk, "a"]["body"] = "changed"
    assert store.query(Table.ITEMS, pk)[0]["body"] == "{}"


def test_a_row_larger_than_dynamodb_takes_is_refused_in_memory_too() -> None:
    large = MemoryStore()
    assert large.write([put("p", "a", "1", body="x" * 410_000), put("p", "b", "1")]) == [TOO_LARGE, APPLIED]
    assert large.transact([put("p", "c", "1"), put("p", "d", "1", body="é" * 205_000)]) is TOO_LARGE
    assert [row["sk"] for row in large.query(Table.ITEMS, "p")] == ["b"]


# How DynamoDB fails, on a client that does what it is told.

Answer = Any


def client_error(code: str, message: str = "", **over: Any) -> ClientError:
    """What boto3 raises for an error answer."""
    answer: Any = {"Error": {"Code": code, "Message": message}, **over}
    return ClientError(answer, "Operation")


def refusal(code: str, message: str = "") -> dict[str, Any]:
    """A statement's own error within a batch."""
    return {"Error": {"Code": code, "Message": message}}


class FakeClient:
    """Answers each call from a script, and notes what was asked."""

    def __init__(self, *script: Answer) -> None:
        self.script = list(script)
        self.asked: list[dict[str, Any]] = []

    def _answer(self, **request: Any) -> Any:
        self.asked.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    put_object = get_object = delete_object = _answer

    def __call__(self, operation: str, body: bytes) -> Any:
        return self._answer(**json.loads(body))


class Fake:
    """A DynamoDB store on a fake client."""

    def __init__(self, *script: Answer) -> None:
        self.client = FakeClient(*script)
        self.slept: list[float] = []
        self.seen: list[tuple[str, str]] = []
        names = {table.setting: table.setting for table in Table}
        self.store = DynamoDBStore(
            self.client, names, lambda *what: self.seen.append(what), sleep=self.slept.append
        )

    def keys(self, call: int) -> list[str]:
        """The sort keys of the statements of a call."""
        return [
            next(value["S"] for value in statement["Parameters"] if value.get("S", "").startswith("sk-"))
            for statement in self.client.asked[call]["Statements"]
        ]


OK: dict[str, Any] = {}
LOST = ReadTimeoutError(endpoint_url="http://x")
UNREACHABLE = [EndpointConnectionError(endpoint_url="http://x"), ConnectTimeoutError(endpoint_url="http://x")]


def responses(*each: dict[str, Any]) -> dict[str, Any]:
    """An answer of BatchExecuteStatement."""
    return {"Responses": list(each)}


def three() -> Sequence[Put]:
    """Two inserts and an update between them."""
    return [put("p", "sk-0", "1"), put("p", "sk-1", "2", "1"), put("p", "sk-2", "1")]


@pytest.mark.parametrize(
    "code", ["ThrottlingError", "ProvisionedThroughputExceeded", "InternalServerError", "TransactionConflict"]
)
def test_only_the_statements_that_were_throttled_are_tried_again(code: str) -> None:
    fake = Fake(responses(OK, refusal(code), refusal("DuplicateItem")), responses(OK))
    assert fake.store.write(three()) == [APPLIED, APPLIED, CONFLICT]
    assert [fake.keys(call) for call in (0, 1)] == [["sk-0", "sk-1", "sk-2"], ["sk-1"]]
    assert len(fake.slept) == 1
    assert ("BatchExecuteStatement", "throttled") in fake.seen


@pytest.mark.parametrize(
    "code", ["ConditionalCheckFailed", "ConditionalCheckFailedException", "DuplicateItem"]
)
def test_each_statement_has_an_outcome_of_its_own(code: str) -> None:
    fake = Fake(
        responses(refusal(code), OK, refusal("ValidationError", "Item size has exceeded the maximum"))
    )
    assert fake.store.write(three()) == [CONFLICT, APPLIED, TOO_LARGE]


def test_a_call_throttled_as_a_whole_is_tried_again() -> None:
    fake = Fake(client_error("ThrottlingException"), responses(OK, OK, OK))
    assert fake.store.write(three()) == [APPLIED] * 3


def test_writes_throttled_for_ever_raise_retry() -> None:
    for answer in (client_error("ThrottlingException"), responses(*[refusal("ThrottlingError")] * 3)):
        fake = Fake(answer)
        with pytest.raises(Retry):
            fake.store.write(three())
        assert len(fake.client.asked) == ATTEMPTS


def test_a_statement_throttled_for_ever_beside_others_is_not_called_a_conflict() -> None:
    """A conflict says that a row is there; a dead letter would then count as sent, and be lost."""
    fake = Fake(responses(OK, refusal("ThrottlingError"), OK), responses(refusal("ThrottlingError")))
    assert fake.store.write(three()) == [APPLIED, UNKNOWN, APPLIED]


def test_a_lost_answer_leaves_every_write_of_its_call_unknown() -> None:
    fake = Fake(LOST)
    assert fake.store.write(three()) == [UNKNOWN] * 3
    assert fake.store.transact(three()) is UNKNOWN
    assert fake.store.delete(Table.ITEMS, ("p", "s"), "1") is UNKNOWN
    assert ("TransactWriteItems", "lost") in fake.seen


def test_an_answer_lost_after_some_were_done_leaves_only_the_others_unknown() -> None:
    fake = Fake(responses(OK, refusal("ThrottlingError"), OK), LOST)
    assert fake.store.write(three()) == [APPLIED, UNKNOWN, APPLIED]


@pytest.mark.parametrize("error", UNREACHABLE)
def test_what_was_never_sent_is_retried(error: Exception) -> None:
    for call in calls(Fake(error).store):
        with pytest.raises(Retry):
            call()


@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ResourceNotFoundException", "UnrecognizedClientException"]
)
def test_a_refusal_of_the_whole_is_fatal(code: str) -> None:
    """No table or no permission: trying again does not help, and going on could lose data."""
    for call in calls(Fake(client_error(code, "User: arn… is not authorized")).store):
        with pytest.raises(Fatal, match=code):
            call()


def test_a_refusal_of_one_statement_is_fatal_too() -> None:
    with pytest.raises(Fatal, match="AccessDenied"):
        Fake(responses(OK, refusal("AccessDenied"), OK)).store.write(three())


def test_reads_throttled_for_ever_raise_retry_and_so_do_lost_ones() -> None:
    for error in (client_error("ProvisionedThroughputExceededException"), LOST):
        query, get, scan, *_ = calls(Fake(error).store)
        for call in (query, get, scan):
            with pytest.raises(Retry):
                call()


def calls(store: Store) -> list[Callable[[], object]]:
    """Each operation once."""
    return [
        lambda: store.query(Table.ITEMS, "p"),
        lambda: store.get(Table.ITEMS, [("p", "s")]),
        lambda: list(store.scan(Table.ITEMS)),
        lambda: store.write(three()),
        lambda: store.transact(three()),
        lambda: store.delete(Table.ITEMS, ("p", "s"), "1"),
    ]


def cancelled(*codes: str) -> ClientError:
    """A cancelled transaction, with a reason for each item."""
    return client_error(
        "TransactionCanceledException", CancellationReasons=[{"Code": code} for code in codes]
    )


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OK], APPLIED),
        ([cancelled("None", "ConditionalCheckFailed", "None")], CONFLICT),
        ([cancelled("TransactionConflict", "None", "None")], CONFLICT),
        ([cancelled("ThrottlingError", "None", "None"), OK], APPLIED),
        (
            [client_error("ThrottlingException"), cancelled("None", "ConditionalCheckFailed", "None")],
            CONFLICT,
        ),
        ([cancelled("None", "None", "ValidationError")], TOO_LARGE),
        ([client_error("ValidationException", "Item size has exceeded")], TOO_LARGE),
    ],
)
def test_what_becomes_of_a_transaction(answers: list[Answer], outcome: Outcome) -> None:
    assert Fake(*answers).store.transact(three()) is outcome


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([OK], APPLIED),
        ([client_error("ConditionalCheckFailedException")], CONFLICT),
        ([client_error("ThrottlingException"), client_error("TransactionConflictException"), OK], APPLIED),
        ([client_error("ThrottlingException"), LOST], UNKNOWN),
    ],
)
def test_what_becomes_of_a_deletion(answers: list[Answer], outcome: Outcome) -> None:
    assert Fake(*answers).store.delete(Table.ITEMS, ("p", "s"), "1") is outcome


def test_a_deletion_throttled_for_ever_raises_retry() -> None:
    with pytest.raises(Retry):
        Fake(client_error("ThrottlingException")).store.delete(Table.ITEMS, ("p", "s"), "1")


def test_a_transaction_throttled_for_ever_raises_retry() -> None:
    with pytest.raises(Retry):
        Fake(cancelled("ProvisionedThroughputExceeded", "None", "None")).store.transact(three())


def test_keys_left_unprocessed_are_asked_for_again() -> None:
    left = {"UnprocessedKeys": {"items": {"Keys": [{"pk": {"S": "p"}, "sk": {"S": "b"}}]}}}
    row: Row = {"pk": "p", "sk": "b"}
    item = {name: {"S": value} for name, value in row.items()}
    fake = Fake({"Responses": {}, **left}, {"Responses": {"items": [item]}, "UnprocessedKeys": {}})
    assert fake.store.get(Table.ITEMS, [("p", "a"), ("p", "b")]) == {("p", "b"): row}
    with pytest.raises(Retry):
        Fake({"Responses": {}, **left}).store.get(Table.ITEMS, [("p", "b")])


def test_every_read_is_strongly_consistent() -> None:
    fake = Fake({"Items": [], "Responses": {}})
    fake.store.query(Table.ITEMS, "p")
    fake.store.get(Table.ITEMS, [("p", "s")])
    list(fake.store.scan(Table.ITEMS))
    query, get, scan = fake.client.asked
    assert query["ConsistentRead"]
    assert scan["ConsistentRead"]
    assert get["RequestItems"]["items"]["ConsistentRead"]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (client_error("AccessDenied"), Fatal),
        (client_error("NoSuchBucket"), Fatal),
        (client_error("SlowDown"), Retry),
        (LOST, Retry),
        (UNREACHABLE[0], Retry),
    ],
)
def test_a_bucket_that_cannot_take_a_letter(error: Exception, raised: type[Exception]) -> None:
    blobs = S3Blobs(cast(Any, FakeClient(error)), "bucket")
    tries: list[Callable[[], object]] = [
        lambda: blobs.put("key", b"data"),
        lambda: blobs.get("key"),
        lambda: blobs.delete("key"),
    ]
    for call in tries:
        with pytest.raises(raised):
            call()


def test_a_call_is_not_larger_than_dynamodb_takes() -> None:
    """Fewer than 25 rows go together where they are large; one that is too large goes alone, for DynamoDB to say so."""
    sizes = [CALL_BYTES // 3] * 4 + [CALL_BYTES * 2, 10, 10]

    class Sized:
        def __init__(self) -> None:
            self.calls: list[int] = []

        def __call__(self, operation: str, body: bytes) -> Any:
            number = len(json.loads(body)["Statements"])
            assert number == 1 or len(body) < CALL_BYTES + 1000
            self.calls.append(number)
            return responses(*[OK] * number)

    sized = Sized()
    store = DynamoDBStore(sized, {table.setting: table.setting for table in Table})
    puts = [put("p", f"sk-{place}", "1", body="x" * size) for place, size in enumerate(sizes)]
    assert store.write(puts) == [APPLIED] * 7
    assert sorted(sized.calls) == [1, 2, 2, 2]
