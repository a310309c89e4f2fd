"""Watches the KCL's leases: checkpoints never go back, and are never ahead of the tables."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kcl_app.engine.dead_letters import Letter
from kcl_app.local.soak.ledger import Accepted, Ledger, Place
from kcl_app.stores.base import Store, Table
from kcl_app.stores.rows import copy_key, known_key, owner_key
from kcl_app.stream.leases import END, START, Checkpoint, checkpoint_of, rows
from processors.decoding import Decoded, Rejected, providers_named
from processors.errors import Fatal, Retry
from processors.items import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_kinesis import KinesisClient

SAMPLE = 10
"""Records of a shard that are looked up, of those that a checkpoint has newly passed."""


@dataclass
class Progress:
    """What the watch has seen.

    Attributes:
        looked_up: records that a checkpoint had passed and whose outcome was looked for in the tables.
        wrong: what was wrong with checkpoints, one line each.
        backlog: records accepted and not checkpointed.
        lag: age of the oldest of them, in seconds.
        most_lag: the greatest `lag`.
        quiet: since how many seconds no checkpoint has moved although there was something to do.
        most_quiet: the greatest `quiet`.
        moved_at: when a checkpoint last moved, by the monotonic clock.
        owners: shards by worker id.
    """

    looked_up: int = 0
    wrong: list[str] = field(default_factory=list)
    backlog: int = 0
    lag: float = 0.0
    most_lag: float = 0.0
    quiet: float = 0.0
    most_quiet: float = 0.0
    moved_at: float = field(default_factory=time.monotonic)
    owners: dict[str, int] = field(default_factory=dict)


class LeaseWatch:
    """Looks about once a second, in a thread of its own.

    Args:
        dynamodb: past the proxy.
        kinesis: past the proxy.
        store: the tables, past the proxy.
        application: name of the KCL application, and so of its lease table.
        stream: its name.
        ledger: what was sent.
        decode: what a record says.
        rng: chooses what is looked up.
        tell: is told in one line what is wrong.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        kinesis: KinesisClient,
        store: Store,
        application: str,
        stream: str,
        ledger: Ledger,
        decode: Callable[[Accepted], Decoded | Rejected],
        rng: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self._dynamodb, self._kinesis, self._store = dynamodb, kinesis, store
        self._application, self._stream = application, stream
        self._ledger, self._decode, self._rng, self._tell = ledger, decode, rng, tell
        self._seen: dict[str, Checkpoint] = {}
        self._leases: set[str] = set()
        self._moved_at = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self.progress = Progress()

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        while not self._end.wait(1.0):
            try:
                self.look()
            except (BotoCoreError, ClientError, Retry, Fatal):
                self._measure()  # the cloud is away; time goes on

    def look(self) -> None:
        """Look once."""
        leases = self._read()
        self._leases = set(leases)
        for shard, row in leases.items():
            self._take(shard, checkpoint_of(row))
        owners: dict[str, int] = {}
        for row in leases.values():
            if owner := str(row.get("leaseOwner", {}).get("S", "")):
                owners[owner] = owners.get(owner, 0) + 1
        self.progress.owners = owners
        self._measure()

    def _read(self) -> dict[str, dict[str, Any]]:
        return {str(row["leaseKey"]["S"]): row for row in rows(self._dynamodb, self._application)}

    def _take(self, shard: str, checkpoint: Checkpoint) -> None:
        before = self._seen.get(shard, (START, 0))
        if checkpoint == before:
            return
        if checkpoint < before:
            self._wrong(f"the checkpoint of {shard} went back from {before[0]} to {checkpoint[0]}")
        self._seen[shard] = checkpoint
        self._moved_at = self.progress.moved_at = time.monotonic()
        passed = self._ledger.between(shard, before[0], checkpoint[0])
        # The last is the one that a checkpoint too early would pass; the others are any.
        self._look_up(
            [*self._rng.sample(passed[:-1], min(SAMPLE - 1, len(passed) - 1)), passed[-1]] if passed else []
        )

    def _wrong(self, what: str) -> None:
        self.progress.wrong.append(what)
        self._tell(f"WRONG: {what}")

    def _look_up(self, places: Iterable[Place]) -> None:
        """That what a checkpoint has passed is durable: its items, or its letter."""
        for place in places:
            accepted = self._ledger.read(place)
            self.progress.looked_up += 1
            if not self._durable(accepted):
                self._wrong(
                    f"the checkpoint of {accepted.shard} passed {accepted.sequence_number}, which is in no table"
                )

    def _durable(self, accepted: Accepted) -> bool:
        decoded = self._decode(accepted)
        if isinstance(decoded, Rejected):
            letter = Letter(decoded.reason, decoded.detail, accepted.shard, accepted.record(), decoded.event)
            return bool(self._store.get(Table.DEAD_LETTERS, [letter.key()]))
        for item in decoded.items:
            if not self._stored(item):
                return False
        named = [known_key(key) for key in providers_named(decoded.items)]
        return len(self._store.get(Table.PROVIDERS, named)) == len(named)

    def _stored(self, item: Item) -> bool:
        """Whether an item is there in its revision or a newer one, under whoever has or had it."""
        keys = [*(copy_key(item.key, provider) for provider in item.providers), owner_key(item.key)]
        rows = self._store.get(Table.ITEMS, keys)
        owner = rows.get(owner_key(item.key))
        if owner is not None:
            holders = [copy_key(item.key, holder) for holder in json.loads(str(owner["holders"]))]
            rows |= self._store.get(Table.ITEMS, holders)
        return any(str(row["revision"]) >= item.revision.encode() for row in rows.values())

    def _measure(self) -> None:
        now, progress = time.time(), self.progress
        waiting = [self._ledger.after(shard, self._position(shard)) for shard in self._ledger.shards()]
        progress.backlog = sum(map(len, waiting))
        # What was accepted a moment ago is no backlog yet.
        progress.lag = max((now - places[0].at for places in waiting if places), default=0.0)
        progress.most_lag = max(progress.most_lag, progress.lag)
        if progress.lag < 1.0:
            self._moved_at = time.monotonic()
        progress.quiet = time.monotonic() - self._moved_at
        progress.most_quiet = max(progress.most_quiet, progress.quiet)

    def _position(self, shard: str) -> int:
        if shard in self._seen and shard not in self._leases:
            return END  # the KCL deletes the lease of a closed shard when it is done with it
        return self._seen.get(shard, (START, 0))[0]

    def drained(self) -> bool:
        """Whether all that was sent is checkpointed, and every closed shard is at its end."""
        if self.progress.backlog:
            return False
        answer = self._kinesis.list_shards(StreamName=self._stream)
        closed = [
            shard["ShardId"]
            for shard in answer["Shards"]
            if "EndingSequenceNumber" in shard["SequenceNumberRange"]
        ]
        return all(self._position(shard) == END for shard in closed)
