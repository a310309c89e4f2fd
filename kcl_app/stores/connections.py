"""HTTP to one service over connections that are kept open, by the standard library's client.

What may go wrong is raised as botocore raises it: by that `kcl_app.stores.recovery` tells whether a call never left or
its answer was lost.
"""

from __future__ import annotations

import select
import socket
import ssl
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
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
        self._idle: list[HTTPConnection] = []
        weakref.finalize(self, _close_all, self._idle)

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        connection: HTTPConnection | None = self._one()
        assert connection is not None
        url = self._place.url
        try:
            connection.request("POST", self._place.path, body, dict(headers))
            response = connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except ssl.SSLError as error:
            raise SSLError(endpoint_url=url, error=error) from error
        except (OSError, IncompleteRead) as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from error
        except (HTTPException, ValueError) as error:
            raise HTTPClientError(error=error) from error
        else:
            if connection.sock is not None and len(self._idle) < self._keep:
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

    def _one(self) -> HTTPConnection:
        """An open connection; the one used last if it is still good, so that those not needed grow old."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect()
            if _is_quiet(connection):
                return connection
            connection.close()

    def _connect(self) -> HTTPConnection:
        place, seconds = self._place, self._connect_seconds
        made: HTTPConnection
        if place.secure:
            made = HTTPSConnection(place.host, place.port, timeout=seconds, context=self._trust)
        else:
            made = HTTPConnection(place.host, place.port, timeout=seconds)
        try:
            made.connect()
            made.sock.settimeout(self._read_seconds)
            return made
        except BaseException as error:
            made.close()
            if isinstance(error, TimeoutError):
                raise ConnectTimeoutError(endpoint_url=place.url, error=error) from error
            if isinstance(error, ssl.SSLError):
                raise SSLError(endpoint_url=place.url, error=error) from error
            if isinstance(error, OSError | UnicodeError):  # a name that cannot be one is a UnicodeError
                raise EndpointConnectionError(endpoint_url=place.url, error=error) from error
            raise


def _is_quiet(connection: HTTPConnection) -> bool:
    """Whether the server has neither hung up nor said anything that was not asked for."""
    opened: socket.socket | None = connection.sock
    if opened is None:
        return False
    poll = select.poll()
    poll.register(opened, select.POLLIN)
    return not poll.poll(0)


def _close_all(connections: list[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()
