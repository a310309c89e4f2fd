"""Blobs that are opened when they are first needed."""

from __future__ import annotations

import pytest

from kcl_app.stores.base import Blobs
from kcl_app.stores.lazy_blobs import LazyBlobs
from kcl_app.stores.memory import MemoryBlobs
from processors.errors import Retry


def test_it_opens_once_at_its_first_call_and_tries_again_if_that_fails() -> None:
    opened: list[Blobs | None] = []

    def make() -> Blobs:
        opened.append(None)
        if len(opened) == 1:
            raise Retry("not now")
        return MemoryBlobs()

    blobs = LazyBlobs(make)
    assert not opened
    with pytest.raises(Retry):
        blobs.put("k", b"data")
    blobs.put("k", b"data")
    assert blobs.get("k") == b"data"
    blobs.delete("k")
    assert blobs.get("k") is None
    assert len(opened) == 2
