"""A door in front of the local cloud that lets calls through, refuses them, or says nothing at all.

What AWS does on its bad days (credentials that expire, calls that are denied, an answer that never comes) is done
here, on the wire, so that boto3 in the children and the AWS SDK in the Java daemon both meet it.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

_CHUNK = 65_536
_HTTP_2 = b"PRI"
"""How a connection of HTTP/2 begins, which is what the KCL speaks to Kinesis."""


class FaultyCloud:
    """Answers on a port of its own.

    Args:
        behind: URL of the local cloud.
    """

    def __init__(self, behind: str) -> None:
        parts = urlsplit(behind)
        self._behind = (str(parts.hostname), int(parts.port or 80))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._heard = threading.Event()
        self._refusal: tuple[int, str] | None = None
        self.waiting = threading.Event()
        """Set once a call came that gets no answer."""
        self.refused: Counter[str] = Counter()
        """Calls refused, by operation."""
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):  # a client that was killed hangs up in the middle
                    outer._serve(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._heard.set()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        """What `aws.endpoint_url` should be."""

    def refuse(self, code: str, status: int = 400) -> None:
        """Answer every call with an error from now on. Connections of HTTP/2 are cut, since they cannot be answered.

        Args:
            code: what AWS calls the error.
            status: of HTTP.
        """
        self._refusal = (status, code)
        self._cut()

    def silence(self) -> None:
        """Take what is sent and answer nothing, on new connections and on those that are open."""
        self._heard.clear()

    def let_through(self) -> None:
        """Be no hindrance again. What was held back in silence is lost with its connection."""
        self._refusal = None
        if not self._heard.is_set():
            self._cut()
            self._heard.set()

    @contextmanager
    def open(self) -> Iterator[FaultyCloud]:
        """Answer until the end of the block."""
        threading.Thread(target=self._server.serve_forever, name="faulty-cloud", daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            self._cut()
            self._heard.set()

    def _serve(self, client: socket.socket) -> None:
        if not self._heard.is_set():
            self.waiting.set()
        self._heard.wait()
        start = client.recv(len(_HTTP_2), socket.MSG_PEEK)
        if self._refusal is None:
            self._relay(client)
        elif start != _HTTP_2:
            _Refusing(client, *self._refusal, self.refused)

    def _relay(self, client: socket.socket) -> None:
        with socket.create_connection(self._behind, timeout=10) as behind:
            behind.settimeout(None)
            with self._lock:
                self._open |= {client, behind}
            back = threading.Thread(target=self._pump, args=(behind, client), daemon=True)
            back.start()
            try:
                self._pump(client, behind)
                back.join()
            finally:
                with self._lock:
                    self._open -= {client, behind}

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                self._heard.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)


class _Refusing(BaseHTTPRequestHandler):
    """Answers one connection's calls with an error."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, client: socket.socket, status: int, code: str, refused: Counter[str]) -> None:
        self._status, self._code, self._refused = status, code, refused
        super().__init__(client, client.getpeername(), None)  # type: ignore[arg-type]

    def _refuse(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        operation = (self.headers.get("X-Amz-Target") or self.command).rpartition(".")[2]
        self._refused[operation] += 1
        body = json.dumps({"__type": self._code, "message": f"refused: {self._code}"}).encode()
        self.send_response(self._status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _refuse  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
