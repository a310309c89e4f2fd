"""What the judge says of series: tables of them, and what must hold for any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcl_app import metrics
from kcl_app.lag_judge import WORST_FIRST, LagJudge, Sample, State, judge, worst

WINDOW = 180.0
NOW = 1_800_000_000.0
EVERY = 2
"""Seconds between two samples."""

Series = Callable[[int], Sample]
"""What is known of a shard at a second, the last of which is 0."""


def series(of: Series, seconds: int = 240) -> list[Sample]:
    """Samples up to now."""
    return [of(second) for second in range(-seconds, 1, EVERY)]


def at(second: float, lag: float, *, checkpoint: float | None = None, heard: float | None = None) -> Sample:
    """A sample: how far behind the shard was at its last checkpoint, that checkpoint, and when its child was heard."""
    taken = NOW + second if checkpoint is None else NOW + checkpoint
    last = NOW + second if heard is None else NOW + heard
    return Sample(NOW + second, last, taken, taken - lag)


def idle(second: int) -> Sample:
    return replace(at(second, 0), caught_up=True)


def draining(second: int) -> Sample:
    return at(second, 5000 - 3 * second)


def burst(second: int) -> Sample:
    """A burst of a minute, drained since."""
    return at(second, max(1.0, 60.0 - abs(second + 100)))


def falling_behind(second: int) -> Sample:
    return at(second, 500 + 0.2 * second)


def falling_behind_in_steps(second: int) -> Sample:
    """A checkpoint a minute, as when the shard is far behind; between them lag grows by a second a second."""
    step = second // 45
    return at(second, 4000 + 10 * step, checkpoint=step * 45)


def draining_in_steps(second: int) -> Sample:
    step = second // 45
    return at(second, 4000 - 100 * step, checkpoint=step * 45)


def level_with_noise(second: int) -> Sample:
    return at(second, 300 + 7 * ((second * 7919) % 13))


def falling_behind_with_noise(second: int) -> Sample:
    return at(second, 500 + second + 7 * ((second * 7919) % 5))


def stores_away(second: int) -> Sample:
    """The child tries and tries, and can checkpoint nothing."""
    return at(second, 3, checkpoint=-230)


def frozen(second: int) -> Sample:
    return at(second, 0.1, checkpoint=-200, heard=-200)


def frozen_a_minute_ago(second: int) -> Sample:
    """It was behind, and is still given the benefit of the window."""
    then = min(second, -60)
    return at(second, 50, checkpoint=then, heard=then)


def frozen_when_idle(second: int) -> Sample:
    told = idle(min(second, -200))
    return replace(told, at=NOW + second)


def never_heard_since_it_was_taken(second: int) -> Sample:
    return Sample(NOW + second, NOW - 300, NOW - 300)


def caught_up_once(second: int) -> Sample:
    return idle(second) if second == -90 else falling_behind(second)


@pytest.mark.parametrize(
    ("of", "state"),
    [
        (idle, State.OK),
        (draining, State.OK),
        (burst, State.OK),
        (falling_behind, State.SLOW),
        (falling_behind_in_steps, State.SLOW),
        (falling_behind_with_noise, State.SLOW),
        (draining_in_steps, State.OK),
        (level_with_noise, State.OK),
        (stores_away, State.STALLED),
        (frozen, State.STOPPED),
        (frozen_a_minute_ago, State.OK),
        (frozen_when_idle, State.STOPPED),
        (never_heard_since_it_was_taken, State.STOPPED),
        (caught_up_once, State.OK),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value),
)
def test_the_verdict_of_a_series(of: Series, state: State) -> None:
    assert judge(series(of), NOW, WINDOW).state is state


@pytest.mark.parametrize(
    ("samples", "state"),
    [
        ([], State.STOPPED),
        (series(falling_behind, 100), State.UNKNOWN),
        (series(stores_away, 100), State.UNKNOWN),
        (series(idle, 4), State.OK),
        ([at(-400, 10), at(-300, 20)], State.STOPPED),
        ([at(-200, 10), at(0, 20)], State.OK),
        ([at(-200, 10), at(-100, 20), at(0, 30)], State.SLOW),
    ],
    ids=[
        "no samples",
        "the lease has just moved here, and it falls behind",
        "the lease has just moved here, and no checkpoint comes",
        "the lease has just moved here, and there is nothing to do",
        "the last samples are old",
        "samples are missing: one alone is no trend",
        "samples are missing: two are",
    ],
)
def test_the_verdict_of_few_samples(samples: Sequence[Sample], state: State) -> None:
    assert judge(samples, NOW, WINDOW).state is state


def test_the_trend_is_the_slope_of_the_lag() -> None:
    def trend(of: Series) -> float:
        found = judge(series(of), NOW, WINDOW).trend
        assert found is not None
        return found

    assert trend(draining) == pytest.approx(-3)
    assert trend(falling_behind) == pytest.approx(0.2)
    assert trend(frozen) == pytest.approx(1)
    assert trend(idle) == pytest.approx(0)
    assert judge(series(never_heard_since_it_was_taken), NOW, WINDOW).trend is None
    assert judge([at(0, 1)], NOW, WINDOW).trend is None


def test_the_states_are_those_that_metrics_are_labelled_with() -> None:
    assert tuple(state.value for state in State) == metrics.STATES
    assert set(WORST_FIRST) == set(State)


def test_the_worst_state_counts() -> None:
    assert worst([State.OK, State.STALLED, State.UNKNOWN, State.SLOW]) is State.STALLED
    assert worst([State.OK, State.UNKNOWN]) is State.UNKNOWN
    assert worst([]) is State.UNKNOWN


def test_a_shard_that_moved_away_is_forgotten_and_begins_anew_when_it_comes_back() -> None:
    watch = LagJudge(WINDOW)
    for second in range(-240, 1, EVERY):
        watch.take({"a": falling_behind(second), "b": idle(second)}, NOW + second)
    assert {shard: one.state for shard, one in watch.verdicts(NOW).items()} == {"a": "slow", "b": "ok"}
    watch.take({"b": idle(2)}, NOW + 2)
    assert list(watch.verdicts(NOW + 2)) == ["b"]
    watch.take({"a": falling_behind(4), "b": idle(4)}, NOW + 4)
    assert watch.verdicts(NOW + 4)["a"].state is State.UNKNOWN


def test_a_judge_that_is_not_told_for_a_window_says_so() -> None:
    watch = LagJudge(WINDOW)
    watch.take({"a": idle(0)}, NOW)
    assert watch.verdicts(NOW + 1)["a"].state is State.OK
    assert watch.verdicts(NOW + WINDOW + 1)["a"].state is State.STOPPED


def test_a_clock_that_goes_back_makes_the_judge_begin_anew() -> None:
    watch = LagJudge(WINDOW)
    for second in range(-240, 1, EVERY):
        watch.take({"a": stores_away(second)}, NOW + second)
    back = -3600
    watch.take({"a": at(back, 5)}, NOW + back)
    assert watch.verdicts(NOW + back)["a"].state is State.UNKNOWN


def test_memory_is_bounded_by_the_window() -> None:
    watch = LagJudge(WINDOW)
    for second in range(-20_000, 1, EVERY):
        watch.take({"a": draining(second)}, NOW + second)
    assert len(watch._samples["a"]) <= WINDOW / EVERY + 2


lags = st.lists(st.integers(1, 10_000), min_size=2, max_size=60)


def checkpointed(values: Sequence[int]) -> list[Sample]:
    """Samples over a bit more than the window, evenly, each just after a checkpoint."""
    step = (WINDOW - 1) / (len(values) - 1)
    inside = [at(step * n - WINDOW + 1, value) for n, value in enumerate(values)]
    return [at(-WINDOW - 10, values[0]), *inside]


@given(lags, st.integers(0, 100_000))
def test_how_much_lag_there_is_makes_no_difference(values: list[int], more: int) -> None:
    """There is no threshold: the same series on another level has the same verdict."""
    raised = [value + more for value in values]
    assert judge(checkpointed(raised), NOW, WINDOW).state is judge(checkpointed(values), NOW, WINDOW).state


@given(lags, st.integers(2, 50))
def test_the_unit_of_lag_makes_no_difference(values: list[int], factor: int) -> None:
    scaled = [value * factor for value in values]
    assert judge(checkpointed(scaled), NOW, WINDOW).state is judge(checkpointed(values), NOW, WINDOW).state


@given(st.sets(st.integers(1, 10_000), min_size=2, max_size=60))
def test_lag_that_only_grows_is_slow_and_lag_that_only_falls_is_ok(values: set[int]) -> None:
    assert judge(checkpointed(sorted(values)), NOW, WINDOW).state is State.SLOW
    assert judge(checkpointed(sorted(values, reverse=True)), NOW, WINDOW).state is State.OK


@given(lags)
def test_lag_that_ends_no_higher_than_it_began_is_never_slow(values: list[int]) -> None:
    series = checkpointed([*values, min(values)])
    assert judge(series, NOW, WINDOW).state is State.OK


@given(lags, st.integers(0, 59))
def test_whoever_caught_up_in_the_window_and_lives_is_ok(values: list[int], which: int) -> None:
    samples = checkpointed(values)
    which = 1 + which % len(values)
    samples[which] = replace(samples[which], caught_up=True)
    assert judge(samples, NOW, WINDOW).state is State.OK


@given(lags, st.floats(0, 1000))
def test_a_child_that_falls_silent_is_never_ok_for_longer_than_the_window(
    values: list[int], seconds: float
) -> None:
    """Whatever it told before: once it has been silent for as long as the window, it counts as stopped."""
    samples = checkpointed(values)
    last = samples[-1]
    silent = [replace(last, at=last.at + n * seconds / 20) for n in range(1, 21)]
    state = judge([*samples, *silent], NOW + seconds, WINDOW).state
    assert (state is State.STOPPED) == (seconds >= WINDOW)
