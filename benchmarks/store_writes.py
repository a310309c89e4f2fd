"""What the DynamoDB store costs its process, beside boto3's client: `python -m benchmarks.store_writes`.

The server is another process that answers at once, so only the client's CPU counts; with a delay, it shows how calls
go side by side.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import re
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import SimpleQueue

from rich.console import Console
from rich.table import Table as Grid

from kcl_app import wiring
from kcl_app.settings import Settings
from kcl_app.stores.base import Outcome, Put, Row, Table
from kcl_app.stores.dynamodb import DynamoDBStore
from kcl_app.stores.dynamodb_json import to_value

WRITES = 200
ROWS = 90
LATENCY = 0.005
"""Seconds that DynamoDB takes for an answer."""
REPEATS = 7
_ROW = (
    b'{"sk":{"S":"2026-03-09"},"write_version":{"S":"0123456789abcdef0123456789abcdef"},"schema":{"N":"1"}}'
)
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Server(asyncio.Protocol):
    """Says that all went well."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, rest = self._got.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(rest) < int(length[1]):
            return
        self._got = b""
        body = self._answer(head, rest)
        said = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%b"
        asyncio.get_running_loop().call_later(self._delay, self._transport.write, said % (len(body), body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if b".BatchExecuteStatement" in head:
            number = body.count(b'"Statement":')
            return b'{"Responses":[' + b",".join([b'{"TableName":"t"}'] * number) + b"]}"
        return b'{"Count":%d,"Items":[' % ROWS + b",".join([_ROW] * ROWS) + b"]}"


def _serve(delay: float, ports: SimpleQueue[int]) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(partial(_Server, delay), "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def _puts() -> list[Put]:
    """Documents and copies of items, inserts and updates, of usual sizes."""
    row: Row = {
        "pk": "acme#standard#p-0001",
        "kind": "appointment",
        "status": "booked",
        "starts_at": "2026-03-09T13:00:00Z",
        "ends_at": "2026-03-09T13:30:00Z",
        "providers": '["p-0001"]',
        "impacts": '{"p-0001":[["2026-03-09T13:00:00Z","2026-03-09T13:30:00Z"]]}',
        "body": '{"status":"booked","start":"2026-03-09T13:00:00Z","end":"2026-03-09T13:30:00Z"}',
        "schema": 1,
        "updated_at": "2026-03-09T12:00:00Z",
        "owner_expires_at": None,
        "expires_at": 1_780_000_000,
    }
    return [
        Put(
            Table.ITEMS,
            row | {"sk": f"appointment#ap-{number}", "revision": "2"},
            "1" if number % 2 else None,
        )
        for number in range(WRITES)
    ]


class _Boto:
    """The calls as boto3's client makes them, one after the other."""

    def __init__(self, settings: Settings) -> None:
        self._client = wiring.dynamodb(settings)

    def write(self, puts: list[Put]) -> None:
        for start in range(0, len(puts), 25):
            self._client.batch_execute_statement(
                Statements=[self._statement(put) for put in puts[start : start + 25]]  # type: ignore[misc]
            )

    def _statement(self, put: Put) -> dict[str, object]:
        if put.expect is None:
            text = ", ".join(f"'{column}': ?" for column in put.row)
            text = f'INSERT INTO "scheduling-items" VALUE {{{text}}}'
            return {"Statement": text, "Parameters": [to_value(value) for value in put.row.values()]}
        columns = [column for column in put.row if column not in ("pk", "sk")]
        text = " ".join(f'SET "{column}"=?' for column in columns)
        text = f'UPDATE "scheduling-items" {text} WHERE "pk"=? AND "sk"=? AND "revision"=?'
        values = [put.row[column] for column in columns] + [*put.key, put.expect]
        return {"Statement": text, "Parameters": [to_value(value) for value in values]}

    def query(self) -> None:
        self._client.query(
            TableName="available-spans",
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "p"}},
            ConsistentRead=True,
        )


def _least(what: Callable[[], object], clock: Callable[[], float], times: int) -> float:
    """Seconds of the quickest of some repeats."""
    what()
    best = float("inf")
    for _ in range(REPEATS):
        start = clock()
        for _ in range(times):
            what()
        best = min(best, (clock() - start) / times)
    return best


def _measure(grid: Grid, settings: Settings, delay: float) -> None:
    puts, boto, names = _puts(), _Boto(settings), settings.tables.names()
    ways: list[tuple[str, Callable[[list[Put]], object], Callable[[], object] | None]] = [
        ("boto3's client", boto.write, boto.query)
    ]
    for parallel in (1, 4, 8) if delay else (8,):
        store = DynamoDBStore(wiring.dynamodb_calls(settings), names, parallel=parallel)
        assert set(store.write(puts)) == {Outcome.APPLIED}
        ways.append((f"the store, {parallel} threads", store.write, partial(store.query, Table.SPANS, "p")))
    for name, write, query in ways:
        if delay:
            wall = _least(lambda write=write: write(puts), time.perf_counter, 3)  # type: ignore[misc]
            grid.add_row(
                name, f"{wall * 1e3:.1f} ms for {WRITES} writes at {delay * 1e3:.0f} ms a call", "", ""
            )
            continue
        cpu = _least(lambda write=write: write(puts), time.process_time, 5)  # type: ignore[misc]
        alone = _least(lambda write=write: write(puts[:1]), time.process_time, 40)  # type: ignore[misc]
        read = _least(query, time.process_time, 20) if query else 0.0
        grid.add_row(
            name,
            f"{cpu / WRITES * 1e6:.1f} µs a write",
            f"{alone * 1e6:.0f} µs",
            f"{read / ROWS * 1e6:.1f} µs a row",
        )


def main() -> None:
    """Measure, and print a table."""
    grid = Grid("way", f"{WRITES} writes", "one write", f"query of {ROWS} rows")
    context = multiprocessing.get_context("spawn")
    for delay in (0.0, LATENCY):
        ports: SimpleQueue[int] = context.SimpleQueue()
        server = context.Process(target=_serve, args=(delay, ports), daemon=True)
        server.start()
        try:
            settings = Settings.model_validate({"aws": {"endpoint_url": f"http://127.0.0.1:{ports.get()}"}})
            _measure(grid, settings, delay)
        finally:
            server.terminate()
            server.join()
    Console(width=140).print(grid)


if __name__ == "__main__":
    main()
