"""Sends the load at a steady rate, and keeps the ledger.

The stream is the first durable place of an event: one that was not accepted was never there. So what fails is
sent again, the very same bytes, until it is accepted and written down. A call whose answer was lost may have been
accepted as well; then the stream has a copy of which the ledger knows nothing, as with any ingress.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from kcl_app.errors import UserError
from kcl_app.local.soak.ledger import Accepted, Ledger
from kcl_app.local.soak.load import Piece
from kcl_app.put import Outgoing, Retries, Sender
from kcl_app.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

STEP_SECONDS = 0.5


class _Writing:
    """A Kinesis client for `kcl_app.put.Sender` that writes down what it gets accepted."""

    def __init__(self, client: KinesisClient, ledger: Ledger) -> None:
        self._client = client
        self._ledger = ledger

    def put_records(self, **request: Any) -> Any:
        """PutRecords; see boto3."""
        answer = self._client.put_records(**request)
        now = time.time()
        self._ledger.add(
            [
                Accepted(
                    outcome["ShardId"], outcome["SequenceNumber"], now, sent["PartitionKey"], sent["Data"]
                )
                for sent, outcome in zip(request["Records"], answer["Records"], strict=True)
                if not outcome.get("ErrorCode")
            ]
        )
        return answer


class SteadySender:
    """Sends in a thread of its own.

    Args:
        pieces: the load.
        ledger: gets what was accepted.
        client: Kinesis, past the proxy.
        settings: names the stream.
        rate: events a second.
    """

    def __init__(
        self, pieces: Iterator[Piece], ledger: Ledger, client: KinesisClient, settings: Settings, rate: float
    ) -> None:
        self._pieces = pieces
        self._client = cast("KinesisClient", _Writing(client, ledger))
        self._settings = settings
        self._rate = rate
        self._end = threading.Event()
        self._at_once = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.error: BaseException | None = None
        self.events = 0
        self.failures = 0
        """Calls that had to be made again as a whole: the cloud was away."""

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Take no more from the load; return when all that was taken is accepted.

        Raises:
            UserError: it was not within so many seconds, or could not be sent at all.
        """
        self._end.set()
        self._thread.join(seconds)
        if self.error is not None:
            raise UserError(f"the load could not be sent: {self.error}")
        if self._thread.is_alive():
            raise UserError(f"the stream did not take all that was sent within {seconds:.0f} s")

    def abandon(self) -> None:
        """Stop at once."""
        self._at_once.set()
        self._end.set()

    def _run(self) -> None:
        try:
            began, due = time.monotonic(), 0.0
            while not self._end.wait(STEP_SECONDS):
                # What a pause of the cloud held up is not made up for: a load goes on, it does not come in lumps.
                due += min(time.monotonic() - began, 4 * STEP_SECONDS) * self._rate
                began = time.monotonic()
                records: list[Outgoing] = []
                while due >= 1:
                    records += next(self._pieces)
                    self.events += 1
                    due -= 1
                self._send(records)
        except Exception as error:  # told by whoever stops this
            self.error = error

    def _send(self, records: list[Outgoing]) -> None:
        while records and not self._at_once.is_set():
            try:
                with Sender(
                    self._client,
                    self._settings,
                    self._settings.stream.name,
                    lanes=2,
                    retries=Retries(attempts=3),
                ) as sender:
                    for record in records:
                        sender.send(record)
                return
            except UserError as error:
                if "cannot be reached" not in str(error) and "takes no records" not in str(error):
                    raise
                self.failures += 1
                self._at_once.wait(0.5)
