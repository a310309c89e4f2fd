"""HTTP to one service over connections that are kept open.

The standard library's client opens them. What is said over them is read here: its way through a mail's parser takes
longer than all else that a call of DynamoDB needs.

What may go wrong is raised as botocore raises it: by that `kcl_app.stores.recovery` tells whether a call never left or
its answer was lost.
"""

from __future__ import annotations

import select
import socket
import ssl
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import (
    BadStatusLine,
    HTTPConnection,
    HTTPException,
    HTTPSConnection,
    IncompleteRead,
    LineTooLong,
    RemoteDisconnected,
)
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: status, headers by their names in small letters, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Poster(Protocol):
    """What sends requests; threads may share it."""

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
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
        url: as a whole.
        secure: whether with TLS.
        host: name or address, without brackets.
        port: of TCP.
        path: what is asked for.
    """

    url: str
    secure: bool
    host: str
    port: int
    path: str

    def host_header(self) -> str:
        """The place's name as `Host` has it, and as it is signed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

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
        return cls(url, secure, parts.hostname, parts.port or (443 if secure else 80), parts.path or "/")


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
        self._trust = trust
        self._keep = keep
        self._start = (
            f"POST {place.path} HTTP/1.1\r\nHost: {place.host_header()}\r\nAccept-Encoding: identity\r\n"
        )
        self._idle: list[_Open] = []
        weakref.finalize(self, _close_all, self._idle)

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        connection: _Open | None = self._one()
        assert connection is not None
        url = self._place.url
        try:
            head = [self._start, *[f"{name}: {value}\r\n" for name, value in headers.items()]]
            connection.sock.sendall(
                f"{''.join(head)}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body
            )
            answer, stays = connection.read()
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from error
        except (OSError, IncompleteRead) as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from error
        except (HTTPException, ValueError) as error:
            raise HTTPClientError(error=error) from error
        else:
            if stays and len(self._idle) < self._keep:
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

    def _one(self) -> _Open:
        """An open connection; the one used last if it is still good, so that those not needed grow old."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            if connection.is_quiet():
                return connection
            connection.close()

    def _connect(self) -> _Open:
        place, seconds = self._place, self._connect_seconds
        made: HTTPConnection
        if place.secure:
            made = HTTPSConnection(place.host, place.port, timeout=seconds, context=self._trust)
        else:
            made = HTTPConnection(place.host, place.port, timeout=seconds)
        try:
            made.connect()
            made.sock.settimeout(self._read_seconds)
            return _Open(made)
        except BaseException as error:
            made.close()
            if isinstance(error, TimeoutError):
                raise ConnectTimeoutError(endpoint_url=place.url, error=error) from error
            if isinstance(error, ssl.SSLError):
                raise SSLError(endpoint_url=place.url, error=error) from error
            if isinstance(error, OSError | UnicodeError):  # a name that cannot be one is a UnicodeError
                raise EndpointConnectionError(endpoint_url=place.url, error=error) from error
            raise


MAX_LINE = 65_536
MAX_HEADERS = 100


class _Open:
    """An open connection.

    Args:
        made: by the standard library's client.
    """

    def __init__(self, made: HTTPConnection) -> None:
        self._made = made
        self.sock: socket.socket = made.sock
        self._file = self.sock.makefile("rb")

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._made.close()

    def is_quiet(self) -> bool:
        """Whether the server has neither hung up nor said anything that was not asked for."""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)

    def read(self) -> tuple[Answer, bool]:
        """An answer, and whether another one may follow on this connection (RFC 9112).

        Raises:
            OSError: the connection broke; a TimeoutError: nothing came.
            HTTPException: it broke off, or is none.
            ValueError: likewise.
        """
        status = 100
        while 100 <= status < 200:  # these only announce the answer
            version, status = self._status()
            headers = self._headers()
        stays = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Answer(status, headers, b"".join(self._chunks())), stays
        if (length := headers.get("content-length")) is not None:
            return Answer(status, headers, self._exactly(_number(length, 10))), stays
        if status in (204, 304):
            return Answer(status, headers, b""), stays
        return Answer(status, headers, self._file.read()), False

    def _status(self) -> tuple[str, int]:
        line = self._line()
        if not line:
            raise RemoteDisconnected("the server hung up instead of answering")
        version, _, rest = line.partition(" ")
        if version not in ("HTTP/1.0", "HTTP/1.1"):
            raise BadStatusLine(version[:20])
        return version, _number(rest.strip().partition(" ")[0], 10)

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(MAX_HEADERS + 1):
            line = self._line()
            if line in ("\r\n", "\n"):
                return found
            name, colon, value = line.partition(":")
            if not colon or not line.endswith("\n"):
                raise HTTPException("a header that is none, or is cut off")
            found[name.strip().lower()] = value.strip()
        raise HTTPException(f"more than {MAX_HEADERS} headers")

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line().partition(";")[0].strip(), 16):
            yield self._exactly(size)
            self._line()
        self._headers()  # trailers tell us nothing

    def _line(self) -> str:
        line = self._file.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise LineTooLong("an answer's line")
        return line.decode("latin-1")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise IncompleteRead(data, size - len(data))
        return data


def _number(text: str, base: int) -> int:
    """A number without a sign, blanks or underscores, which Python's `int` would take."""
    if not text.isascii() or not text.isalnum():
        raise ValueError("not a number")
    return int(text, base)


def _close_all(connections: list[_Open]) -> None:
    for connection in connections:
        connection.close()
