"""The soak's proxy and its faults: what passes passes byte for byte, and what fails fails as AWS would have it."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kcl_app.local.soak import faults
from kcl_app.local.soak.faults import (
    CHANCES,
    DELAY,
    DROP,
    LATE,
    LOSE,
    THROTTLE,
    Call,
    Decision,
    decide,
    merged,
)
from kcl_app.local.soak.messages import HTTP2, Message, answer
from kcl_app.local.soak.proxy import Proxy

JSON = "application/x-amz-json-1.0"
LATE_SECONDS = 0.3


class Cloud(ThreadingHTTPServer):
    """Answers each call with what it was asked, and remembers it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cloud

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((self.command, self.headers.get("x-amz-target", ""), body))
        if self.headers.get("x-amz-target", "").endswith("BatchExecuteStatement"):
            body = json.dumps({"Responses": [{} for _ in json.loads(body)["Statements"]]}).encode()
        chunked = self.path == "/chunked"
        self.send_response(200)
        self.send_header("x-amz-crc32", "1")
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if chunked:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n")
        else:
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_HEAD = _reply  # noqa: N815 - named by the base class

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    server = Cloud()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    made = Proxy(cloud.server_address[1], random.Random(1), LATE_SECONDS)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that is on meets every call."""
    for mode in CHANCES:
        monkeypatch.setitem(faults.CHANCES, mode, 1.0)


def ask(
    proxy: Proxy, operation: str = "GetItem", body: bytes = b"{}", timeout: float = 5
) -> tuple[int, bytes]:
    """One call of DynamoDB on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    try:
        connection.request("POST", "/", body, {"x-amz-target": f"DynamoDB_20120810.{operation}"})
        given = connection.getresponse()
        return given.status, given.read()
    finally:
        connection.close()


def test_without_faults_all_passes_and_connections_are_kept(cloud: Cloud, proxy: Proxy) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    for method, path, body in (
        ("POST", "/", b"x" * 300_000), ("HEAD", "/bucket", b""), ("POST", "/chunked", b"chunky"), ("GET", "/", b""),
    ):  # fmt: skip
        connection.request(method, path, body)
        given = connection.getresponse()
        assert (given.status, given.read()) == (200, b"" if method == "HEAD" else body)
    connection.close()
    assert cloud.asked[0] == ("POST", "", b"x" * 300_000)
    assert proxy.calls == 4
    assert not proxy.faults


def test_a_client_that_waits_for_leave_to_send_gets_it(cloud: Cloud, proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        client.sendall(b"PUT /b/k HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"data")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    assert cloud.asked == [("PUT", "", b"data")]


@pytest.mark.usefixtures("always")
def test_a_lost_answer_is_of_a_call_that_was_made(cloud: Cloud, proxy: Proxy) -> None:
    proxy.set_faults([LOSE])
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(proxy)
    assert len(cloud.asked) == 1
    assert proxy.faults == {LOSE: 1}


@pytest.mark.usefixtures("always")
def test_a_dropped_connection_is_of_a_call_that_was_not(cloud: Cloud, proxy: Proxy) -> None:
    proxy.set_faults([DROP])
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(proxy)
    assert cloud.asked == []
    proxy.set_faults([])
    assert ask(proxy) == (200, b"{}")


@pytest.mark.usefixtures("always")
def test_a_late_write_arrives_after_its_client_has_given_up(cloud: Cloud, proxy: Proxy) -> None:
    proxy.set_faults([LATE])
    with pytest.raises(TimeoutError):
        ask(proxy, "UpdateItem", timeout=LATE_SECONDS / 3)
    assert cloud.asked == []
    end = time.monotonic() + 10
    while not cloud.asked and time.monotonic() < end:
        time.sleep(0.02)
    assert [target for _, target, _ in cloud.asked] == ["DynamoDB_20120810.UpdateItem"]
    assert ask(proxy, "Query") == (200, b"{}"), "reads are not late"


@pytest.mark.usefixtures("always")
def test_some_statements_of_a_call_are_throttled_and_the_others_done(cloud: Cloud, proxy: Proxy) -> None:
    proxy.set_faults([THROTTLE])
    statements = [{"Statement": str(number)} for number in range(25)]
    partly = 0
    for _ in range(30):
        status, body = ask(proxy, "BatchExecuteStatement", json.dumps({"Statements": statements}).encode())
        assert status in (200, 400)
        if status == 200:
            responses = json.loads(body)["Responses"]
            assert len(responses) == 25
            partly += 0 < sum("Error" in response for response in responses) < 25
    assert partly == len(cloud.asked) > 5
    assert all(0 < len(json.loads(body)["Statements"]) < 25 for _, _, body in cloud.asked)


def given(body: Any) -> Message:
    """An answer of the cloud."""
    return answer(200, "OK", json.dumps(body).encode(), JSON)


def call(operation: str, body: Any, service: str = "DynamoDB_20120810") -> Call:
    head = f"POST / HTTP/1.1\r\nx-amz-target: {service}.{operation}\r\n\r\n".encode()
    return Call.of(Message(head, json.dumps(body).encode()))


def throttled(one: Call, wanted: Callable[[Decision], bool]) -> Decision:
    """A decision of the wanted kind, of the first few hundred."""
    rng = random.Random(3)
    for _ in range(400):
        decision = decide(one, [THROTTLE], rng, 1)
        if decision.fault and wanted(decision):
            return decision
    raise AssertionError("none is like that")


def test_an_answer_for_some_statements_gets_the_errors_of_the_others_in_their_places() -> None:
    asked = {"Statements": [{"Statement": str(number)} for number in range(6)]}
    decision = throttled(call("BatchExecuteStatement", asked), lambda one: one.forward is not None)
    assert decision.forward is not None
    left = json.loads(decision.forward.body)["Statements"]
    assert decision.forward.header("content-length") == str(len(decision.forward.body))
    answered = given({"Responses": [{"Item": {"n": {"S": one["Statement"]}}} for one in left]})
    responses = json.loads(merged(decision, answered).body)["Responses"]
    assert len(responses) == 6
    for place, response in enumerate(responses):
        if place in decision.merge:
            assert response["Error"]["Code"] in faults._STATEMENT_CODES
        else:
            assert response["Item"]["n"]["S"] == str(place)


def test_keys_that_were_left_out_come_back_as_unprocessed() -> None:
    keys = [{"pk": {"S": str(number)}} for number in range(10)]
    asked = {"RequestItems": {"t": {"Keys": keys, "ConsistentRead": True}}}
    decision = throttled(call("BatchGetItem", asked), lambda one: one.forward is not None)
    assert decision.forward is not None
    got = json.loads(decision.forward.body)["RequestItems"]["t"]
    assert got["ConsistentRead"] is True
    answered = json.loads(merged(decision, given({"Responses": {"t": []}, "UnprocessedKeys": {}})).body)
    left = answered["UnprocessedKeys"]["t"]
    assert left["ConsistentRead"] is True
    together = sorted(json.dumps(key) for key in [*got["Keys"], *left["Keys"]])
    assert together == sorted(json.dumps(key) for key in keys)


def test_a_transaction_is_called_off_for_one_row_that_is_busy() -> None:
    one = call("TransactWriteItems", {"TransactItems": [{}] * 4})
    decision = throttled(
        one, lambda found: found.instead is not None and b"CancellationReasons" in found.instead.body
    )
    assert decision.instead is not None
    body = json.loads(decision.instead.body)
    assert body["__type"].endswith("#TransactionCanceledException")
    codes = [reason["Code"] for reason in body["CancellationReasons"]]
    assert len(codes) == 4
    assert sum(code in ("TransactionConflict", "ThrottlingError") for code in codes) == 1


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [
        ("Kinesis_20131202", "GetRecords", "ProvisionedThroughputExceededException"),
        ("Kinesis_20131202", "ListShards", "LimitExceededException"),
        ("DynamoDB_20120810", "Query", "com.amazonaws.dynamodb.v20120810#"),
    ],
)
def test_whole_calls_are_throttled_with_the_services_own_words(
    service: str, operation: str, code: str
) -> None:
    decision = throttled(call(operation, {}, service), lambda one: one.instead is not None)
    assert decision.instead is not None
    assert decision.instead.head.startswith(b"HTTP/1.1 400")
    assert json.loads(decision.instead.body)["__type"].startswith(code)


def test_an_answer_that_is_an_error_is_passed_on_as_it_is() -> None:
    asked = {"Statements": [{"Statement": str(number)} for number in range(6)]}
    decision = throttled(call("BatchExecuteStatement", asked), lambda one: one.forward is not None)
    refused = answer(400, "Bad Request", b'{"__type":"ValidationException"}', JSON)
    assert merged(decision, refused) is refused


def test_other_services_and_health_checks_are_left_alone() -> None:
    rng = random.Random(1)
    for _ in range(300):
        assert (
            decide(Call.of(Message(b"PUT /b/k HTTP/1.1\r\n\r\n", b"")), list(CHANCES), rng, 1) == Decision()
        )


def test_http2_goes_through_both_ways_and_can_be_cut(always: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1], random.Random(1), LATE_SECONDS)
        proxy.start()
        try:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                client.sendall(HTTP2 + b"SM\r\n\r\n")
                far, _ = server.accept()
                far.settimeout(5)
                wanted = HTTP2 + b"SM\r\n\r\n"
                got = b""
                while len(got) < len(wanted):
                    got += far.recv(1000)
                assert got == wanted
                far.sendall(b"frames")
                assert client.recv(100) == b"frames"
                proxy.set_faults([LOSE])
                client.settimeout(5)
                for _ in range(500):  # each piece is lost with a small chance
                    try:
                        far.sendall(b"more")
                        if not client.recv(100):
                            break
                    except ConnectionError:
                        break
                assert proxy.faults[LOSE] == 1
                far.close()
        finally:
            proxy.stop()


def test_a_cloud_that_is_away_closes_the_connection() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        proxy = Proxy(nobody.getsockname()[1], random.Random(1), LATE_SECONDS)
        proxy.start()
        try:
            with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
                ask(proxy)
        finally:
            proxy.stop()


def test_delayed_calls_arrive(
    cloud: Cloud, proxy: Proxy, always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "LONGEST_DELAY", 0.1)
    proxy.set_faults([DELAY])
    began = time.monotonic()
    assert ask(proxy) == (200, b"{}")
    assert time.monotonic() - began >= 0.05
    assert proxy.faults == {DELAY: 1}
