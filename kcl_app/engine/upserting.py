"""Step 3 of a batch: bring item changes into `scheduling-items`, whatever else writes there.

`processors.upserts` decides; this module reads and writes. A write whose condition fails, or whose answer is lost, is
decided again on what is then stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from emr_plugins.host import PluginHost
from kcl_app.clock import Clock
from kcl_app.engine.providers import Providers
from kcl_app.stores.base import Key, Outcome, Put, Row, Store, Table
from kcl_app.stores.rows import (
    copy_key,
    copy_row,
    owner_key,
    owner_row,
    read_copy,
    read_owner,
    refuse_newer,
)
from processors.decoding import Candidate, Decoded, ItemChanges, coalesce, providers_named
from processors.errors import Reject, Retry
from processors.impacts import Change, Impacts
from processors.items import Item, WorkingHours
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.times import SECOND, Interval
from processors.upserts import Copy, Owner, Rewrite, Verdict, impacts_at, judge, judge_full

TOMBSTONE_SECONDS = 45 * 86_400
"""How long an item stays after its time and its last change: longer than stream and dead letters keep an event
together (7 and 30 days), so that no late copy of an older event can find it gone."""

OWNER_SLACK_SECONDS = 30 * 86_400
"""By how much an owner record outlives its item, so that small moves need not touch it."""

Stored = tuple[Owner | None, list[Copy]]
"""All that is stored of an item."""

MAX_HOLDERS = 99
"""An item's copies and its owner record are written in one transaction, which holds 100."""

ROUNDS = 25
"""How often a change is decided again before the batch as a whole waits: others keep writing the same item."""


SURE_CHARACTERS = 90_000
"""Characters of a row's long texts that fit into a row of 400 KB, whatever they are: one takes four bytes at most."""


def may_be_too_large(row: Row) -> bool:
    """Whether the table may not take an item's row. Cheap, and true of very few."""
    return sum(len(str(row[name])) for name in ("body", "impacts", "providers")) > SURE_CHARACTERS


@dataclass(slots=True)
class Upserted:
    """What became of the changes of a batch.

    Attributes:
        applied: changes written.
        superseded: changes older than what is stored, or than another of the batch.
        replayed: changes whose revision was stored already.
        rejected: changes that the stores cannot take, with the reason.
        impacts: what is to be recomputed, as instants; None: every day. Many records touch many days of a provider, so
            these are not merged into one long interval, as they are where they are stored.
        causes: for each provider impacted, the newest record that did it.
        settled_by: items whose stored impacts are all settled once `impacts` is.
    """

    applied: list[Candidate] = field(default_factory=list)
    superseded: list[Candidate] = field(default_factory=list)
    replayed: list[Candidate] = field(default_factory=list)
    rejected: list[tuple[Candidate, Reject]] = field(default_factory=list)
    impacts: dict[ProviderKey, set[Interval] | None] = field(default_factory=dict)
    causes: dict[ProviderKey, Decoded] = field(default_factory=dict)
    settled_by: list[Item] = field(default_factory=list)

    def touch(self, candidate: Candidate, impacts: Impacts) -> None:
        """Note what a change touches."""
        tenant, emr = candidate.item.key.tenant, candidate.item.key.emr
        for provider, intervals in impacts.items():
            key = ProviderKey(tenant, emr, provider)
            if intervals is None:
                self.impacts[key] = None
            elif (known := self.impacts.setdefault(key, set())) is not None:
                known.update(intervals)
            self.causes[key] = candidate.source


@dataclass(slots=True)
class _Plan:
    """A write of one item's copy (and before it, for a new item, of its owner record)."""

    group: ItemChanges
    candidate: Candidate
    provider: ProviderKey
    copy: Copy
    write: Put
    owner_write: Put | None


class Upserter:
    """Writes item changes.

    Args:
        store: the tables.
        providers: what is in memory of them.
        host: the plugins.
        clock: the clock.
        items_per_provider: live items of one provider, at most.
    """

    def __init__(
        self, store: Store, providers: Providers, host: PluginHost, clock: Clock, items_per_provider: int
    ) -> None:
        self._store = store
        self._providers = providers
        self._host = host
        self._clock = clock
        self._items_per_provider = items_per_provider
        # For one batch: what it is written at, and when items that end at the same time expire.
        self._now = ""
        self._expiries: dict[float, int] = {}

    def run(self, groups: Iterable[ItemChanges]) -> Upserted:
        """Bring the changes of a batch in, the newest of each item.

        Raises:
            Retry: a store cannot be used now; what was written is found again as a replay.
        """
        done = Upserted()
        self._expiries.clear()
        self._now = self._clock.now().isoformat()
        stale: dict[ProviderKey, int] = {}
        pending = list(groups)
        full: set[int] = set()  # groups that need the owner record, by identity
        for _ in range(ROUNDS):
            again: list[ItemChanges] = []
            plans: list[_Plan] = []
            inserts: Counter[ProviderKey] = Counter()
            read = self._read_all([group for group in pending if id(group) in full])
            for group in pending:
                try:
                    if id(group) in full:
                        found = read[group.key]
                        if isinstance(found, Reject):
                            raise found
                        finished = self._full(group, *found, done, stale)
                    else:
                        finished = self._local(group, done, stale, plans, inserts, full)
                except Reject as reject:
                    finished = self._next(group, done, reject)
                if not finished:
                    again.append(group)
            again.extend(self._write(plans, done, stale, full))
            pending = again
            if not pending:
                for key, since in stale.items():
                    if not self._providers.loaded_since(key, since):
                        self._providers.forget(key)
                return done
        raise Retry("items keep changing under this worker's hands")

    def _next(self, group: ItemChanges, done: Upserted, reject: Reject) -> bool:
        """Set the newest change aside and go on with the next: only one that applied supersedes."""
        done.rejected.append((group.candidates.pop(0), reject))
        return not group.candidates

    def _finish(self, group: ItemChanges, outcome: list[Candidate], done: Upserted) -> None:
        outcome.append(group.candidates[0])
        done.superseded.extend(group.candidates[1:])

    def _local(
        self,
        group: ItemChanges,
        done: Upserted,
        stale: dict[ProviderKey, int],
        plans: list[_Plan],
        inserts: Counter[ProviderKey],
        full: set[int],
    ) -> bool:
        """Decide by the provider's own copy. True if the group is finished or its write is planned."""
        candidate = group.candidates[0]
        new = candidate.item
        if len(new.providers) != 1:
            full.add(id(group))
            return False
        key = ProviderKey(new.key.tenant, new.key.emr, new.providers[0])
        state = self._providers.get(key)
        if number := state.newer.get((new.key.kind, new.key.id)):
            raise refuse_newer(number)
        copy = state.copy_of(new.key)
        expires_at = self._expires_at(new)
        verdict = judge(new, copy, expires_at)
        if verdict is Verdict.SUPERSEDED:
            done.superseded.extend(group.candidates)
            return True
        if verdict is Verdict.FULL:
            full.add(id(group))
            return False
        if verdict is Verdict.REPLAY:
            assert copy is not None  # a replay is of what is stored
            done.settled_by.append(copy.item)
            self._take_over(candidate, copy.impacts, done, stale, key, state.loaded)
            self._finish(group, done.replayed, done)
            return True
        if verdict is Verdict.NEW and self._is_full(key, inserts[key]):
            full.add(id(group))  # which tells an item that is new from one handed over
            return False
        old = copy.item if copy is not None else None
        impacts = impacts_at(key.provider, old, new, lambda provider, change: self._impact(key, change))
        if copy is not None and not self._providers.has_settled(copy):
            impacts.update(copy.impacts)
            self._mark_stale(new, copy.item.revision, copy.impacts, stale, key, state.loaded)
        owner_expires_at = copy.owner_expires_at if copy else self._owner_expires_at(expires_at)
        written = Copy(key.provider, new, impacts, owner_expires_at)
        now = self._now
        row = copy_row(written, now, expires_at)
        owner_write = None
        if verdict is Verdict.NEW:
            if may_be_too_large(row):
                # One transaction leaves no owner record where the copy does not fit.
                full.add(id(group))
                return False
            owner = Owner(new.key, new.providers, new.providers, new.revision, impacts, owner_expires_at)
            owner_write = Put(Table.ITEMS, owner_row(owner, now), None)
            inserts[key] += 1
        expect = copy.item.revision.encode() if copy is not None else None
        write = Put(Table.ITEMS, row, expect)
        plans.append(_Plan(group, candidate, key, written, write, owner_write))
        return True

    def _write(
        self, plans: list[_Plan], done: Upserted, stale: dict[ProviderKey, int], full: set[int]
    ) -> list[ItemChanges]:
        """Write what was planned, owner records before copies; the groups to decide again."""
        again: list[ItemChanges] = []
        new = [plan for plan in plans if plan.owner_write is not None]
        ready = [plan for plan in plans if plan.owner_write is None]
        for plan, outcome in zip(
            new, self._store.write([p.owner_write for p in new if p.owner_write]), strict=True
        ):
            if outcome is Outcome.APPLIED:
                ready.append(plan)
            else:  # mostly an item handed over; what is read next tells whether the provider is to be forgotten
                full.add(id(plan.group))
                again.append(plan.group)
        for plan, outcome in zip(ready, self._store.write([plan.write for plan in ready]), strict=True):
            if outcome is Outcome.APPLIED:
                done.touch(plan.candidate, plan.copy.impacts)
                self._providers.get(plan.provider).put(plan.copy)
                done.settled_by.append(plan.copy.item)
                self._finish(plan.group, done.applied, done)
                continue
            if outcome is Outcome.TOO_LARGE:
                reject = Reject("too_large", "the item is larger than the table takes")
                if self._next(plan.group, done, reject):
                    continue
            else:
                self._providers.forget(plan.provider)
                if plan.owner_write is not None:
                    full.add(id(plan.group))
            again.append(plan.group)
        return again

    def _full(
        self,
        group: ItemChanges,
        owner: Owner | None,
        copies: list[Copy],
        done: Upserted,
        stale: dict[ProviderKey, int],
    ) -> bool:
        """Decide by the owner record and all copies, and rewrite them in one transaction."""
        candidate = group.candidates[0]
        new = candidate.item
        tenant, emr = new.key.tenant, new.key.emr
        for copy in copies:
            self._providers.compare(copy)
        if (
            owner is None
            and not copies
            and any(self._is_full(ProviderKey(tenant, emr, provider)) for provider in new.providers)
        ):
            raise Reject(
                "too_many_items", f"the provider has {self._items_per_provider} items, the most allowed"
            )
        expires_at = self._expires_at(new)

        def impact(provider: str, change: Change) -> tuple[Interval, ...] | None:
            return self._impact(ProviderKey(tenant, emr, provider), change)

        verdict, impacts, rewrite = judge_full(
            new, owner, copies, impact, expires_at, OWNER_SLACK_SECONDS, self._providers.has_settled
        )
        read = self._providers.newest_load() + 1  # everything in memory was read before
        if verdict is Verdict.SUPERSEDED:
            done.superseded.extend(group.candidates)
            return True
        if verdict is Verdict.REPLAY:
            self._take_over(candidate, impacts, done, stale, None, read)
            self._finish(group, done.replayed, done)
            return True
        assert rewrite is not None  # the only other verdict comes with one
        if len(rewrite.copies) > MAX_HOLDERS:
            raise Reject("too_large", f"the item has belonged to more than {MAX_HOLDERS} providers")
        outcome = self._store.transact(self._puts(rewrite, expires_at))
        if outcome is Outcome.TOO_LARGE:
            raise Reject("too_large", "the item is larger than the table takes")
        if outcome is not Outcome.APPLIED:
            for copy in rewrite.copies:
                self._providers.forget(ProviderKey(tenant, emr, copy.provider))
            return False
        done.touch(candidate, impacts)
        self._mark_stale(new, rewrite.replaced, rewrite.inherited, stale, None, read)
        for copy in rewrite.copies:
            self._providers.note(ProviderKey(tenant, emr, copy.provider), copy)
        done.settled_by.append(rewrite.copies[0].item if rewrite.copies else new)
        self._finish(group, done.applied, done)
        return True

    def _is_full(self, key: ProviderKey, inserts: int = 0) -> bool:
        """Whether a provider has as many items as it may, with those about to be inserted."""
        return len(self._providers.get(key).calendar) + inserts >= self._items_per_provider

    def holders(self, sources: Iterable[Decoded]) -> set[ProviderKey]:
        """Every provider that has or ever had an item of some events, or is named by it."""
        groups = coalesce(sources)
        found = set()
        for group in groups:
            found.update(providers_named(candidate.item for candidate in group.candidates))
        for key, stored in self._read_all(groups).items():
            owner = None if isinstance(stored, Reject) else stored[0]
            found |= {ProviderKey(key.tenant, key.emr, holder) for holder in (owner.holders if owner else ())}
        return found

    def _read_all(self, groups: list[ItemChanges]) -> dict[ItemKey, Stored | Reject]:
        """Owner records and all copies of some items: under their holders, and under the providers now named.

        A Reject where a newer version of the application wrote one of them.
        """
        rows = self._store.get(Table.ITEMS, [owner_key(group.key) for group in groups]) if groups else {}
        found: dict[ItemKey, Stored | Reject] = {}
        places: dict[Key, tuple[ItemKey, str]] = {}
        for group in groups:
            key = group.key
            row = rows.get(owner_key(key))
            try:
                owner = read_owner(row, key) if row is not None else None
            except Reject as reject:
                found[key] = reject
                continue
            found[key] = (owner, [])
            holders = owner.holders if owner else ()
            for provider in {*holders, *(p for one in group.candidates for p in one.item.providers)}:
                places[copy_key(key, provider)] = (key, provider)
        for at, row in (self._store.get(Table.ITEMS, list(places)) if places else {}).items():
            key, provider = places[at]
            stored = found[key]
            try:
                copy = read_copy(row, key.tenant, key.emr, provider)
            except Reject as reject:
                found[key] = reject
                continue
            if not isinstance(stored, Reject):
                stored[1].append(copy)
        return found

    def _puts(self, rewrite: Rewrite, expires_at: int | None) -> list[Put]:
        now = self._clock.now().isoformat()
        expect = rewrite.owner_expect.encode() if rewrite.owner_expect else None
        puts = [Put(Table.ITEMS, owner_row(rewrite.owner, now), expect)]
        for copy in rewrite.copies:
            read = rewrite.copies_expect[copy.provider]
            row = copy_row(copy, now, expires_at)
            puts.append(Put(Table.ITEMS, row, read.encode() if read else None))
        return puts

    def _take_over(
        self,
        candidate: Candidate,
        impacts: Impacts,
        done: Upserted,
        stale: dict[ProviderKey, int],
        own: ProviderKey | None,
        read: int,
    ) -> None:
        """Settle impacts that were found stored."""
        done.touch(candidate, impacts)
        self._mark_stale(candidate.item, candidate.item.revision, impacts, stale, own, read)

    def _mark_stale(
        self,
        item: Item,
        stored: Revision | None,
        impacts: Impacts,
        stale: dict[ProviderKey, int],
        own: ProviderKey | None,
        read: int,
    ) -> None:
        """Have providers read afresh, unless what is in memory was read with or after the impacts.

        Impacts found stored may be of writes that memory does not hold. Those of the provider whose own state showed
        them (`own`, loaded as number `read`) are in that state. Those of a revision (`stored`) that this process took
        itself and has not settled yet are in memory: the providers were read, or written to, with it or after it.
        """
        if stored is not None and self._providers.has_taken(item.key, stored):
            return
        for provider in impacts.providers():
            key = ProviderKey(item.key.tenant, item.key.emr, provider)
            if key != own:
                stale[key] = max(stale.get(key, 0), read)

    def _impact(self, key: ProviderKey, change: Change) -> tuple[Interval, ...] | None:
        def zone() -> str:
            return self._providers.get(key).calendar.zone(self._host.zone(key.tenant))

        return self._host.impact(key, zone, change)

    def _expires_at(self, item: Item) -> int | None:
        if isinstance(item.body, WorkingHours) and item.body.counts:
            return None  # the provider's zone would change without an event
        hull = item.body.hull()
        end = hull[1] / SECOND if hull else 0
        if (expires_at := self._expiries.get(end)) is None:
            expires_at = self._expiries[end] = self._clock.expiry_after(end, TOMBSTONE_SECONDS)
        return expires_at

    @staticmethod
    def _owner_expires_at(expires_at: int | None) -> int | None:
        return None if expires_at is None else expires_at + OWNER_SLACK_SECONDS
