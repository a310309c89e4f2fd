"""What becomes of AWS's errors, and that no call of a store goes on for ever: with boto3, on a server of the test's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)

from kcl_app import wiring
from kcl_app.settings import Settings
from kcl_app.stores.base import Outcome, Put, Table
from kcl_app.stores.dynamodb import ATTEMPTS, PATIENCE_SECONDS, DynamoDBStore
from kcl_app.stores.recovery import BUSY, EXPIRED, REFUSED, NotUnderstood, translated
from processors.errors import Fatal, Retry

NAMES = {table.setting: table.setting for table in Table}
Answer = tuple[int, dict[str, Any]] | None
"""Status and body; None closes the connection without one."""


def put(expect: str | None = None) -> Put:
    return Put(Table.ITEMS, {"pk": "p", "sk": "s", "revision": "1"}, expect)


class Server:
    """Answers from a script, the last entry for ever; notes the operations asked for."""

    def __init__(self, url: str, asked: list[str], bodies: list[bytes]) -> None:
        self.url = url
        self.asked = asked
        self.bodies = bodies

    def store(self, **timeouts: float) -> DynamoDBStore:
        """A store that asks here."""
        settings = Settings.model_validate({"aws": {"endpoint_url": self.url, **timeouts}})
        return DynamoDBStore(wiring.dynamodb_calls(settings), NAMES, sleep=lambda seconds: None)


@contextmanager
def server(*script: Answer, silent: bool = False) -> Iterator[Server]:
    answers, asked, bodies = list(script), list[str](), list[bytes]()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(self.headers["X-Amz-Target"].partition(".")[2])
            if silent:
                over.wait(60)
                return
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{httpd.server_address[1]}", asked, bodies)
    finally:
        over.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def error(code: str, status: int = 400) -> Answer:
    return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no"}


def done(*errors: str | None) -> Answer:
    return 200, {"Responses": [{"Error": {"Code": one, "Message": "no"}} if one else {} for one in errors]}


def test_a_server_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with server((200, {}), silent=True) as silent:
        store = silent.store(read_timeout_seconds=0.2, connect_timeout_seconds=0.2)
        start = time.monotonic()
        with pytest.raises(Retry, match="ReadTimeoutError"):
            store.query(Table.ITEMS, "p")
        assert store.write([put()]) == [Outcome.UNKNOWN]
        assert store.transact([put()]) is Outcome.UNKNOWN
        assert time.monotonic() - start < 20
        assert len(silent.asked) == 6, "each is sent twice"


def test_a_write_whose_answer_was_lost_is_told_to_be_in_conflict_with_itself() -> None:
    """It is sent again, and finds it written: whoever is told of a conflict has to read again."""
    with server(None, done("DuplicateItem")) as cloud:
        assert cloud.store().write([put()]) == [Outcome.CONFLICT]
        assert cloud.asked == ["BatchExecuteStatement"] * 2


def test_a_transaction_is_sent_again_with_the_same_token() -> None:
    with server(None, (200, {})) as cloud:
        store = cloud.store()
        assert store.transact([put()]) is Outcome.APPLIED
        assert store.transact([put()]) is Outcome.APPLIED
        first, again, other = (json.loads(body)["ClientRequestToken"] for body in cloud.bodies)
        assert first == again != other


@pytest.mark.parametrize("answer", [error("InternalServerError", 500), error("Whatever", 503), (502, {})])
def test_a_fault_of_the_service_is_tried_again(answer: Answer) -> None:
    with server(answer, answer, answer, (200, {"Items": []})) as cloud:
        assert cloud.store().query(Table.ITEMS, "p") == []
        assert len(cloud.asked) == 4


def test_a_table_that_is_missing_is_named() -> None:
    with server(error("ResourceNotFoundException")) as cloud:
        store = cloud.store()
        calls: list[Callable[[], object]] = [
            lambda: store.query(Table.ITEMS, "p"),
            lambda: store.get(Table.ITEMS, [("p", "s")]),
            lambda: list(store.scan(Table.ITEMS)),
            lambda: store.delete(Table.ITEMS, ("p", "s"), "1"),
        ]
        for call in calls:
            with pytest.raises(Fatal, match=rf"^DynamoDB refuses \w+ of {Table.ITEMS.setting}: ResourceNot"):
                call()


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("ExpiredTokenException", Retry),
        ("AccessDeniedException", Fatal),
        ("ResourceNotFoundException", Fatal),
        ("UnrecognizedClientException", Fatal),
        ("InvalidSignatureException", Fatal),
        ("ValidationException", NotUnderstood),
        ("SerializationException", NotUnderstood),
        ("NeverHeardOf", Retry),
    ],
)
def test_what_each_error_comes_to(code: str, raised: type[Exception]) -> None:
    with server(error(code)) as cloud:
        store = cloud.store()
        calls: list[Callable[[], object]] = [
            lambda: store.query(Table.ITEMS, "p"),
            lambda: store.get(Table.ITEMS, [("p", "s")]),
            lambda: store.write([put()]),
            lambda: store.delete(Table.ITEMS, ("p", "s"), "1"),
        ]
        for call in calls:
            with pytest.raises(raised, match=code):
                call()
        assert len(cloud.asked) == len(calls), "waiting for it is not the call's business"


@pytest.mark.parametrize(
    ("code", "raised"),
    [("AccessDenied", Fatal), ("ValidationError", NotUnderstood), ("NeverHeardOf", Retry)],
)
def test_what_the_error_of_one_statement_comes_to(code: str, raised: type[Exception]) -> None:
    with server(done(code)) as cloud, pytest.raises(raised, match=code):
        cloud.store().write([put()])


def test_no_code_means_two_things() -> None:
    assert not BUSY & REFUSED
    assert not EXPIRED & (BUSY | REFUSED)
    assert isinstance(translated("S3", "to take it", "NoSuchBucket"), Fatal)
    assert isinstance(translated("S3", "to take it", "ExpiredToken"), Retry)


class Raising:
    """A client all of whose calls raise."""

    def __init__(self, raised: BotoCoreError) -> None:
        self.raised = raised
        self.calls = 0

    def __call__(self, operation: str, body: bytes) -> Any:
        self.calls += 1
        raise self.raised


CREDENTIALS = [NoCredentialsError(), CredentialRetrievalError(provider="container", error_msg="away")]


@pytest.mark.parametrize("raised", CREDENTIALS, ids=lambda one: type(one).__name__)
def test_a_call_that_never_left_for_want_of_credentials_waits(raised: BotoCoreError) -> None:
    """Not as an answer lost: nothing was sent, so nothing has to be read again."""
    store = DynamoDBStore(Raising(raised), NAMES)
    for call in (
        lambda: store.query(Table.ITEMS, "p"),
        lambda: store.write([put()]),
        lambda: store.transact([put()]),
        lambda: store.delete(Table.ITEMS, ("p", "s"), "1"),
    ):
        with pytest.raises(Retry, match="no credentials now"):
            call()


def test_a_request_that_cannot_be_is_a_fault_of_ours_and_no_lost_answer() -> None:
    """As a lost answer it would be tried for ever, and stop the shard."""
    store = DynamoDBStore(Raising(ParamValidationError(report="wrong")), NAMES)
    for call in (
        lambda: store.query(Table.ITEMS, "p"),
        lambda: store.write([put()]),
        lambda: store.transact([put()]),
    ):
        with pytest.raises(ParamValidationError):
            call()


@pytest.mark.parametrize(
    "raised", [ReadTimeoutError(endpoint_url="x"), SSLError(endpoint_url="x", error=OSError())]
)
def test_what_may_have_left_is_unknown(raised: BotoCoreError) -> None:
    store = DynamoDBStore(Raising(raised), NAMES)
    assert store.write([put()]) == [Outcome.UNKNOWN]
    assert store.transact([put()]) is Outcome.UNKNOWN


def test_a_call_is_not_tried_again_once_it_has_taken_a_minute() -> None:
    """Each try may be slow: six of them would be longer than a child may take."""
    now = [0.0]

    class Slow:
        calls = 0

        def __call__(self, operation: str, body: bytes) -> Any:
            Slow.calls += 1
            now[0] += 40
            return wiring_error()

    def wiring_error() -> Any:
        from botocore.exceptions import ClientError

        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "Query")

    store = DynamoDBStore(Slow(), NAMES, sleep=lambda seconds: None, monotonic=lambda: now[0])
    with pytest.raises(Retry, match="throttles"):
        store.query(Table.ITEMS, "p")
    assert Slow.calls == 2 < ATTEMPTS
    assert now[0] <= PATIENCE_SECONDS + 40


def test_a_call_and_the_batch_around_it_end_before_the_daemon_does() -> None:
    """The longest call, after a child has waited for as long as it does, is within the daemon's patience."""
    settings = Settings()
    aws = settings.aws
    longest_try = 2 * (aws.connect_timeout_seconds + aws.read_timeout_seconds) + 2
    waited = 0.8 * settings.worker.child_timeout_seconds
    assert waited + PATIENCE_SECONDS + longest_try < settings.worker.child_timeout_seconds
