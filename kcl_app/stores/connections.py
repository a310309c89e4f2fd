"""HTTP to one service, at a small part of a general client's cost.

One kind of request goes to one host: so its head is a few lines, its answer's head is read by lines, and connections
are kept open and used again. What may go wrong is raised as botocore raises it: by that `kcl_app.stores.recovery` tells
whether a call never left or its answer was lost.
"""

from __future__ import annotations

import select
import socket
import ssl
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from typing import Protocol
from urllib.parse import urlsplit

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

Headers = Sequence[tuple[str, str]]

_BUFFER = 65_536
_LONGEST_LINE = 65_536
_MOST_HEADERS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: status, headers by their names in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Poster(Protocol):
    """What sends requests; threads may share it."""

    def post(self, headers: Headers, body: bytes) -> Answer:
        """Send a body, and wait for the answer.

        Args:
            headers: all but `Host`, `Content-Length` and `Accept-Encoding`.
            body: what to send.

        Raises:
            HTTPClientError: or another of botocore's, as botocore itself raises them.
        """


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go.

    Attributes:
        url: as a whole, for messages.
        secure: whether with TLS.
        host: name or address, without brackets.
        port: of TCP.
        name: the host as the header `Host` has it: with its port unless that is the usual one.
        path: what is asked for.
    """

    url: str
    secure: bool
    host: str
    port: int
    name: str
    path: str

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a URL names.

        Raises:
            ValueError: it is not one of HTTP.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise ValueError(f"{url}: must be http:// or https:// and a host")
        secure = parts.scheme == "https"
        usual = 443 if secure else 80
        port = parts.port or usual
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        name = host if port == usual else f"{host}:{port}"
        return cls(url, secure, parts.hostname, port, name, parts.path or "/")


class Connections(Poster):
    """Connections straight to one host, kept open between requests.

    Args:
        place: where.
        connect_seconds: longest wait for a connection, TLS included.
        read_seconds: longest wait for the next piece of an answer.
        trust: with TLS: what decides whom to trust.
        keep: how many idle connections are kept.
    """

    def __init__(
        self,
        place: Place,
        *,
        connect_seconds: float,
        read_seconds: float,
        trust: ssl.SSLContext | None = None,
        keep: int = 16,
    ) -> None:
        if place.secure and trust is None:
            raise ValueError(f"{place.url}: TLS needs somebody to trust")
        self._place = place
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._trust = trust if place.secure else None
        self._keep = keep
        self._idle: list[_Connection] = []
        self._start = f"POST {place.path} HTTP/1.1\r\nHost: {place.name}\r\nAccept-Encoding: identity\r\n"
        weakref.finalize(self, _close_all, self._idle)

    def post(self, headers: Headers, body: bytes) -> Answer:
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"{self._start}{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1")
        connection: _Connection | None = self._one()
        assert connection is not None
        url = self._place.url
        try:
            answer, reusable = connection.exchange(head + body)
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from error
        except OSError as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from error
        except ValueError as error:
            raise HTTPClientError(error=error) from error
        else:
            if reusable and len(self._idle) < self._keep:
                self._idle.append(connection)
                connection = None
            return answer
        finally:
            if connection is not None:
                connection.close()

    def close(self) -> None:
        """Close those that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _one(self) -> _Connection:
        """An open connection; the one used last if it is still good, so that those not needed grow old."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            if connection.is_quiet():
                return connection
            connection.close()

    def _connect(self) -> _Connection:
        place, made = self._place, None
        try:
            made = socket.create_connection((place.host, place.port), self._connect_seconds)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust is not None:
                made = self._trust.wrap_socket(made, server_hostname=place.host)
            made.settimeout(self._read_seconds)
            return _Connection(made)
        except BaseException as error:
            if made is not None:
                made.close()
            if isinstance(error, TimeoutError):
                raise ConnectTimeoutError(endpoint_url=place.url, error=error) from error
            if isinstance(error, ssl.SSLError):
                raise SSLError(endpoint_url=place.url, error=error) from error
            if isinstance(error, OSError | UnicodeError):  # a name that cannot be one is a UnicodeError
                raise EndpointConnectionError(endpoint_url=place.url, error=error) from error
            raise


class _Connection:
    """One open connection, used by one thread at a time."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._reader = BufferedReader(socket.SocketIO(opened, "r"), _BUFFER)
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)

    def is_quiet(self) -> bool:
        """Whether the server has neither hung up nor said anything that was not asked for."""
        return not self._poll.poll(0)

    def close(self) -> None:
        self._reader.close()
        self._socket.close()

    def exchange(self, request: bytes) -> tuple[Answer, bool]:
        """Send a request and read its answer (RFC 9112); also whether the connection can be used again.

        Raises:
            OSError: the connection broke, or took too long.
            ValueError: the answer is not HTTP.
        """
        self._socket.sendall(request)
        version, status = self._status()
        while 100 <= status < 200:  # notices on the way, the answer is yet to come
            self._headers()
            version, status = self._status()
        headers = self._headers()
        body, ended = self._body(status, headers)
        reusable = ended and version == b"HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Answer(status, headers, body), reusable

    def _status(self) -> tuple[bytes, int]:
        version, _, rest = self._line().partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise ValueError("the answer is not HTTP/1")
        return version, int(rest[:3])

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line:
                return headers
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        raise ValueError("the answer has too many headers")

    def _body(self, status: int, headers: dict[str, str]) -> tuple[bytes, bool]:
        """The body, and whether its end is known otherwise than by the connection's end."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(), True
        if (length := headers.get("content-length")) is not None:
            return self._exactly(int(length)), True
        if status in (204, 304):
            return b"", True
        return self._reader.read(), False

    def _chunks(self) -> bytes:
        pieces: list[bytes] = []
        while size := int(self._line().partition(b";")[0], 16):
            pieces.append(self._exactly(size))
            self._line()
        self._headers()  # those behind the body
        return b"".join(pieces)

    def _exactly(self, size: int) -> bytes:
        if size < 0:
            raise ValueError("the answer has less than nothing")
        data = self._reader.read(size)
        if len(data) < size:
            raise ConnectionResetError("closed within the answer")
        return data

    def _line(self) -> bytes:
        line = self._reader.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            if len(line) == _LONGEST_LINE:
                raise ValueError("a line of the answer is too long")
            raise ConnectionResetError("closed before the answer")
        return line.rstrip(b"\r\n")


def _close_all(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.close()
