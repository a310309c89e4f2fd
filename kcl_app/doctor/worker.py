"""The worker's port: a worker answers, or one can be started."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

from kcl_app.doctor.checks import Check, failed, ok, warning
from kcl_app.settings import Settings

SECONDS = 5.0


def url_of(settings: Settings) -> str:
    """Where a worker with these settings answers on this machine, without a path."""
    bind = settings.worker.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.worker.port}"


def worker(settings: Settings) -> Iterator[Check]:
    """Ask /readyz; where nobody answers, see whether the port could be had."""
    port = settings.worker.port
    if port == 0:
        yield ok("worker", "worker.port is 0: each worker takes a free one")
        return
    url = url_of(settings)
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=SECONDS) as answer:
            yield answered(url, answer.status, answer.read())
    except urllib.error.HTTPError as error:
        yield answered(url, error.code, error.read())
    except (OSError, ValueError):
        yield _free(settings.worker.bind, port)


def answered(url: str, status: int, body: bytes) -> Check:
    """What /readyz says.

    Args:
        url: of the worker.
        status: of HTTP.
        body: that came with it.
    """
    try:
        said = json.loads(body)
        word, why = str(said["status"]), [str(one) for one in said.get("why", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return failed(
            "worker",
            f"something answers at {url} that is no worker (status {status})",
            "stop it, or choose another worker.port",
        )
    if status == 200:
        return ok("worker", f"answers at {url}: {word}")
    return warning("worker", f"answers at {url}: {word}: {'; '.join(why)}", f"see {url}/readyz and its log")


def _free(bind: str, port: int) -> Check:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            return failed(
                "worker",
                f"no worker answers, and none can listen on {bind} port {port}: {error.strerror}",
                f"see who has it: ss -ltnp 'sport = :{port}'; or choose another worker.port or worker.bind",
            )
    return ok("worker", f"none runs here; {bind} port {port} is free")
