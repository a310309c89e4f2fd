"""The product's own child, held back at the gate, on the tables or on stores that answer at once."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from benchmarks.children import gate
from benchmarks.stores import NULL_STORE, NullStore
from kcl_app import wiring
from kcl_app.worker import child
from kcl_app.worker.record_processor import RecordProcessor

_initialize = RecordProcessor.initialize


@functools.wraps(_initialize)
def _held_back(self: RecordProcessor, initialize_input: Any) -> None:
    _initialize(self, initialize_input)
    gate.wait()


if __name__ == "__main__":
    RecordProcessor.initialize = _held_back  # type: ignore[method-assign]
    if os.environ.get(NULL_STORE):
        wiring.store = lambda settings, observe=None, units=None: NullStore()
    sys.exit(child.main())
