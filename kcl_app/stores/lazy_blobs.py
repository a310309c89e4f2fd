"""Blobs that are opened when they are first needed: most processes never meet a dead letter that is so large."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from kcl_app.stores.base import Blobs


class LazyBlobs(Blobs):
    """Opens the blobs that it stands for at its first call.

    A client of S3 takes 13 MB and a tenth of a second of CPU, in each child.

    Args:
        make: opens them. What it raises comes out of the call that needed them, and the next call tries again.
    """

    def __init__(self, make: Callable[[], Blobs]) -> None:
        self._make = make

    @cached_property
    def _blobs(self) -> Blobs:
        return self._make()

    def put(self, key: str, data: bytes) -> None:
        self._blobs.put(key, data)

    def get(self, key: str) -> bytes | None:
        return self._blobs.get(key)

    def delete(self, key: str) -> None:
        self._blobs.delete(key)
