"""The store's own way to DynamoDB, held to botocore's: signatures, statements' JSON, broken answers, connections."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
)

from kcl_app.stores.base import Put, Table, Value
from kcl_app.stores.connections import Answer, Connections, Place
from kcl_app.stores.dynamodb_json import batch, statement, to_row, to_value
from kcl_app.stores.signing import CONTENT_TYPE, Signer

AT = datetime(2026, 3, 9, 12, 0, 5, tzinfo=UTC)
TARGET = "DynamoDB_20120810.BatchExecuteStatement"


@pytest.mark.parametrize("token", [None, "a/token+of=a==role"])
@pytest.mark.parametrize(
    "url",
    [
        "https://dynamodb.us-east-1.amazonaws.com",
        "http://127.0.0.1:4566",
        "https://host:8443/path",
        "http://[::1]:80/",
    ],
)
def test_signatures_are_botocores(monkeypatch: pytest.MonkeyPatch, url: str, token: str | None) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: AT)
    credentials = Credentials("AKIDEXAMPLE", "secret/key+x", token)
    body = '{"Zoë": "\U0001f600"}'.encode()
    signer = Signer(lambda: credentials, "dynamodb", "eu-west-1", Place.of(url), AT.timestamp)
    request = AWSRequest("POST", url, {"X-Amz-Target": TARGET, "Content-Type": CONTENT_TYPE}, body)
    botocore.auth.SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    for _ in range(2):  # the second with the key that was kept
        assert dict(signer.headers(TARGET, body)) == dict(request.headers.items())


def test_a_key_is_not_kept_past_its_day_or_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    who, now = [Credentials("A", "one")], [AT.timestamp()]
    signer = Signer(lambda: who[0], "dynamodb", "us-east-1", Place.of("http://h"), lambda: now[0])
    for secret, seconds in (("one", 0), ("two", 0), ("two", 86_400)):
        who[0] = Credentials("A", secret)
        now[0] = AT.timestamp() + seconds
        monkeypatch.setattr(
            botocore.auth, "get_current_datetime", lambda: datetime.fromtimestamp(now[0], UTC)
        )
        request = AWSRequest("POST", "http://h", {"X-Amz-Target": TARGET, "Content-Type": CONTENT_TYPE}, b"x")
        botocore.auth.SigV4Auth(who[0], "dynamodb", "us-east-1").add_auth(request)
        assert dict(signer.headers(TARGET, b"x"))["Authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("who", "raised"),
    [(None, NoCredentialsError), (Credentials("A", "s", "two\r\nlines"), CredentialRetrievalError)],
)
def test_without_credentials_that_serve_nothing_is_signed(
    who: Credentials | None, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        Signer(lambda: who, "dynamodb", "us-east-1", Place.of("http://h"), AT.timestamp).headers(TARGET, b"")


ODD: list[Value] = [
    "", "'", '"', "\\", "\x00", "\n\r\t\x1f\x7f", "é", "\U0001f600", "\ud800", "\u2028", "?", "{}", "x" * 400_000,
    None, 0, -1, 10**37, 2**53 + 1,
]  # fmt: skip


@pytest.mark.parametrize("expect", [None, "1'\"\\\ud800"])
def test_a_statement_says_what_its_row_says(expect: str | None) -> None:
    """Whatever characters are in values, names, keys and versions."""
    row: dict[str, Value] = {"pk": "p\"'", "sk": "s\\\x00", "revision": "2"}
    row |= {f"a{index}'\"{{": value for index, value in enumerate(ODD)}
    (made,) = json.loads(batch([statement("a-table", Put(Table.ITEMS, row, expect))]))["Statements"]
    values = [to_value(value) for name, value in row.items() if expect is None or name not in ("pk", "sk")]
    if expect is not None:
        values += [to_value(row["pk"]), to_value(row["sk"]), to_value(expect)]
    assert made["Parameters"] == values
    assert made["Statement"].count("?") == len(values)
    assert made["Statement"].startswith('INSERT INTO "a-table"' if expect is None else 'UPDATE "a-table"')
    assert to_row({name: to_value(value) for name, value in row.items()}) == row


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def says(*answers: bytes) -> Iterator[tuple[Connections, list[int]]]:
    """A server that answers each connection's requests with these bytes and hangs up behind the last."""
    accepted: list[int] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            accepted.append(1)
            with client:
                for answer in answers:
                    if not client.recv(65_536):
                        break
                    client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    place = Place.of(f"http://127.0.0.1:{listening.getsockname()[1]}")
    connections = Connections(place, connect_seconds=5, read_seconds=5)
    try:
        yield connections, accepted
    finally:
        connections.close()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200\nCONTENT-length:2\n\n{}",
    ],
)
def test_each_way_to_end_an_answer_is_understood(answer: bytes) -> None:
    with says(answer) as (connections, _):
        got = connections.post([("A", "b")], b"body")
        assert (got.status, got.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", HTTPClientError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", HTTPClientError),
        (b"SSH-2.0-OpenSSH\r\n", HTTPClientError),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300, HTTPClientError),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, HTTPClientError),
    ],
    ids=range(8),
)
def test_an_answer_that_breaks_off_or_is_none_is_lost(answer: bytes, raised: type[BotoCoreError]) -> None:
    with says(answer) as (connections, _), pytest.raises(raised):
        connections.post([], b"body")


def test_a_connection_is_used_again_until_the_server_hangs_up() -> None:
    with says(OK, OK) as (connections, accepted):
        for turn in range(3):
            assert connections.post([], b"body") == Answer(200, {"content-length": "2"}, b"{}")
            if turn == 1:
                connections._idle[0]._poll.poll(5000)  # until the server's farewell is here
        assert len(accepted) == 2


def test_silence_and_a_closed_port_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = Place.of(f"http://127.0.0.1:{listening.getsockname()[1]}")
        connections = Connections(place, connect_seconds=5, read_seconds=0.1)
        with pytest.raises(ReadTimeoutError):
            connections.post([], b"body")
    with pytest.raises(EndpointConnectionError):
        connections.post([], b"body")
