"""Which revisions of items this process has written the spans for, of as many items as are kept in memory."""

from __future__ import annotations

from processors.keys import ItemKey
from processors.revisions import Revision


class SettledRevisions:
    """The newest settled revision of each item, for the items that were settled last.

    What it forgets is recomputed once more, which costs time and nothing else. Item and revision are numbers to it,
    their hashes of 64 bits: as they stand they would take three times as much memory. That two of them are one number
    is less likely than a bit of memory that flips, and would do harm only where another process had written the
    revision and died before it settled it.

    Args:
        most: items, at most; it remembers half as many for sure.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most // 2)
        # When the younger is full, the older is let go: in order of age without a list of it.
        self._younger: dict[int, int] = {}
        self._older: dict[int, int] = {}

    def add(self, key: ItemKey, revision: Revision) -> None:
        """Note that the spans for a revision are written."""
        self._younger[hash(key)] = hash(revision)
        if len(self._younger) >= self._most:
            self._older, self._younger = self._younger, {}

    def has(self, key: ItemKey, revision: Revision) -> bool:
        """Whether the spans for a revision are known to be written."""
        number = hash(key)
        found = self._younger.get(number)
        if found is None:
            found = self._older.get(number)
        return found == hash(revision)
