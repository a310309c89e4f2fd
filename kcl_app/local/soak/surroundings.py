"""What a soak runs in: its settings, its port, its signals."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from kcl_app.settings import Settings

TODAY = date(2026, 3, 2)
"""The clocks of the simulated clinics change within the horizon that begins here."""
HORIZON_DAYS = 14
READ_TIMEOUT_SECONDS = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):  # noqa: N818 - a wish, not an error
    """A signal asked the soak to end."""


def soak_settings(settings: Settings, folder: Path, port: int) -> Settings:
    """The settings of a soak: a cloud of its own, short waits, a small horizon."""
    return settings.model_copy(
        update={
            "today": TODAY,
            "aws": settings.aws.model_copy(
                update={
                    "endpoint_url": f"http://127.0.0.1:{port}",
                    "connect_timeout_seconds": 2.0,
                    "read_timeout_seconds": READ_TIMEOUT_SECONDS,
                }
            ),
            "stream": settings.stream.model_copy(
                update={"failover_milliseconds": 5000, "idle_milliseconds": 250, "max_records": 200}
            ),
            "horizon": settings.horizon.model_copy(update={"days": HORIZON_DAYS, "history_days": 3}),
            "worker": settings.worker.model_copy(
                update={"port": 0, "jvm_options": ("-XX:+UseSerialGC", "-Xmx256m", "-XX:TieredStopAtLevel=1")}
            ),
            "log": settings.log.model_copy(update={"format": "json"}),
            "local": settings.local.model_copy(update={"directory": folder / "cloud"}),
        }
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def signals() -> Iterator[None]:
    """Turn the signals that ask for the end into `Stopped`."""

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    before = {name: signal.signal(name, stop) for name in _SIGNALS}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def deaf() -> None:
    """Let no further signal come between the end and its work."""
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_IGN)
