"""The worker's one port: /metrics, /healthz and /readyz."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from kcl_app import logs

Reasons = Callable[[], list[str]]
"""Why something is not so; empty when it is."""

_CLIENT_SECONDS = 10
_JSON = "application/json; charset=utf-8"


class WorkerServer:
    """Answers on one port, in threads of its own.

    Args:
        bind: address.
        port: port; 0 takes a free one.
        registry: what /metrics shows, as text or, to a scraper that asks for it, as OpenMetrics.
        unhealthy: why /healthz should answer 503.
        unready: why /readyz should.
        left_out: what /readyz tells besides, whatever its answer: who does not run, and why.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """

    def __init__(
        self,
        bind: str,
        port: int,
        registry: CollectorRegistry,
        unhealthy: Reasons,
        unready: Reasons,
        left_out: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        def metrics(accept: str) -> tuple[int, str, bytes]:
            encode, content_type = choose_encoder(accept)
            return 200, content_type, encode(registry)

        def state(word: str, reasons: Reasons, **more: object) -> tuple[int, str, bytes]:
            why = reasons()
            said: dict[str, object] = {"status": f"not {word}", "why": why} if why else {"status": word}
            said.update({name: value for name, value in more.items() if value})
            return (503 if why else 200), _JSON, json.dumps(said).encode() + b"\n"

        class Handler(_Handler):
            pages = {  # noqa: RUF012 - made once, never changed
                "/metrics": metrics,
                "/healthz": lambda _accept: state("healthy", unhealthy),
                "/readyz": lambda _accept: state("ready", unready, plugins_refused=left_out()),
            }

        class Server(_Server):
            address_family = socket.AF_INET6 if ":" in bind else socket.AF_INET

        self._server = Server((bind, port), Handler)
        shown = f"[{bind}]" if ":" in bind else bind
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        """Where it is, without a path."""

    def start(self) -> None:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """Answer no more. Only after `start`."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # The default prints a traceback to stderr. A client that hung up is nobody's problem.
        logs.get_logger().debug("http request failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _CLIENT_SECONDS
    protocol_version = "HTTP/1.1"
    pages: dict[str, Callable[[str], tuple[int, str, bytes]]]

    def do_GET(self) -> None:
        """A page, or 404."""
        self._answer()

    def do_HEAD(self) -> None:
        """A page's headers."""
        self._answer()

    def _answer(self) -> None:
        page = self.pages.get(urlsplit(self.path).path)
        if page is None:
            status, content_type, body = 404, _JSON, b'{"status": "no such page"}\n'
        else:
            try:
                status, content_type, body = page(self.headers.get("Accept", ""))
            except Exception:  # the next scrape may work
                logs.get_logger().error("page failed", path=urlsplit(self.path).path, exc_info=True)
                status, content_type, body = 500, _JSON, b'{"status": "failed; see the log"}\n'
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Nothing about versions to whoever asks."""
        return "kcl-app"

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not news."""
