"""What holds for every store of large dead letters: in memory, and S3 (as moto plays it)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import boto3
import pytest
from moto import mock_aws

from kcl_app.stores.base import Blobs
from kcl_app.stores.memory import MemoryBlobs
from kcl_app.stores.s3 import S3Blobs
from processors.errors import Fatal

BUCKET = "letters"

Read = Callable[[str], bytes]


@pytest.fixture(params=["memory", "s3"])
def blobs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Blobs, Read]]:
    """A store, and a way to read it that is not its own."""
    if request.param == "memory":
        memory = MemoryBlobs()
        yield memory, memory.blobs.__getitem__
        return
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield S3Blobs(client, BUCKET), lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_what_was_put_is_there_byte_by_byte(blobs: tuple[Blobs, Read]) -> None:
    store, read = blobs
    data = bytes(range(256)) * 4000
    store.put("tenant/shard%23place", data)
    assert read("tenant/shard%23place") == data


def test_a_second_put_replaces_the_first(blobs: tuple[Blobs, Read]) -> None:
    store, read = blobs
    store.put("k", b"first")
    store.put("k", b"second")
    assert read("k") == b"second"


def test_what_was_put_is_given_back_and_nothing_where_nothing_is(blobs: tuple[Blobs, Read]) -> None:
    store, _ = blobs
    assert store.get("k") is None
    store.put("k", b"\x00\xff")
    assert store.get("k") == b"\x00\xff"
    assert store.get("K") is None


def test_what_is_deleted_is_gone_and_deleting_nothing_is_no_error(blobs: tuple[Blobs, Read]) -> None:
    store, _ = blobs
    store.put("k", b"data")
    store.put("other", b"data")
    store.delete("k")
    store.delete("k")
    assert store.get("k") is None
    assert store.get("other") == b"data"


@pytest.mark.parametrize("operation", ["get", "delete"])
def test_a_bucket_that_is_not_there_is_no_missing_key(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws(), pytest.raises(Fatal, match=r"bucket gone .*NoSuchBucket"):
        getattr(S3Blobs(boto3.client("s3", region_name="us-east-1"), "gone"), operation)("k")


def test_a_bucket_that_is_not_there_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws(), pytest.raises(Fatal, match=r"bucket gone .*NoSuchBucket"):
        S3Blobs(boto3.client("s3", region_name="us-east-1"), "gone").put("k", b"data")
