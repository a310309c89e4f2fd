"""The process that the MultiLangDaemon starts for each shard: `python -m kcl_app.worker.child`.

Its standard output belongs to the KCL's protocol. Before anything else is imported, descriptor 1 is moved aside for the
protocol and pointed at standard error, so that no plugin, library or stray `print` can break it.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TextIO


def shield_stdout() -> TextIO:
    """Move descriptor 1 aside and point it at standard error; returns the file that the protocol writes to."""
    sys.stdout.flush()
    protocol = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(protocol, "w", encoding="utf-8", newline="\n")


def settle_memory() -> None:
    """Leave what the start has made, and has not let go, out of all collections to come: it stays for good."""
    gc.collect()  # a client that was only asked for its endpoint would be kept for ever
    gc.freeze()
    # The items in memory are many objects that live long and are in no cycles. Going through them each few hundred
    # allocations, as is the default, takes up to a third of a child's time; going through all of them often, a tenth.
    gc.set_threshold(50_000, 100, 10)
    gc.enable()


def main() -> int:
    """Serve one shard until the daemon closes standard input."""
    protocol = shield_stdout()
    # What is imported stays: going through it again and again while it comes would only take time.
    gc.disable()
    # The Java process says when to stop; a signal to the whole group must not end a child in the middle of a batch.
    import signal

    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)

    from amazon_kclpy.kcl import KCLProcess
    from prometheus_client import REGISTRY

    from kcl_app import wiring
    from kcl_app.logs import configure, get_logger, log_uncaught
    from kcl_app.metrics import WorkerMetrics
    from kcl_app.settings import LogSettings, SettingsError, load
    from kcl_app.worker.child_guard import end_with_input
    from kcl_app.worker.log_stream import log_stream
    from kcl_app.worker.metrics_directory import reserve
    from kcl_app.worker.record_processor import STATE_UNKNOWN, RecordProcessor

    logged = log_stream(sys.stderr)
    seal = wiring.log_seal()
    try:
        settings = load()
        # The supervisor makes these lines pretty where a person reads them.
        show_any = settings.environment == "local"
        configure(LogSettings(level=settings.log.level, format="json"), logged, show_any=show_any, seal=seal)
        log_uncaught()
        if folder := wiring.metrics_folder():
            reserve(folder)
        metrics = WorkerMetrics(REGISTRY, settings.watched_tenants())
        engine = wiring.engine(settings, metrics)
    except (SettingsError, OSError) as error:
        configure(LogSettings(format="json"), logged, seal=seal)
        get_logger().error("the child cannot start", why=str(error))
        return STATE_UNKNOWN
    settle_memory()
    give_up_seconds = settings.worker.child_timeout_seconds * 0.8
    processor = RecordProcessor(engine, metrics, give_up_seconds)
    # The daemon's end is no fault of the record that is under way.
    end_with_input(0, STATE_UNKNOWN, last_words=processor.end_well)
    # The daemon says when to stop, but only after a whole delivery; its supervisor says so at once.
    signal.signal(signal.SIGTERM, lambda number, frame: processor.stop_soon())
    KCLProcess(processor, input_file=sys.stdin, output_file=protocol, error_file=sys.stderr).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
