"""Copies in memory: what is packed comes back as it was, and no more than a bound stay objects."""

from __future__ import annotations

import weakref
from dataclasses import replace

import strategies
from hypothesis import given
from hypothesis import strategies as st

from kcl_app.engine.copies import Copies, InUse, pack
from kcl_app.engine.settled import SettledRevisions
from processors.impacts import Impacts
from processors.items import Item, body_from_json
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision
from processors.upserts import Copy

NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl"]), min_size=1, max_size=12)
REVISIONS = st.builds(
    Revision,
    st.integers(0, 10**18),
    st.datetimes().map(lambda at: f"{at.isoformat(timespec='microseconds')}Z"),
    NAMES,
)
IMPACTS = st.dictionaries(
    NAMES,
    st.none() | st.lists(st.tuples(st.integers(0, 2**52), st.integers(0, 2**52)), min_size=1, max_size=3),
    max_size=3,
)


@st.composite
def copies(draw: st.DrawFn) -> list[Copy]:
    """Some copies of one provider, live and not, with any names that an envelope lets through."""
    provider = draw(NAMES)
    items = draw(strategies.calendars()).items()
    found = []
    for place, item in enumerate(items):
        key = ItemKey("acme", "standard", item.kind, f"{draw(NAMES)}{place}")
        named = tuple(draw(st.lists(NAMES, min_size=1, max_size=3)))
        providers = draw(st.sampled_from([(provider,), named]))
        whole = replace(item, key=key, providers=providers, revision=draw(REVISIONS))
        impacts = Impacts({name: tuple(held) if held else None for name, held in draw(IMPACTS).items()})
        found.append(Copy(provider, whole, impacts, draw(st.none() | st.integers(0, 2**40))))
    return found


@given(copies(), st.integers(0, 4))
def test_what_is_packed_comes_back_as_it_was(made: list[Copy], most: int) -> None:
    if not made:
        return
    held = Copies(ProviderKey("acme", "standard", made[0].provider), InUse(most))
    for copy in made:
        held.put((copy.item.kind, copy.item.key.id), copy)
    assert list(held.values()) == made
    for _ in range(2):
        for copy in made:
            assert held.get((copy.item.kind, copy.item.key.id)) == copy
    assert len(held) == len(list(held)) == len(made)


def a_copy(number: int, version: int = 1) -> Copy:
    """A copy of p1's appointment of that number."""
    body = body_from_json(
        "appointment",
        '{"status":"booked","start":"2026-03-09T14:00:00Z","end":"2026-03-09T14:30:00Z"}',
    )
    key = ItemKey("acme", "standard", "appointment", str(number))
    item = Item(key, ("p1",), Revision(version, "2026-03-09T12:00:00.000000Z", "1"), body)
    return Copy("p1", item, Impacts(), None)


def objects(held: Copies) -> int:
    """How many are objects now."""
    return sum(not isinstance(one, str) for one in held._held.values())


def test_no_more_than_the_bound_stay_objects_over_all_providers() -> None:
    in_use = InUse(10)
    held = [Copies(ProviderKey("acme", "standard", "p1"), in_use) for _ in range(3)]
    for number in range(60):
        held[number % 3].put(("appointment", str(number)), a_copy(number))
        assert sum(map(objects, held)) == min(number + 1, 10)
    for number in range(60):
        copy = held[number % 3].get(("appointment", str(number)))
        assert copy is not None
        assert copy.item.key.id == str(number)
        assert sum(map(objects, held)) == 10


def test_looking_at_all_makes_none_an_object() -> None:
    held = Copies(ProviderKey("acme", "standard", "p1"), InUse(10))
    for number in range(20):
        held.put_packed(("appointment", str(number)), a_copy(number))
    assert len(list(held.values())) == 20
    assert objects(held) == 0


def test_an_older_copy_that_makes_place_does_not_come_back() -> None:
    held = Copies(ProviderKey("acme", "standard", "p1"), InUse(2))
    name = ("appointment", "1")
    held.put(name, a_copy(1))
    held.put(name, a_copy(1, version=2))
    for number in range(2, 6):
        held.put(("appointment", str(number)), a_copy(number))
    assert held.get(name) == a_copy(1, version=2)


def test_a_provider_that_is_forgotten_does_not_stay_for_copies_that_were_in_use() -> None:
    in_use = InUse(10)
    held = Copies(ProviderKey("acme", "standard", "p1"), in_use)
    for number in range(20):
        held.put(("appointment", str(number)), a_copy(number))
    forgotten = weakref.ref(held)
    del held
    assert forgotten() is None
    other = Copies(ProviderKey("acme", "standard", "p1"), in_use)
    for number in range(20):
        other.put(("appointment", str(number)), a_copy(number))
    assert objects(other) == 10


def test_a_copy_keeps_no_personal_data_that_its_row_does_not_hold() -> None:
    assert pack(a_copy(7)).split("\n") == [
        "1", "2026-03-09T12:00:00.000000Z", "1", "", "", "",
        '{"status":"booked","start":"2026-03-09T14:00:00Z","end":"2026-03-09T14:30:00Z"}',
    ]  # fmt: skip


def test_the_newest_settled_revision_of_the_items_settled_last_is_remembered() -> None:
    settled = SettledRevisions(100)
    for number in range(1000):
        copy = a_copy(number)
        settled.add(copy.item.key, copy.item.revision)
        for back in range(min(number + 1, 50)):
            earlier = a_copy(number - back)
            assert settled.has(earlier.item.key, earlier.item.revision)
    assert not any(settled.has(a_copy(number).item.key, a_copy(1).item.revision) for number in range(800))
    newer = a_copy(999, version=2)
    assert not settled.has(newer.item.key, newer.item.revision)
    settled.add(newer.item.key, newer.item.revision)
    assert settled.has(newer.item.key, newer.item.revision)
    assert not settled.has(newer.item.key, a_copy(999).item.revision)
