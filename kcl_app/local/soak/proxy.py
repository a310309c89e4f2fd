"""Stands between the workers and the local cloud, and makes the network and AWS as unreliable as they can be.

One asyncio loop in a thread of its own. Without a fault it passes messages on as the bytes they are. Of HTTP/2, which
the KCL's Kinesis client speaks, it knows no calls: such a connection as a whole is delayed, or cut off.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Collection

from kcl_app.local.soak.faults import (
    DELAY,
    DROP,
    HTTP2_CHANCE,
    LATE,
    LONGEST_DELAY,
    LOSE,
    Call,
    Decision,
    decide,
    merged,
)
from kcl_app.local.soak.messages import HTTP2, MAX_HEAD, Message, read_answer, read_request

_GONE = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
"""What a connection raises whose other end has gone, or does not speak HTTP."""


class Proxy:
    """A proxy on a free port of 127.0.0.1.

    Args:
        target: port of the local cloud.
        rng: chooses the calls that a fault meets.
        late_seconds: how late a late write comes.
    """

    def __init__(self, target: int, rng: random.Random, late_seconds: float) -> None:
        self._target = target
        self._rng = rng
        self._late_seconds = late_seconds
        self._modes: tuple[str, ...] = ()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self.port = 0
        self.calls = 0
        self.faults: Counter[str] = Counter()
        """Calls that each fault has met."""

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._started.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Close everything."""
        if self._stopped is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(10)

    def set_faults(self, modes: Collection[str]) -> None:
        """Which faults are on from now on."""
        self._modes = tuple(modes)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        except Exception as error:
            self._error = error
            self._started.set()
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stopped.wait()
        server.close()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = _Upstream(self._target)
        if (task := asyncio.current_task()) is not None:
            self._hold(task)  # asyncio itself lets go of it when the client hangs up
        try:
            while (request := await read_request(reader, writer)) is not None:
                if request.head == HTTP2:
                    await self._tunnel(reader, writer)
                    break
                self.calls += 1
                given = await self._answer(request, upstream)
                if given is None:
                    break
                writer.write(given.bytes())
                await writer.drain()
        except _GONE:
            pass  # the client sees its connection close, and so does the cloud
        except asyncio.CancelledError:
            pass
        finally:
            upstream.close()
            writer.close()

    def _hold(self, task: asyncio.Task[None]) -> None:
        """Keep a task until it is done: the loop alone does not."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: Message, upstream: _Upstream) -> Message | None:
        """What the client gets; None: nothing, and its connection is closed."""
        decision = (
            decide(Call.of(request), self._modes, self._rng, self._late_seconds)
            if self._modes
            else Decision()
        )
        if decision.fault is not None:
            self.faults[decision.fault] += 1
        if decision.instead is not None:
            return decision.instead
        if decision.fault == DROP:
            return None
        if decision.fault == LATE:
            # On a connection of its own: it gets there even if its client has long given up.
            task = asyncio.get_running_loop().create_task(self._late(request, decision.before))
            self._hold(task)
            await asyncio.sleep(decision.before)
            return None
        if decision.before:
            await asyncio.sleep(decision.before)
        given = await upstream.ask(decision.forward or request)
        if decision.hang_up:
            return None
        return merged(decision, given) if decision.forward is not None else given

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass an HTTP/2 connection on, both ways, until either end closes it or a fault does."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        far_writer.write(HTTP2)
        ways = [
            asyncio.ensure_future(self._pump(reader, far_writer, DROP)),
            asyncio.ensure_future(self._pump(far_reader, writer, LOSE)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: str) -> None:
        while piece := await reader.read(MAX_HEAD):
            for mode in self._modes:
                if mode not in (DELAY, cut) or self._rng.random() >= HTTP2_CHANCE:
                    continue
                self.faults[mode] += 1
                if mode == cut:
                    return
                await asyncio.sleep(self._rng.uniform(0.05, LONGEST_DELAY))
            writer.write(piece)
            await writer.drain()

    async def _late(self, request: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        upstream = _Upstream(self._target)
        try:
            await upstream.ask(request)
        except _GONE:
            pass  # the cloud is away: it never comes
        finally:
            upstream.close()


class _Upstream:
    """One connection to the cloud, made anew when the cloud has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Message) -> Message:
        """The answer to a request.

        Raises:
            OSError: the cloud cannot be reached, or closes the connection instead of answering.
        """
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self.close()
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, limit=MAX_HEAD
            )
        self._writer.write(request.bytes())
        await self._writer.drain()
        return await read_answer(self._reader, request.head.split(b" ", 1)[0].decode("latin-1"))

    def close(self) -> None:
        """Close it."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
