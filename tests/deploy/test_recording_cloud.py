"""What IAM would be asked about a request is read off it rightly, whichever way the call names its table or stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recording_cloud import called, caller, refusal, refused


def dynamodb(operation: str, **request: Any) -> set[tuple[str, str]]:
    return called(
        "POST", "/", {"x-amz-target": f"DynamoDB_20120810.{operation}"}, json.dumps(request).encode()
    )


def signed(service: str, key: str = "local") -> dict[str, str]:
    scope = f"{key}/20260309/us-east-1/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


@pytest.mark.parametrize(
    ("operation", "request_", "asked"),
    [
        ("Query", {"TableName": "t"}, {("dynamodb:Query", "table/t")}),
        ("Query", {"TableName": "t", "IndexName": "i"}, {("dynamodb:Query", "table/t/index/i")}),
        ("ListTables", {}, {("dynamodb:ListTables", "*")}),
        (
            "BatchGetItem",
            {"RequestItems": {"a": {}, "b": {}}},
            {("dynamodb:BatchGetItem", "table/a"), ("dynamodb:BatchGetItem", "table/b")},
        ),
        (
            "BatchExecuteStatement",
            {"Statements": [
                {"Statement": 'INSERT INTO "a" VALUE {...}'},
                {"Statement": 'update "b-c" SET x = ?'},
                {"Statement": "DELETE FROM d.e WHERE pk = ?"},
                {"Statement": 'SELECT pk, sk\nFROM "f"'},
            ]},
            {
                ("dynamodb:PartiQLInsert", "table/a"), ("dynamodb:PartiQLUpdate", "table/b-c"),
                ("dynamodb:PartiQLDelete", "table/d.e"), ("dynamodb:PartiQLSelect", "table/f"),
            },
        ),
        ("ExecuteStatement", {"Statement": 'UPDATE "a" SET x = 1'}, {("dynamodb:PartiQLUpdate", "table/a")}),
        (
            "TransactWriteItems",
            {"TransactItems": [
                {"Put": {"TableName": "a"}}, {"ConditionCheck": {"TableName": "b"}}, {"Update": {"TableName": "c"}},
            ]},
            {
                ("dynamodb:PutItem", "table/a"), ("dynamodb:ConditionCheckItem", "table/b"),
                ("dynamodb:UpdateItem", "table/c"),
            },
        ),
    ],
)  # fmt: skip
def test_dynamodb(operation: str, request_: dict[str, Any], asked: set[tuple[str, str]]) -> None:
    assert dynamodb(operation, **request_) == asked


def test_a_statement_that_is_not_understood_is_not_passed_over() -> None:
    ((action, _),) = dynamodb("ExecuteStatement", Statement="EXISTS(...)")
    assert action.startswith("dynamodb:?")


@pytest.mark.parametrize(
    ("request_", "resource"),
    [
        ({"StreamName": "s"}, "stream/s"),
        ({"StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s"}, "stream/s"),
        ({"ShardIterator": "x"}, "*"),
    ],
)
def test_kinesis(request_: dict[str, Any], resource: str) -> None:
    headers = {"x-amz-target": "Kinesis_20131202.GetRecords"}
    assert called("POST", "/", headers, json.dumps(request_).encode()) == {("kinesis:GetRecords", resource)}


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("HEAD", "/letters", ("s3:ListBucket", "bucket/letters")),
        ("GET", "/letters?list-type=2", ("s3:ListBucket", "bucket/letters")),
        ("PUT", "/letters/t/1?x-id=PutObject", ("s3:PutObject", "object/letters")),
        ("GET", "/letters/t/1", ("s3:GetObject", "object/letters")),
        ("DELETE", "/letters/t/1", ("s3:DeleteObject", "object/letters")),
    ],
)
def test_s3(method: str, path: str, asked: tuple[str, str]) -> None:
    assert called(method, path, signed("s3"), b"") == {asked}


def test_what_has_only_a_form_is_named_by_its_action() -> None:
    asked = called("POST", "/", signed("cloudformation"), b"Version=1&Action=CreateStack")
    assert asked == {("cloudformation:CreateStack", "*")}


def test_a_health_check_asks_for_nothing() -> None:
    assert called("GET", "/_ministack/health", {}, b"") == set()


def test_callers_are_told_apart_by_key_and_host() -> None:
    assert caller({**signed("s3", "tests"), "host": "localhost:4566"}) == ("tests", "localhost")


def test_what_is_not_allowed_is_refused_in_the_words_of_aws() -> None:
    query, scan = ("dynamodb:Query", "table/t"), ("dynamodb:Scan", "table/t")
    assert refused({query}, {query}) is None
    assert refused({query, scan}, {query}) == scan
    assert refused({query}, {("dynamodb:Query", "table/other")}) == query
    # Whose iterator it is IAM knows.
    assert refused({("kinesis:GetRecords", "*")}, {("kinesis:GetRecords", "stream/s")}) is None
    status, _, body = refusal(scan, "DynamoDB_20120810.Scan")
    assert (status, json.loads(body)["__type"]) == (400, "AccessDeniedException")
    assert (
        "perform: dynamodb:Scan on resource: arn:aws:dynamodb:us-east-1:000000000000:table/t "
        in body.decode()
    )
    status, _, body = refusal(
        ("dynamodb:PartiQLInsert", "table/t"), "DynamoDB_20120810.BatchExecuteStatement"
    )
    assert (status, json.loads(body)["Responses"][0]["Error"]["Code"]) == (200, "AccessDenied")
    assert refusal(("s3:GetObject", "object/b"), "")[0] == 403
