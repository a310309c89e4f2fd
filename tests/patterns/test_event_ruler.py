"""Our patterns say what AWS's own engine says: of 20,000 cases on record, and of others asked now where Java is."""

from __future__ import annotations

import shutil
from collections import Counter

from cases import case
from verdicts import RECORDED, RULER, live, recorded

from emr_plugins.patterns import EventPattern, InvalidPattern, PatternSet

LIVE = range(1_000_000, 1_010_000)


def ours(seed: int) -> str:
    pattern, event = case(seed)
    try:
        return "t" if EventPattern(pattern).matches(event) else "f"
    except InvalidPattern:
        return "r"


def assert_same(seeds: range, verdicts: str) -> None:
    assert len(verdicts) == len(seeds)
    wrong = [seed for seed, verdict in zip(seeds, verdicts, strict=True) if ours(seed) != verdict]
    assert not wrong, (
        f"{len(wrong)} differ; of the first AWS says {verdicts[wrong[0] - seeds[0]]}: {case(wrong[0])}"
    )


def test_the_verdicts_on_record() -> None:
    verdicts = recorded()
    kinds = Counter(verdicts)
    assert min(kinds[kind] for kind in "tfr") > RECORDED / 20, "each kind of case is common"
    assert_same(range(RECORDED), verdicts)


def test_other_cases_asked_now() -> None:
    """Without the engine, a part of the record stands for it."""
    if (RULER / "VERSION").is_file() and shutil.which("java"):
        assert_same(LIVE, live(LIVE))
    else:
        assert_same(range(1000), recorded()[:1000])


def test_a_set_of_patterns_finds_what_each_of_them_matches() -> None:
    for first in range(0, 6000, 60):
        patterns, events = {}, []
        for seed in range(first, first + 60):
            pattern, event = case(seed)
            events.append(event)
            try:
                patterns[seed] = EventPattern(pattern)
            except InvalidPattern:
                continue
        together = PatternSet(patterns)
        for event in events:
            assert together.matching(event) == [seed for seed, one in patterns.items() if one.matches(event)]
