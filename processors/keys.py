"""Names of things, and the keys they are stored under.

Every part of a key is percent-encoded (RFC 3986), so that no id can reach into another's key, whatever it holds.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

MAX_ID = 256
"""Characters of an item's or provider's id, as it stands."""

MAX_ENCODED_ID = 900
"""Bytes of one percent-encoded id: a DynamoDB sort key holds 1,024."""


_NOT_AS_THEY_ARE = {"-": "%2D", ".": "%2E", "..": "%2E%2E"}
"""``-`` is the partition of dead letters of no tenant, and in an S3 key the others could be taken for folders."""


_PLAIN = re.compile(r"[A-Za-z0-9_~][A-Za-z0-9._~-]*")
"""Most parts: they stay as they are."""


@lru_cache(maxsize=4096)
def encode_part(text: str) -> str:
    """One key part, percent-encoded; only letters, digits and ``-._~`` stay as they are (none of these alone)."""
    return _encoded(text)


def _encoded(text: str) -> str:
    """The same for parts that hardly come again."""
    if _PLAIN.fullmatch(text):
        return text
    return _NOT_AS_THEY_ARE.get(text) or quote(text, safe="")


def id_fits(text: str) -> bool:
    """Whether an id is short enough for a key. Encoded, a character of ASCII takes three bytes, so 768 at most."""
    return len(text) <= MAX_ID and (text.isascii() or len(encode_part(text)) <= MAX_ENCODED_ID)


class ProviderKey(NamedTuple):
    """One provider: the unit of loading, and of order on the stream."""

    tenant: str
    emr: str
    provider: str

    def pk(self) -> str:
        """Partition key of the provider's items and spans: ``tenant#emr#provider``."""
        return _pk(self)

    def group(self) -> str:
        """Partition key in the table of providers: ``tenant#emr``."""
        return f"{encode_part(self.tenant)}#{encode_part(self.emr)}"

    def partition_key(self) -> str:
        """The Kinesis partition key (256 characters at most; a longer one is hashed)."""
        key = self.pk()
        return key if len(key) <= 256 else "sha256#" + hashlib.sha256(key.encode()).hexdigest()


@lru_cache(maxsize=4096)
def _pk(key: ProviderKey) -> str:
    return f"{encode_part(key.tenant)}#{encode_part(key.emr)}#{encode_part(key.provider)}"


class ItemKey(NamedTuple):
    """One scheduling item, whatever provider it names."""

    tenant: str
    emr: str
    kind: str
    id: str

    def sk(self) -> str:
        """Sort key of the item's copies: ``kind#id``."""
        return f"{self.kind}#{_encoded(self.id)}"

    def owner_pk(self) -> str:
        """Partition key of the item's owner record: ``tenant#emr#item#kind#id``."""
        return f"{encode_part(self.tenant)}#{encode_part(self.emr)}#item#{self.sk()}"


def decode_part(text: str) -> str:
    """The inverse of `encode_part`."""
    return unquote(text)
