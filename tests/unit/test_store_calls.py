"""The store's own way to DynamoDB, signatures, statements' JSON, broken answers, connections."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore.auth import SigV4Auth
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
from kcl_app.stores.calls import DynamoDBCalls
from kcl_app.stores.connections import Answer, Connections, Place, Poster
from kcl_app.stores.dynamodb_json import batch, statement, to_row, to_value
from kcl_app.stores.signing import Signer


class Sent(Poster):
    """Notes what it is to send."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        self.headers.append(dict(headers))
        return Answer(200, {}, b"{}")


def asked_by(
    who: list[Credentials | None], url: str = "https://dynamodb.us-east-1.amazonaws.com"
) -> tuple[DynamoDBCalls, Sent]:
    """Calls by whoever comes first in the list at that moment."""
    sent = Sent()
    return DynamoDBCalls(sent, Place.of(url), "us-east-1", lambda: who[0], "ours"), sent


@pytest.mark.parametrize("token", [None, "a/token+of=a==role"])
def test_each_call_is_signed_by_who_asks_now(token: str | None) -> None:
    who: list[Credentials | None] = [Credentials("AKIDEXAMPLE", "secret", token)]
    calls, sent = asked_by(who)
    calls("Query", b"{}")
    who[0] = Credentials("RENEWED", "secret", token)
    calls("Query", b"{}")
    first, second = sent.headers
    assert first["X-Amz-Target"] == "DynamoDB_20120810.Query"
    assert first["User-Agent"] == "ours"
    assert first.get("X-Amz-Security-Token") == token
    signed = "content-type;host;x-amz-date;" + ("x-amz-security-token;" if token else "") + "x-amz-target"
    for name, headers in (("AKIDEXAMPLE", first), ("RENEWED", second)):
        told = headers["Authorization"]
        assert f"Credential={name}/" in told
        assert "/us-east-1/dynamodb/aws4_request" in told
        assert f"SignedHeaders={signed}," in told


@pytest.mark.parametrize(
    ("who", "raised"),
    [(None, NoCredentialsError), (Credentials("A", "s", "two\r\nlines"), CredentialRetrievalError)],
)
def test_without_credentials_that_serve_nothing_is_sent(
    who: Credentials | None, raised: type[Exception]
) -> None:
    calls, sent = asked_by([who])
    with pytest.raises(raised):
        calls("Query", b"{}")
    assert sent.headers == []


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
                    asked = piece = client.recv(65_536)
                    while piece and not asked.endswith(b"body"):  # headers and body may come apart
                        asked += (piece := client.recv(65_536))
                    if not piece:
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
        got = connections.post({"A": "b"}, b"body")
        assert (got.status, got.body) == (200, b"{}")


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", HTTPClientError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", HTTPClientError),
        (b"SSH-2.0-OpenSSH\r\n", HTTPClientError),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300, HTTPClientError),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, HTTPClientError),
    ],
    ids=range(7),
)
def test_an_answer_that_breaks_off_or_is_none_is_lost(answer: bytes, raised: type[BotoCoreError]) -> None:
    somebody = Credentials("A", "s")
    with says(answer) as (connections, _):
        place = Place.of("http://127.0.0.1")
        calls = DynamoDBCalls(connections, place, "us-east-1", lambda: somebody, "", lambda seconds: None)
        with pytest.raises(raised):
            calls("Query", b"body")


def test_a_connection_is_used_again_until_the_server_hangs_up() -> None:
    with says(OK, OK) as (connections, accepted):
        for turn in range(3):
            assert connections.post({}, b"body") == Answer(200, {"content-length": "2"}, b"{}")
            if turn == 1:
                select.select([connections._idle[0].sock], [], [], 5)  # until the server's farewell is here
        assert len(accepted) == 2


def test_silence_and_a_closed_port_are_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = Place.of(f"http://127.0.0.1:{listening.getsockname()[1]}")
        connections = Connections(place, connect_seconds=5, read_seconds=0.1)
        with pytest.raises(ReadTimeoutError):
            connections.post({}, b"body")
    with pytest.raises(EndpointConnectionError):
        connections.post({}, b"body")


@pytest.mark.parametrize("token", [None, "a/token+of=a==role", "two  blanks"])
@pytest.mark.parametrize(
    "url",
    [
        "https://dynamodb.us-east-1.amazonaws.com",
        "http://127.0.0.1:4566",
        "http://localhost:80/",
        "https://[::1]:8443",
        "http://gateway/some/ä path",
    ],
)
def test_a_signature_is_the_one_that_botocores_signer_makes(url: str, token: str | None) -> None:
    """On two days and for two secrets, so that no key of another is taken."""
    place = Place.of(url)
    signer = Signer("dynamodb", "eu-west-1", place, "application/x-amz-json-1.0")
    for now in (1_780_000_000.9, 1_780_086_400.0):
        for secret in ("secret", "sécret/+"):
            who = Credentials("AKIDEXAMPLE", secret, token).get_frozen_credentials()
            for body in (b"{}", '{"é":1}'.encode(), b"x" * 10_000):
                made = signer.headers(who, "DynamoDB_20120810.Query", body, now)
                plain = {"Content-Type": made["Content-Type"], "X-Amz-Target": made["X-Amz-Target"]}
                request = AWSRequest("POST", url, plain, body)
                at = datetime.fromtimestamp(now, UTC)
                with patch("botocore.auth.get_current_datetime", lambda at=at: at.replace(tzinfo=None)):
                    SigV4Auth(who, "dynamodb", "eu-west-1").add_auth(request)
                assert made == dict(request.headers.items())
