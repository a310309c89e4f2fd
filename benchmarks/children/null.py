"""The ceiling: a record processor that does nothing but checkpoint what it was given."""

from __future__ import annotations

from typing import Any

from amazon_kclpy.v3.processor import RecordProcessorBase

from benchmarks.children import gate
from benchmarks.children.serving import serve
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings


class Null(RecordProcessorBase):  # type: ignore[misc] # kclpy has no types
    """Counts records, which costs it once a batch, and checkpoints the last of each batch."""

    def __init__(self, _settings: Settings, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._shard = ""

    def initialize(self, initialize_input: Any) -> None:
        self._shard = initialize_input.shard_id
        gate.wait()

    def process_records(self, process_records_input: Any) -> None:
        records = process_records_input.records
        if records:
            last = records[-1]
            process_records_input.checkpointer.checkpoint(last.sequence_number, last.sub_sequence_number)
            self._metrics.records.labels(self._shard).inc(len(records))

    def lease_lost(self, _lease_lost_input: Any) -> None:
        pass

    def shard_ended(self, shard_ended_input: Any) -> None:
        shard_ended_input.checkpointer.checkpoint()

    def shutdown_requested(self, _shutdown_requested_input: Any) -> None:
        pass


if __name__ == "__main__":
    serve(Null)
