"""Watches probes: how long from the put of an event until the document of its day shows it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.loads import Probe

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KEYS = 100
"""Of one BatchGetItem call, at most."""


class Watcher:
    """Polls the documents of the probes that are under way, in a thread.

    Args:
        client: of the DynamoDB that has the documents.
        table: theirs.
        every: seconds between two looks; how exact the figures are.
    """

    def __init__(self, client: DynamoDBClient, table: str, every: float) -> None:
        self._client, self._table, self._every = client, table, every
        self._lock = threading.Lock()
        self._waiting: list[tuple[Probe, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
        self._error: Exception | None = None
        self.sent = 0
        self.seconds: list[float] = []
        """From put to visible, of each probe seen so far."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more.

        Raises:
            Exception: whatever made it stop before.
        """
        self._end.set()
        self._thread.join(30)
        if self._error is not None:
            raise self._error

    def add(self, probe: Probe, at: float) -> None:
        """A probe that was put at a moment of `time.monotonic`."""
        with self._lock:
            self._waiting.append((probe, at))
            self.sent += 1

    def waiting(self) -> int:
        """How many are not visible yet."""
        with self._lock:
            return len(self._waiting)

    def _run(self) -> None:
        try:
            while not self._end.wait(self._every):
                self._look()
        except Exception as error:
            self._error = error

    def _look(self) -> None:
        with self._lock:
            waiting = list(self._waiting)
        places = deque(dict.fromkeys((probe.pk, probe.day) for probe, _ in waiting))
        shown: dict[tuple[str, str], str] = {}
        while places:
            keys = [places.popleft() for _ in range(min(KEYS, len(places)))]
            shown |= self._as_of(keys)
        now = time.monotonic()
        seen = [one for one in waiting if shown.get((one[0].pk, one[0].day), "") >= one[0].time]
        with self._lock:
            for one in seen:
                self._waiting.remove(one)
                self.seconds.append(now - one[1])

    def _as_of(self, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        answer = self._client.batch_get_item(
            RequestItems={
                self._table: {
                    "Keys": [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in places],
                    "ConsistentRead": True,
                    "ProjectionExpression": "pk, sk, as_of",
                }
            }
        )
        rows: list[dict[str, Any]] = answer["Responses"].get(self._table, [])
        return {(row["pk"]["S"], row["sk"]["S"]): row.get("as_of", {}).get("S", "") for row in rows}


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """The value that a fraction of all does not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    rank = max(1, -(-len(ordered) * fraction // 1))
    return ordered[min(len(ordered), int(rank)) - 1]
