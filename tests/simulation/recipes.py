"""The recipes that are played; a seed belongs to one of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from histories import Recipe

from kcl_app.testing.faults import EVERYTHING, Faults

NARROW = ("appointment",) * 12 + ("working_hours",)

BEFORE_MIDNIGHT = datetime(2026, 3, 8, 23, 59, 30, tzinfo=UTC)
AFTER_MIDNIGHT = datetime(2026, 3, 9, 0, 30, tzinfo=UTC)
BEFORE_MIDNIGHT_IN_NEW_YORK = datetime(2026, 3, 9, 3, 59, 30, tzinfo=UTC)

SLOTS = Recipe("", kinds=("slot",), ids=1, unreadable=0.0, cancelled=0.1, days=(0, 1, 2, 3), events=(4, 9))
"""Few slots that move from day to day: each day missed shows, and nothing else hides it."""

FAR_APART = ("Pacific/Kiritimati", "America/New_York", "Asia/Tokyo", "Etc/GMT+12")

ZONED = replace(
    SLOTS,
    kinds=("slot", "working_hours", "working_hours", "slot"),
    in_order=True,
    apart=True,
    providers=1,
    named=(1,),
    ids=5,
    zones=("Asia/Tokyo", "Etc/GMT+12"),
    days=(-1, 0, 3, 4),
    events=(4, 4),
    cancelled=0.0,
    late=0.0,
    twice=0.0,
    zones_only=True,
)
"""Slots near the edges of the days kept, and working hours that name the zone, on a shard each."""

RECIPES = (
    Recipe("everything", EVERYTHING),
    Recipe("turns", Faults(steal=0.1, stop=0.05, switching=0.5)),
    Recipe("crashes", Faults(crash=0.05, checkpoint_crash=0.1), kinds=NARROW),
    Recipe("throttling", Faults(retry=0.08, lost=0.05, checkpoint=0.3, exit=0.05)),
    Recipe("lost answers", Faults(lost=0.15, steal=0.1, budget=20), kinds=NARROW, providers=2),
    Recipe(
        "two on one shard", replace(EVERYTHING, steal=0.4, crash=0.005, switching=0.5), shards=1, providers=2
    ),
    Recipe(
        "hand-overs",
        EVERYTHING,
        kinds=("appointment",) * 3 + ("working_hours",),
        ids=1,
        named=(1, 1, 2, 3, 0),
    ),
    Recipe(
        "zones",
        EVERYTHING,
        kinds=("working_hours", "slot", "appointment"),
        zones=("Asia/Tokyo", "America/New_York"),
    ),
    Recipe(
        "zones of one provider", EVERYTHING, kinds=("working_hours", "slot"), providers=1, named=(1,), ids=1
    ),
    Recipe("reshards", EVERYTHING, reshards=3),
    Recipe("merges and lost ends", replace(EVERYTHING, checkpoint=0.4), reshards=4, events=(2, 8)),
    Recipe("unsequenced", replace(EVERYTHING, crash=0.02), sequenced=False, kinds=NARROW, aggregated=0.4),
    Recipe("pre-calculated", EVERYTHING, kinds=("availability",) * 3 + ("appointment", "working_hours")),
    Recipe("never right", EVERYTHING, never_right=True),
    Recipe("plugin broken", EVERYTHING, broken=True, kinds=NARROW),
    Recipe("killers", Faults(retry=0.01, steal=0.05), killers=2, kinds=NARROW),
    Recipe(
        "taken for killers",
        replace(EVERYTHING, crash=0.1, budget=30, patient=False),
        kinds=NARROW,
        events=(2, 6),
    ),
    replace(
        SLOTS,
        name="one slot moves",
        faults=Faults(unsettled=0.2, freeze=0.02, lost=0.02, steal=0.2),
        providers=2,
        named=(1, 1, 2),
    ),
    replace(
        SLOTS,
        name="turns on a slot",
        faults=Faults(steal=0.5, freeze=0.03, budget=8),
        shards=1,
        providers=1,
        ids=2,
    ),
    replace(
        SLOTS,
        name="a slot handed about",
        faults=Faults(unsettled=0.15, steal=0.2, freeze=0.02),
        named=(1, 1, 2),
    ),
    replace(
        SLOTS,
        name="zones beside slots",
        faults=Faults(steal=0.4, freeze=0.03, unsettled=0.03),
        kinds=("slot", "slot", "working_hours"),
        providers=2,
        named=(1, 2, 2),
        ids=2,
        zones=FAR_APART,
        bounded=0.7,
    ),
    replace(
        SLOTS,
        name="zones alone",
        faults=Faults(unsettled=0.05, steal=0.1),
        kinds=("slot", "working_hours"),
        providers=1,
        zones=FAR_APART,
        bounded=0.8,
    ),
    replace(
        SLOTS,
        name="one shard, two workers",
        faults=Faults(steal=0.7, unsettled=0.4, freeze=0.06, budget=6),
        shards=1,
        providers=2,
        named=(1,),
        events=(3, 4),
        late=0.0,
        twice=0.0,
        cancelled=0.0,
    ),
    Recipe("outages", Faults(outage=0.1, steal=0.05, budget=2), kinds=NARROW, events=(3, 8)),
    Recipe("midnight", replace(EVERYTHING, jobs=3), start=BEFORE_MIDNIGHT, step_seconds=3.0),
    Recipe(
        "midnight in New York",
        replace(EVERYTHING, jobs=3),
        start=BEFORE_MIDNIGHT_IN_NEW_YORK,
        step_seconds=3.0,
    ),
    Recipe("clocks that jump", replace(EVERYTHING, jobs=2, jump=0.1, jump_seconds=86_400.0)),
    replace(
        ZONED,
        name="a zone changes around a death",
        faults=Faults(unsettled=0.3, switching=0.3, budget=1),
    ),
    replace(ZONED, name="a zone changes beside a slot", faults=Faults(switching=0.7, freeze=0.03)),
    replace(
        SLOTS,
        name="slots too large",
        faults=Faults(unsettled=0.1, checkpoint_crash=0.1, steal=0.1, crash=0.02, freeze=0.01, lost=0.02),
        ids=2,
        named=(1, 1, 1, 2, 0),
        too_large=0.3,
    ),
    Recipe("plugin raises", EVERYTHING, raises=True, unreadable=0.2),
    Recipe(
        "faults of ours",
        Faults(slip=0.15, unsettled=0.03, steal=0.1, freeze=0.01, budget=6),
        kinds=("slot", "slot", "slot", "appointment", "working_hours"),
        zones=("UTC",),
    ),
    # Two days slow and never ahead: then all of the horizon is computed, and what enters it later may be left out.
    replace(
        SLOTS,
        name="clocks that are slow",
        faults=Faults(jump=0.3, jump_seconds=172_800.0, ahead=False, steal=0.1),
        providers=1,
        named=(1,),
        ids=4,
        days=(1, 2, 2, 3, 3, 4),
        start=AFTER_MIDNIGHT,
        step_seconds=10_800.0,
    ),
)
"""What is played, one after the other."""


def recipe_of(seed: int) -> Recipe:
    """The recipe that a seed belongs to."""
    return RECIPES[seed % len(RECIPES)]
