"""Each rule broken on purpose, one at a time: how, the sentence of the rule, and whose histories show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import broken
import broken_days
import pytest

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutation:
    """One rule broken.

    Attributes:
        name: in short.
        rule: the rule.
        patch: breaks it.
        recipe: the name of the recipe whose histories show it.
        first: the first seed that is tried: one that is known to show it, so that the test is quick.
        runs: within how many seeds it must be found, once changes elsewhere have made other runs of them.
    """

    name: str
    rule: str
    patch: Patch
    recipe: str
    first: int
    runs: int


MUTATIONS = (
    Mutation(
        "older than mine",
        "every condition is on the exact revision that was read",
        broken.older_than_mine,
        "a slot handed about",
        first=1,
        runs=400,
    ),
    Mutation(
        "nothing inherited",
        "a revision takes over the impacts of the one it replaces",
        broken_days.nothing_inherited,
        "a slot handed about",
        first=6,
        runs=400,
    ),
    Mutation(
        "replay does nothing",
        "a replay settles the stored impacts",
        broken_days.replay_does_nothing,
        "throttling",
        first=4,
        runs=60,
    ),
    Mutation(
        "taken is checkpointed",
        "the checkpoint waits for the spans of all that was taken",
        broken.taken_is_checkpointed,
        "crashes",
        first=0,
        runs=200,
    ),
    Mutation(
        "not read afresh",
        "providers of impacts taken over are read afresh",
        broken_days.not_read_afresh,
        "one shard, two workers",
        first=11298,
        runs=1500,
    ),
    Mutation(
        "zones do not matter",
        "a change of zone impacts every day",
        broken_days.zones_do_not_matter,
        "zones beside slots",
        first=6,
        runs=400,
    ),
    Mutation(
        "versions after items",
        "write_version is read before the items",
        broken_days.versions_after_items,
        "one slot moves",
        first=3,
        runs=400,
    ),
    Mutation(
        "only versions again",
        "after a conflict both are read again, and all days redone",
        broken_days.only_versions_again,
        "zones beside slots",
        first=24,
        runs=400,
    ),
    Mutation(
        "same spans not written",
        "an impacted day is written even if its spans came out the same",
        broken_days.same_spans_not_written,
        "one slot moves",
        first=186,
        runs=800,
    ),
    Mutation(
        "nothing past the horizon",
        "workers compute two days past the horizon",
        broken_days.nothing_past_the_horizon,
        "midnight in New York",
        first=39,
        runs=400,
    ),
    Mutation(
        "availability as it comes",
        "availability is an item like any other",
        broken.availability_as_it_comes,
        "pre-calculated",
        first=5,
        runs=60,
    ),
    Mutation(
        "redrive without days",
        "a redrive recomputes the days that its letter names",
        broken_days.redrive_without_days,
        "plugin broken",
        first=0,
        runs=60,
    ),
    Mutation(
        "revisions from Kinesis",
        "revisions never come from Kinesis sequence numbers alone",
        broken.revisions_from_kinesis,
        "a slot handed about",
        first=1,
        runs=60,
    ),
    Mutation(
        "numbers of 38 digits",
        "sequence numbers are text: they have more digits than a number holds",
        broken.numbers_of_38_digits,
        "unsequenced",
        first=2,
        runs=60,
    ),
    Mutation(
        "numbers without zeros",
        "sequence numbers are compared padded with zeros",
        broken.numbers_without_zeros,
        "unsequenced",
        first=2,
        runs=400,
    ),
    Mutation(
        "no sub-sequence",
        "the sub-sequence number stands behind the sequence number",
        broken.no_sub_sequence,
        "unsequenced",
        first=4,
        runs=400,
    ),
    Mutation(
        "early checkpoint",
        "the checkpoint comes after all that the records cause is durable",
        broken.early_checkpoint,
        "crashes",
        first=0,
        runs=60,
    ),
    Mutation(
        "checkpoint without number",
        "a checkpoint names its sequence number",
        broken.checkpoint_without_number,
        "turns",
        first=0,
        runs=60,
    ),
    Mutation(
        "swallowed",
        "no error path skips a record in silence",
        broken.swallowed,
        "outages",
        first=17,
        runs=60,
    ),
    Mutation(
        "left to kclpy",
        "nothing but SystemExit leaves the record processor",
        broken.left_to_kclpy,
        "outages",
        first=3,
        runs=60,
    ),
    Mutation(
        "outage ends the batch",
        "a store that cannot be used keeps the shard waiting",
        broken.outage_ends_the_batch,
        "throttling",
        first=0,
        runs=60,
    ),
    Mutation(
        "lost is applied",
        "a lost answer is decided again on what is then stored",
        broken.lost_is_applied,
        "lost answers",
        first=0,
        runs=60,
    ),
    Mutation(
        "no letter",
        "what is set aside is a dead letter",
        broken.no_letter,
        "everything",
        first=1,
        runs=60,
    ),
    Mutation(
        "letter after checkpoint",
        "a dead letter is durable before the checkpoint",
        broken.letter_after_checkpoint,
        "throttling",
        first=0,
        runs=60,
    ),
    Mutation(
        "stale as fresh",
        "a day that failed is stale, never served as fresh",
        broken_days.stale_as_fresh,
        "plugin broken",
        first=0,
        runs=60,
    ),
    Mutation(
        "no letter for days",
        "a stale day has its dead letter",
        broken_days.no_letter_for_days,
        "plugin broken",
        first=0,
        runs=60,
    ),
    Mutation(
        "shard end unsaid",
        "the end of a shard is checkpointed",
        broken.shard_ended_unsaid,
        "reshards",
        first=0,
        runs=60,
    ),
    Mutation(
        "shard end unsettled",
        "a shard ends when all of it is settled",
        broken.shard_ended_unsettled,
        "reshards",
        first=0,
        runs=60,
    ),
    Mutation(
        "older overwrites",
        "an older revision never overwrites a newer one",
        broken.older_overwrites,
        "turns on a slot",
        first=0,
        runs=60,
    ),
    Mutation(
        "former holders keep it",
        "copies under providers no longer named become tombstones",
        broken.former_holders_keep_it,
        "a slot handed about",
        first=1,
        runs=60,
    ),
    Mutation(
        "no transaction",
        "owner record and copies are one transaction",
        broken.no_transaction,
        "a slot handed about",
        first=3,
        runs=60,
    ),
    Mutation(
        "only the new time",
        "impacts hold the item's old and its new time",
        broken_days.only_the_new_time,
        "a slot handed about",
        first=3,
        runs=60,
    ),
    Mutation(
        "killers tried for ever",
        "a record that kills its process is set aside",
        broken.killers_tried_for_ever,
        "killers",
        first=1,
        runs=60,
    ),
    Mutation(
        "impacts as dates",
        "impacts are stored as instants, since the zone may change before they are settled",
        broken_days.impacts_as_dates,
        "a zone changes around a death",
        first=23,
        runs=1000,
    ),
    Mutation(
        "no day in common",
        "what is touched near the window's edges is written with a day that a change of zone writes too",
        broken_days.no_day_in_common,
        "a zone changes beside a slot",
        first=309,
        runs=1500,
    ),
    Mutation(
        "only missing days enter",
        "the horizon job recomputes the day that enters, document or not",
        broken_days.only_missing_days_enter,
        "clocks that are slow",
        first=70,
        runs=1000,
    ),
    Mutation(
        "only the newest of a batch",
        "coalescing looks at every revision in the batch",
        broken.only_the_newest_of_a_batch,
        "slots too large",
        first=9,
        runs=100,
    ),
    Mutation(
        "rejected supersedes",
        "only an event that applied supersedes",
        broken.rejected_supersedes,
        "slots too large",
        first=9,
        runs=100,
    ),
    Mutation(
        "too large in two writes",
        "what may be too large is one transaction",
        broken.too_large_in_two_writes,
        "slots too large",
        first=7,
        runs=100,
    ),
    Mutation(
        "memory is kept",
        "memory is forgotten after a run that failed",
        broken_days.memory_is_kept,
        "faults of ours",
        first=79,
        runs=400,
    ),
    Mutation(
        "failed records distrust nothing",
        "the days of a record on which the engine fails are stale",
        broken_days.failed_records_distrust_nothing,
        "faults of ours",
        first=27,
        runs=100,
    ),
    Mutation(
        "no impact is none",
        "where a plugin cannot say what a change touches, every day is computed",
        broken_days.no_impact_is_none,
        "plugin raises",
        first=5,
        runs=60,
    ),
    Mutation(
        "neither forgets",
        "memory is forgotten after an outage, or after the conflicts that it leads to",
        broken_days.neither_forgets,
        "turns on a slot",
        first=21,
        runs=400,
    ),
)

NETS = (broken_days.memory_is_kept_in_an_outage, broken_days.conflicts_forget_nothing)
"""Each is made up for by the other; together they are the mutation above."""
