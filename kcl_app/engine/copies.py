"""One provider's copies of items in memory: those in use as objects, all others as one text each.

An item in objects takes 2 to 3 kB, in a text some 300 bytes. A shard's providers have far more items than are in use
at a time, and one that is not in memory is read from the store with all of its provider: so the more fit, the better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from weakref import ref

from kcl_app.stores.rows import texts, texts_read
from processors.calendars import Name
from processors.impacts import Impacts
from processors.items import Item, body_from_json
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.upserts import Copy


class InUse:
    """Which copies of a process stay objects: those that became objects last.

    Args:
        most: how many; the one that came first makes place.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._line: deque[tuple[ref[Copies], Name]] = deque()

    def add(self, holder: ref[Copies], name: Name) -> None:
        """Have a copy that became an object stay one, for as long as not too many come after it.

        Args:
            holder: who holds it; weakly, since a provider that is forgotten must not stay for one copy of it.
            name: under which name.
        """
        line = self._line
        line.append((holder, name))
        if len(line) > self._most:
            holder, name = line.popleft()
            if (copies := holder()) is not None:
                copies.pack(name)


class Copies:
    """The copies of one provider by kind and id, tombstones too.

    Args:
        provider: whose.
        in_use: shared by all providers of a process.
    """

    __slots__ = ("__weakref__", "_held", "_in_use", "_provider", "_self", "_sole")

    def __init__(self, provider: ProviderKey, in_use: InUse) -> None:
        self._provider = provider
        self._sole = (provider.provider,)
        self._in_use = in_use
        self._held: dict[Name, Copy | str] = {}
        self._self = ref(self)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._held)

    def get(self, name: Name) -> Copy | None:
        """The copy of that name, if there is one."""
        held = self._held.get(name)
        if not isinstance(held, str):
            return held
        copy = self._held[name] = self._unpacked(name, held)
        self._in_use.add(self._self, name)
        return copy

    def put(self, name: Name, copy: Copy) -> None:
        """Hold a copy that is in use."""
        held = self._held.get(name)
        self._held[name] = copy
        if held is None or isinstance(held, str):  # else it has its place in the line
            self._in_use.add(self._self, name)

    def put_packed(self, name: Name, copy: Copy) -> None:
        """Hold a copy that is not in use yet."""
        self._held[name] = pack(copy)

    def pack(self, name: Name) -> None:
        """Hold a copy as text from now on."""
        held = self._held[name]
        if not isinstance(held, str):
            self._held[name] = pack(held)

    def values(self) -> Iterator[Copy]:
        """All copies, none of which stays an object for that."""
        for name, held in self._held.items():
            yield self._unpacked(name, held) if isinstance(held, str) else held

    def _unpacked(self, name: Name, text: str) -> Copy:
        tenant, emr, provider = self._provider
        kind, id_ = name
        version, time, sequence, providers, owner_expires_at, impacts, body = text.split("\n", 6)
        item = Item(
            ItemKey(tenant, emr, kind, id_),
            texts_read(providers) if providers else self._sole,
            Revision(int(version), time, sequence),
            body_from_json(kind, body),
        )
        expires_at = int(owner_expires_at) if owner_expires_at else None
        return Copy(provider, item, Impacts.decode(impacts), expires_at)


def pack(copy: Copy) -> str:
    """A copy as a text. No part holds a line break: texts of JSON escape it, and names must not have one."""
    item = copy.item
    version, time, sequence = item.revision
    expires_at = copy.owner_expires_at
    return "\n".join(
        (
            str(version),
            time,
            sequence,
            "" if copy.sole else texts(item.providers),
            "" if expires_at is None else str(expires_at),
            copy.impacts.encode(),
            item.body.json_text(),
        )
    )
