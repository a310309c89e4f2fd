"""The local cloud, which writes down what IAM would be asked about: who called, which action, on which resource.

Run by the local cloud's own Python, as a program; `called` is pure, and tests import it. It is here and not between the
processes and the cloud because the KCL speaks HTTP/2 to Kinesis, which a proxy could only pass on.

    python recording_cloud.py ministack FILE [resharding.py, for shards that close as Kinesis' do]

Each line of FILE is a new (caller, action, resource) as JSON. Once the file is taken away all are new again.

While there is a file of that name that ends in `.allowed` (a key, and the actions and resources that who signs with it
is allowed, as JSON), it refuses that caller all else, in AWS's words.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_STATEMENT = re.compile(
    r"""^\s*(?:(?P<insert>INSERT)\s+INTO|(?P<update>UPDATE)|(?P<delete>DELETE)\s+FROM|(?P<select>SELECT)\s.*?\sFROM)
        \s+"?(?P<table>[\w.-]+)"?""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_IN_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/aws4_request")

Asked = tuple[str, str]
"""An action of IAM, and the resource: ``table/NAME``, ``table/NAME/index/NAME``, ``stream/NAME``, ``bucket/NAME``,
``object/BUCKET``; ``*`` where the call names none."""


def called(method: str, path: str, headers: Mapping[str, str], body: bytes) -> set[Asked]:
    """What IAM would be asked about one request.

    Args:
        method: of HTTP.
        path: of the URL, as it was sent.
        headers: names in small letters.
        body: of the request.
    """
    target = headers.get("x-amz-target", "")
    service, _, operation = target.partition(".")
    if service.startswith("DynamoDB_"):
        return set(_dynamodb(operation, json.loads(body or b"{}")))
    if service.startswith("Kinesis_"):
        return {(f"kinesis:{operation}", _stream(json.loads(body or b"{}")))}
    scope = _SCOPE.search(headers.get("authorization", ""))
    if scope is None:
        return set()
    if scope[2] == "s3":
        return {_s3(method, path)}
    action = re.search(rb"(?:^|&)Action=(\w+)", body)
    return {(f"{scope[2]}:{action[1].decode() if action else target.rpartition('.')[2] or method}", "*")}


def caller(headers: Mapping[str, str]) -> tuple[str, str]:
    """The access key that a request was signed with, and the host that it was sent to."""
    scope = _SCOPE.search(headers.get("authorization", ""))
    return (scope[1] if scope else "", headers.get("host", "").partition(":")[0])


def _dynamodb(operation: str, request: dict[str, Any]) -> Iterator[Asked]:
    """https://docs.aws.amazon.com/amazondynamodb: PartiQL and transactions have no actions of their own."""
    statements = request.get("Statements") or request.get("TransactStatements") or []
    if operation == "ExecuteStatement":
        statements = [request]
    if statements:
        for one in statements:
            found = _STATEMENT.match(one["Statement"])
            if found is None:
                yield (f"dynamodb:? {one['Statement'][:40]}", "*")
                continue
            (verb,) = [v for v in ("insert", "update", "delete", "select") if found[v]]
            yield (f"dynamodb:PartiQL{verb.capitalize()}", f"table/{found['table']}")
    elif operation.startswith("Transact"):
        for item in request["TransactItems"]:
            for kind, part in item.items():
                yield (f"dynamodb:{_IN_TRANSACTION[kind]}", f"table/{part['TableName']}")
    elif "RequestItems" in request:
        for table in request["RequestItems"]:
            yield (f"dynamodb:{operation}", f"table/{table}")
    elif "TableName" in request:
        index = f"/index/{request['IndexName']}" if "IndexName" in request else ""
        yield (f"dynamodb:{operation}", f"table/{request['TableName']}{index}")
    else:
        yield (f"dynamodb:{operation}", "*")


def _stream(request: dict[str, Any]) -> str:
    """GetRecords has only an iterator, and a further page of ListShards a token."""
    name = request.get("StreamName") or str(request.get("StreamARN", "")).rpartition("/")[2]
    return f"stream/{name}" if name else "*"


def _s3(method: str, path: str) -> Asked:
    bucket, _, key = unquote(path.split("?")[0]).strip("/").partition("/")
    if not bucket:
        return ("s3:ListAllMyBuckets", "*")
    if not key:
        # HeadBucket has no action of its own: who may list a bucket may ask whether it is there.
        actions = {"HEAD": "ListBucket", "GET": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        return (f"s3:{actions.get(method, method)}", f"bucket/{bucket}")
    actions = {"HEAD": "GetObject", "GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}
    return (f"s3:{actions.get(method, method)}", f"object/{bucket}")


def refused(asked: Collection[Asked], allowed: Collection[Asked]) -> Asked | None:
    """What IAM would refuse of a request; None: nothing.

    Args:
        asked: as of `called`.
        allowed: what the caller is allowed. The stream of an iterator or a token is known to IAM alone.
    """
    actions = {action for action, _ in allowed}
    for one in sorted(asked):
        if one not in allowed and not (one[1] == "*" and one[0] in actions):
            return one
    return None


def refusal(asked: Asked, target: str) -> tuple[int, str, bytes]:
    """Status, content type and body with which AWS refuses.

    Args:
        asked: what it refuses.
        target: the operation, as DynamoDB and Kinesis are called.
    """
    (action, resource), service = asked, asked[0].partition(":")[0]
    if service == "s3":
        return (
            403,
            "application/xml",
            b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
        )
    message = (
        f"User: arn:aws:sts::000000000000:assumed-role/role/task is not authorized to perform: {action} "
        f"on resource: arn:aws:{service}:us-east-1:000000000000:{resource} "
        f"because no identity-based policy allows the {action} action"
    )
    kind = "application/x-amz-json-1.0"
    if target.endswith(".BatchExecuteStatement"):  # each statement has an outcome of its own
        error = {"Code": "AccessDenied", "Message": message}
        return 200, kind, json.dumps({"Responses": [{"Error": error}]}).encode()
    return 400, kind, json.dumps({"__type": "AccessDeniedException", "message": message}).encode()


Scope = dict[str, Any]
Message = dict[str, Any]
App = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


def recording(app: App, file: Path) -> App:
    """An ASGI application that writes down what it is asked, and passes it on."""
    known: set[tuple[str, ...]] = set()

    rules = file.with_suffix(".allowed")

    def note(scope: Scope, body: bytes) -> tuple[int, str, bytes] | None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        if not file.exists():
            known.clear()
        all_asked = called(scope["method"], path, headers, body)
        for asked in all_asked:
            line = (*caller(headers), *asked)
            if line not in known:
                known.add(line)
                with file.open("a") as out:
                    out.write(json.dumps(line) + "\n")
        if not rules.exists():
            return None
        whose, allowed = json.loads(rules.read_text(encoding="utf-8"))
        no = (
            refused(all_asked, {(one[0], one[1]) for one in allowed}) if caller(headers)[0] == whose else None
        )
        return None if no is None else refusal(no, headers.get("x-amz-target", ""))

    async def application(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        messages: list[Message] = []
        while True:
            message = await receive()
            messages.append(message)
            if message["type"] != "http.request" or not message.get("more_body"):
                break
        no = note(scope, b"".join(one.get("body", b"") for one in messages))
        if no is not None:
            status, kind, body = no
            head = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await app(scope, again, send)

    return application


def program(file: Path, *more: str) -> tuple[str, ...]:
    """What the local cloud's Python runs to be this one."""
    return ("-P", __file__, "ministack", str(file), *more)


def _close_shards(closing: str) -> None:
    spec = importlib.util.spec_from_file_location("resharding", closing)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {closing}")
    resharding = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(resharding)
    resharding.with_closed_shards(importlib.import_module("ministack.services.kinesis"))


def main() -> None:
    """Be ministack, and write down what it is asked."""
    file = Path(sys.argv[2])
    for closing in sys.argv[3:]:
        _close_shards(closing)
    ministack: Any = importlib.import_module("ministack.app")
    ministack.app = recording(ministack.app, file)
    sys.argv = sys.argv[:1]
    ministack.main()


if __name__ == "__main__":
    main()
