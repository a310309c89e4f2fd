"""S3 as a place for what is too large for a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from processors.errors import Retry

from .base import Blobs
from .recovery import code_of, raise_if_never_sent, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Blobs(Blobs):
    """Blobs in an S3 bucket.

    Args:
        client: with finite timeouts.
        bucket: its name.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, key: str, data: bytes) -> None:
        with self._translated("take a dead letter"):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes | None:
        with self._translated("give a dead letter"):
            try:
                data: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except ClientError as error:
                if code_of(error) == "NoSuchKey":
                    return None
                raise
            return data

    def delete(self, key: str) -> None:
        with self._translated("delete a dead letter"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise translated(f"S3 bucket {self._bucket}", f"to {what}", code_of(error)) from error
        except BotoCoreError as error:
            raise_if_never_sent("S3", error)
            raise Retry(f"S3 cannot be reached ({type(error).__name__})") from error
