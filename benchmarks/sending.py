"""Puts a load on the stream: all at once, or at a pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.loads import Message
from benchmarks.probing import Watcher
from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.put import Outgoing
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

TICK_SECONDS = 0.05
MAX_CALL = 500
TRIES = 50


def send_all(settings: Settings, messages: Sequence[Message]) -> None:
    """Put all as fast as the stream takes them.

    Raises:
        UserError: it does not.
    """
    wiring.send_all(settings, "the load is not complete")(
        [Outgoing(number, one.provider, one.data) for number, one in enumerate(messages)]
    )


class PacedSender:
    """Puts messages at a pace, in a thread, and tells of each probe when it was put.

    Args:
        settings: name the stream.
        messages: in order.
        pace: of them a second.
        watcher: is told of the probes; none where nobody watches.
    """

    def __init__(
        self, settings: Settings, messages: Sequence[Message], pace: float, watcher: Watcher | None
    ) -> None:
        self._client: KinesisClient = wiring.kinesis(settings)
        self._stream = settings.stream.name
        self._messages, self._pace, self._watcher = messages, pace, watcher
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._error: Exception | None = None
        self.seconds = 0.0
        """How long it took."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more.

        Raises:
            Exception: whatever made it stop before.
        """
        self._end.set()
        self._thread.join(30)
        self.check()

    def check(self) -> None:
        """Raises what made it stop, if anything did."""
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._send()
        except Exception as error:
            self._error = error

    def _send(self) -> None:
        start, sent = time.monotonic(), 0
        while sent < len(self._messages) and not self._end.wait(TICK_SECONDS):
            due = min(len(self._messages), int((time.monotonic() - start) * self._pace))
            while sent < due:
                some = self._messages[sent : min(due, sent + MAX_CALL)]
                at = time.monotonic()
                self._put(some)
                for one in some:
                    if one.probe is not None and self._watcher is not None:
                        self._watcher.add(one.probe, at)
                sent += len(some)
        self.seconds = time.monotonic() - start

    def _put(self, messages: Sequence[Message]) -> None:
        """One call; what the stream throttles goes again, in order."""
        left = list(messages)
        for _ in range(TRIES):
            answer = self._client.put_records(
                StreamName=self._stream,
                Records=[{"Data": one.data, "PartitionKey": one.provider} for one in left],
            )
            outcomes = zip(left, answer["Records"], strict=True)
            left = [one for one, outcome in outcomes if outcome.get("ErrorCode")]
            if not left:
                return
            time.sleep(TICK_SECONDS)
        raise UserError(f"the stream {self._stream} does not take the load")
