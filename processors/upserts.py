"""Step 3 of a batch, as decisions: what to write for a change of an item, given what is stored.

One copy of an item stands under each provider that it names, and one owner record stands for the item. Every write is
conditional on the exact revision that was read. A revision is written together with all that it touches (its
*impacts*), so that whoever finds it later, after a crash, knows which days are still to be recomputed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from .impacts import Change, Impacts, rezones
from .items import Item
from .keys import ItemKey
from .revisions import Revision
from .times import Interval
from .values import value

Impact = Callable[[str, Change], "tuple[Interval, ...] | None"]
"""What a change touches at a provider (named first); None is every day."""


@value
class Copy:
    """An item as it is stored under one provider.

    Attributes:
        provider: under whom.
        item: the item; `provider` among its providers says that the copy is live, else it is a tombstone.
        impacts: what its write touched, and what that took over.
        owner_expires_at: when the owner record expires, in seconds since the epoch; None: never.
    """

    provider: str
    item: Item
    impacts: Impacts
    owner_expires_at: int | None

    @property
    def live(self) -> bool:
        """Whether the provider has the item now."""
        return self.provider in self.item.providers

    @property
    def sole(self) -> bool:
        """Whether the item names this provider and no other."""
        return self.item.providers == (self.provider,)


@value
class Owner:
    """The owner record of an item.

    Attributes:
        key: the item.
        providers: who has it now.
        holders: everyone who ever held a copy.
        revision: of the last change that went through the owner record; copies may be newer.
        impacts: what that change touched.
        expires_at: seconds since the epoch; None: never.
    """

    key: ItemKey
    providers: tuple[str, ...]
    holders: tuple[str, ...]
    revision: Revision
    impacts: Impacts
    expires_at: int | None


class Verdict(Enum):
    """What to do with a change."""

    SUPERSEDED = "superseded"
    """Something newer is stored: nothing."""
    REPLAY = "replay"
    """This very revision is stored: settle its stored impacts again."""
    STEADY = "steady"
    """One conditional write of the copy."""
    NEW = "new"
    """Insert the owner record, then the copy."""
    FULL = "full"
    """Read the owner record and all copies, and decide again."""


def judge(new: Item, copy: Copy | None, expires_at: int | None) -> Verdict:
    """The way for a change, as far as its provider's own copy tells.

    Args:
        new: the item as the change makes it.
        copy: what stands under the one provider that it names; None if nothing does.
        expires_at: when the item would expire; an owner record must outlive its item.
    """
    if len(new.providers) != 1:
        return Verdict.FULL
    if copy is None:
        return Verdict.NEW
    if new.revision < copy.item.revision:
        return Verdict.SUPERSEDED
    if new.revision == copy.item.revision:
        return Verdict.REPLAY
    if not copy.sole or outlives(expires_at, copy.owner_expires_at):
        return Verdict.FULL
    return Verdict.STEADY


def outlives(item_expires_at: int | None, owner_expires_at: int | None) -> bool:
    """Whether an item would be there longer than its owner record."""
    if owner_expires_at is None:
        return False
    return item_expires_at is None or item_expires_at > owner_expires_at


def same_body(one: Item, other: Item) -> bool:
    """Whether two revisions of an item say the same."""
    return one.body is other.body or (
        one.key.kind == other.key.kind and one.body.json_text() == other.body.json_text()
    )


def impacts_at(provider: str, old: Item | None, new: Item | None, impact: Impact) -> Impacts:
    """What a change touches at one provider.

    Args:
        provider: its id.
        old: the item if the provider had it, else None.
        new: the item if the provider has it from now on, else None.
        impact: the plugin's judgement.
    """
    found = Impacts()
    if old is not None and new is not None and same_body(old, new):
        return found
    if old is None and new is None:
        return found
    change = Change(old, new)
    # A zone that changes moves every day's bounds, whatever the plugin thinks of the item itself.
    found.add(provider, None if rezones(change) else impact(provider, change))
    return found


@dataclass(frozen=True, slots=True)
class Rewrite:
    """All that one transaction writes, each part on the condition that what was read still stands.

    Attributes:
        owner: the new owner record.
        owner_expect: revision of the owner record read; None: there was none.
        copies: the new copies, live and tombstones.
        copies_expect: revisions of the copies read, by provider; None: there was none.
        inherited: the part of the impacts that was found stored: of changes that may not be settled yet.
        replaced: the newest revision that was found stored; None: there was none.
    """

    owner: Owner
    owner_expect: Revision | None
    copies: tuple[Copy, ...]
    copies_expect: Mapping[str, Revision | None]
    inherited: Impacts
    replaced: Revision | None


def judge_full(
    new: Item,
    owner: Owner | None,
    copies: Iterable[Copy],
    impact: Impact,
    expires_at: int | None,
    slack: int,
    settled: Callable[[Copy], bool] = lambda copy: False,
) -> tuple[Verdict, Impacts, Rewrite | None]:
    """The way for a change, knowing the owner record and all copies.

    Args:
        new: the item as the change makes it.
        owner: the owner record, or None.
        copies: all copies found under holders and under the providers named.
        impact: the plugin's judgement.
        expires_at: when the item is to expire; None: never.
        slack: by how many seconds an owner record outlives its item, so that small moves stay on the steady path.
        settled: whether this process itself has written the spans for a copy's impacts.

    Returns:
        the verdict; the impacts stored with this revision (a replay) or to be stored (a rewrite); the rewrite.
    """
    found = {copy.provider: copy for copy in copies}
    revisions = [copy.item.revision for copy in found.values()]
    if owner is not None:
        revisions.append(owner.revision)
    if revisions and max(revisions) > new.revision:
        return Verdict.SUPERSEDED, Impacts(), None
    inherited = _inherited(owner, found.values(), settled)
    if revisions and max(revisions) == new.revision and _complete(owner, found):
        return Verdict.REPLAY, _inherited(owner, found.values(), lambda copy: False), None

    # An item of no provider stays with whoever has it.
    providers = new.providers or (owner.providers if owner else ())
    item = replace(new, providers=providers)
    holders = tuple(sorted({*(owner.holders if owner else ()), *found, *providers}))
    owner_expires_at = None if expires_at is None else expires_at + slack
    impacts = Impacts()
    impacts.update(inherited)
    for provider in holders:
        had = found.get(provider)
        before = had.item if had is not None and had.live else None
        impacts.update(impacts_at(provider, before, item if provider in providers else None, impact))
    rewrite = Rewrite(
        owner=Owner(new.key, providers, holders, new.revision, impacts, owner_expires_at),
        owner_expect=owner.revision if owner else None,
        copies=tuple(Copy(provider, item, impacts, owner_expires_at) for provider in holders),
        copies_expect={p: found[p].item.revision if p in found else None for p in holders},
        inherited=inherited,
        replaced=max(revisions, default=None),
    )
    return Verdict.FULL, impacts, rewrite


def _inherited(owner: Owner | None, copies: Iterable[Copy], settled: Callable[[Copy], bool]) -> Impacts:
    """What the newest revision stored has touched, and took over from those before it, unless that is settled."""
    found = Impacts()
    newest = max(copies, key=lambda copy: (copy.item.revision, copy.live), default=None)
    if newest is not None and not settled(newest):
        found.update(newest.impacts)
    if owner is not None and (newest is None or owner.revision > newest.item.revision):
        found.update(owner.impacts)
    return found


def _complete(owner: Owner | None, found: Mapping[str, Copy]) -> bool:
    """Whether every provider that the owner record names has its copy: an insertion may have been cut off between."""
    return owner is None or all(provider in found for provider in owner.providers)
