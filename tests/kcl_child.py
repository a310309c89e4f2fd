"""A shard's child that only counts: it speaks the KCL's protocol, logs and keeps metrics, and stores nothing."""

from __future__ import annotations

import base64
import os
import signal
import time
from typing import Any

from amazon_kclpy import kcl
from amazon_kclpy.v3 import processor
from prometheus_client import CollectorRegistry

from kcl_app import logs, settings, wiring
from kcl_app.metrics import WorkerMetrics


class Counting(processor.RecordProcessorBase):  # type: ignore[misc] # kclpy has no types
    """Counts records and checkpoints the last of each batch."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._log = logs.get_logger()
        self._shard = ""

    def initialize(self, initialize_input: Any) -> None:
        self._shard = initialize_input.shard_id
        self._log = logs.get_logger(shard=self._shard, pid=os.getpid())
        self._metrics.stores_available.labels(self._shard).set(1)
        self._metrics.heard_timestamp.labels(self._shard).set(time.time())
        self._log.info("shard taken")

    def process_records(self, process_records_input: Any) -> None:
        records = process_records_input.records
        for record in records:
            if base64.b64decode(record.data) == b"unavailable":
                self._metrics.stores_available.labels(self._shard).set(0)
        self._metrics.records.labels(self._shard).inc(len(records))
        self._metrics.read_lag.labels(self._shard).set(process_records_input.millis_behind_latest / 1000)
        for told in (self._metrics.delivered_timestamp, self._metrics.heard_timestamp):
            told.labels(self._shard).set(time.time())
        self._metrics.batch_duration.observe(0.002)
        if records:
            process_records_input.checkpointer.checkpoint(records[-1].sequence_number)
        self._metrics.checkpoint_timestamp.labels(self._shard).set(time.time())
        self._metrics.settled_timestamp.labels(self._shard).set(time.time())

    def lease_lost(self, _lease_lost_input: Any) -> None:
        self._log.info("shard lost")

    def shard_ended(self, shard_ended_input: Any) -> None:
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, _shutdown_requested_input: Any) -> None:
        self._log.info("shutdown requested")


if __name__ == "__main__":
    for ignored in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    logs.configure(settings.load().log, seal=wiring.log_seal())
    logs.log_uncaught()
    kcl.KCLProcess(Counting(WorkerMetrics(CollectorRegistry()))).run()
