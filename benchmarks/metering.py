"""A proxy before DynamoDB that counts what passes. It takes time, so it is for runs that are not timed."""

from __future__ import annotations

import asyncio
import json
import threading

from benchmarks.units import Cost, Meter
from kcl_app.local.soak.messages import MAX_HEAD, Message, read_answer, read_request

_GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class MeteringProxy:
    """A proxy on a free port of 127.0.0.1, in a thread of its own.

    Args:
        target: port of DynamoDB.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._meter = Meter()
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="metering", daemon=True)
        self._error: Exception | None = None
        self.port = 0

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._started.wait()

    def stop(self) -> None:
        """Close everything."""
        if self._end is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(10)

    def cost(self) -> Cost:
        """All that has passed so far.

        Raises:
            ValueError: something passed that cannot be counted.
        """
        with self._lock:
            if self._error is not None:
                raise ValueError(f"a call to DynamoDB cannot be counted: {self._error}")
            return self._meter.cost

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._started.set()
            self._loop.close()

    async def _main(self) -> None:
        self._end = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._end.wait()
        server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target, limit=MAX_HEAD)
            while (request := await read_request(reader, writer)) is not None:
                far.write(request.bytes())
                await far.drain()
                given = await read_answer(far_reader, request.head.split(b" ", 1)[0].decode("latin-1"))
                self._count(request, given)
                writer.write(given.bytes())
                await writer.drain()
        except _GONE:
            pass  # the client sees its connection close, and asks again
        finally:
            for one in (far, writer):
                if one is not None:
                    one.close()

    def _count(self, request: Message, given: Message) -> None:
        operation = request.header("x-amz-target").rpartition(".")[2]
        status = int(given.head.split(b" ", 2)[1])
        with self._lock:
            try:
                body = json.loads(request.body or b"{}")
                self._meter.take(operation, body, status, json.loads(given.body or b"{}"))
            except (ValueError, KeyError, TypeError) as error:
                self._error = self._error or error
