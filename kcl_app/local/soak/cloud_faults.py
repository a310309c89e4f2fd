"""What is done to the stream, the cloud and the network: shards split and merged, the cloud away, calls that fail."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from kcl_app.errors import UserError
from kcl_app.local.local_cloud import LocalCloud
from kcl_app.local.soak import schedule
from kcl_app.local.soak.chaos import Strike, undisturbed
from kcl_app.local.soak.faults import CHANCES, MODES, THROTTLE
from kcl_app.local.soak.proxy import Proxy

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import ShardTypeDef

MOST_SHARDS = 6


class CloudFaults:
    """The faults of all that workers stand on.

    Args:
        cloud: the local cloud.
        proxy: between it and the workers.
        throttle: the file that makes the cloud throttle reads of the stream.
        kinesis: past the proxy.
        stream: its name.
        patient: whether the cloud may be away while a leader ends.
        calm: held while a leader ends or the cloud is away, where the soak is not patient.
        end: set when all is to be let go of.
        rng: chooses which shards.
    """

    def __init__(
        self,
        cloud: LocalCloud,
        proxy: Proxy,
        throttle: Path,
        kinesis: KinesisClient,
        stream: str,
        *,
        patient: bool,
        calm: threading.Lock,
        end: threading.Event,
        rng: random.Random,
    ) -> None:
        self._cloud, self._proxy, self._throttle = cloud, proxy, throttle
        self._kinesis, self._stream = kinesis, stream
        self._patient, self._calm, self._end, self._rng = patient, calm, end, rng

    def strikes(self) -> Mapping[str, Strike]:
        """Each fault by its kind."""
        return {
            schedule.SPLIT: self._split,
            schedule.MERGE: self._merge,
            schedule.PAUSE_CLOUD: self._pause_cloud,
            schedule.RESTART_CLOUD: self._restart_cloud,
            **{mode: self._network(mode) for mode in MODES},
        }

    def _open_shards(self) -> list[ShardTypeDef]:
        shards = self._kinesis.list_shards(StreamName=self._stream)["Shards"]
        found = [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
        return sorted(found, key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))

    def _split(self, _seconds: float) -> str | None:
        shards = self._open_shards()
        if len(shards) >= MOST_SHARDS:
            return self._merge(0)
        shard = self._rng.choice(shards)
        low, high = (int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))  # type: ignore[literal-required]
        self._kinesis.split_shard(
            StreamName=self._stream,
            ShardToSplit=shard["ShardId"],
            NewStartingHashKey=str((low + high) // 2 + 1),
        )
        return f"{shard['ShardId']}, {len(shards) + 1} open now"

    def _merge(self, _seconds: float) -> str | None:
        shards = self._open_shards()
        if len(shards) < 2:
            return None
        place = self._rng.randrange(len(shards) - 1)
        one, other = shards[place]["ShardId"], shards[place + 1]["ShardId"]
        self._kinesis.merge_shards(StreamName=self._stream, ShardToMerge=one, AdjacentShardToMerge=other)
        return f"{one} and {other}, {len(shards) - 1} open now"

    def _pause_cloud(self, seconds: float) -> str | None:
        pid = self._cloud.status().pid
        if pid is None:
            return None
        process = psutil.Process(pid)
        with undisturbed(self._calm, self._patient):
            process.suspend()
            try:
                self._end.wait(seconds)
            finally:
                process.resume()
        return f"it stood still for {seconds:.1f} s"

    def _restart_cloud(self, _seconds: float) -> str | None:
        with undisturbed(self._calm, self._patient):
            began = time.monotonic()
            # Its state is saved as it stops; killed, it would forget what it has accepted, which Kinesis does not.
            self._cloud.stop()
            self._start_cloud()
        return f"away for {time.monotonic() - began:.1f} s, its state kept"

    def _start_cloud(self) -> None:
        for _ in range(4):
            try:
                self._cloud.start()
                return
            except UserError:  # busy with all that comes at once
                self._end.wait(1)
        self._cloud.start()

    def _network(self, mode: str) -> Strike:
        def strike(seconds: float) -> str:
            before = self._proxy.faults[mode]
            self._proxy.set_faults((mode,))
            if mode == THROTTLE:
                self._throttle.write_text(str(CHANCES[THROTTLE]))
            try:
                self._end.wait(seconds)
            finally:
                self._proxy.set_faults(())
                self._throttle.unlink(missing_ok=True)
            return f"{self._proxy.faults[mode] - before} calls within {seconds:.1f} s"

        return strike
