"""A child of the benchmark as a process: the protocol on its own descriptor, settings, metrics."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Any

from amazon_kclpy.kcl import KCLProcess
from prometheus_client import REGISTRY

from kcl_app import logs, wiring
from kcl_app.metrics import WorkerMetrics
from kcl_app.settings import Settings, load
from kcl_app.worker.child import shield_stdout


def serve(make: Callable[[Settings, WorkerMetrics], Any]) -> None:
    """Serve one shard with a record processor until the daemon closes standard input.

    Args:
        make: the record processor; it counts settled records, as that of the product does.
    """
    protocol = shield_stdout()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    settings = load()
    logs.configure(settings.log, seal=wiring.log_seal())
    logs.log_uncaught()
    processor = make(settings, WorkerMetrics(REGISTRY))
    KCLProcess(processor, input_file=sys.stdin, output_file=protocol, error_file=sys.stderr).run()
