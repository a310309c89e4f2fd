"""The time limit ends what Python can end, whatever that does about it, and touches nothing else."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from emr_plugins.time_limit import PATIENCE, TICKS, TimedOut, TimeLimit, for_a_while

SHORT = 0.1
LONG = 60.0


def for_ever() -> None:
    while True:
        pass


def asleep() -> None:
    time.sleep(LONG)


def waiting_for_a_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def reading_a_pipe() -> None:
    os.read(os.pipe()[0], 1)


def comparing() -> None:
    class Endless:
        def __lt__(self, other: object) -> bool:
            for_ever()
            return True

    sorted([Endless(), Endless()])


def catching_exceptions() -> None:
    while True:
        with contextlib.suppress(Exception):
            time.sleep(LONG)


def turning_it_into_its_own() -> None:
    try:
        for_ever()
    except BaseException as error:
        raise ValueError("nothing happened") from error


def giving_an_answer_all_the_same() -> int:
    with contextlib.suppress(BaseException):
        for_ever()
    return 7


def catching_it_three_times() -> None:
    for _ in range(3):
        try:
            time.sleep(LONG)
        except BaseException:
            continue
    for_ever()


@pytest.mark.parametrize(
    "function",
    [
        for_ever,
        asleep,
        waiting_for_a_lock,
        reading_a_pipe,
        comparing,
        catching_exceptions,
        turning_it_into_its_own,
        giving_an_answer_all_the_same,
        catching_it_three_times,
    ],
)
def test_what_takes_too_long_is_ended(function: Callable[[], object]) -> None:
    start = time.monotonic()
    with pytest.raises(TimedOut):
        TimeLimit(SHORT).call(function)
    assert SHORT * 0.9 <= time.monotonic() - start < LONG / 2


def test_what_is_in_time_is_left_alone() -> None:
    limit = TimeLimit(LONG)
    assert limit.call(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        limit.call(divmod, 7, 0)
    assert limit.spent == 0


def test_what_a_call_took_is_known_in_full_ticks() -> None:
    limit = TimeLimit(4)
    limit.call(time.sleep, 0.5)
    assert 0.1 <= limit.spent < 1
    limit.call(time.sleep, 0)
    assert limit.spent == 0
    with pytest.raises(TimedOut):
        (short := TimeLimit(SHORT)).call(asleep)
    assert short.spent == 1


def test_limits_that_take_turns_do_not_call_each_other_for_ever() -> None:
    told: list[int] = []
    former = signal.signal(signal.SIGALRM, lambda number, frame: told.append(number))
    try:
        one, other = TimeLimit(LONG), TimeLimit(LONG)
        for limit in (one, other, one, other, one):
            limit.call(divmod, 7, 3)
        signal.raise_signal(signal.SIGALRM)
        assert told == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, former)


def test_what_catches_every_interruption_is_told_to_whoever_can_end_the_process() -> None:
    told: list[float] = []

    def catching_everything() -> None:
        while not told:
            try:
                time.sleep(LONG)
            except BaseException:
                continue

    start = time.monotonic()
    with pytest.raises(TimedOut):
        TimeLimit(SHORT, lambda: told.append(time.monotonic() - start)).call(catching_everything)
    assert SHORT * PATIENCE * 0.9 <= told[0] < LONG / 2


def test_ctrl_c_gets_through() -> None:
    def pressed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TimeLimit(LONG).call(pressed)


def test_there_is_one_limit_for_a_call_within_a_call() -> None:
    limit = TimeLimit(SHORT)

    def outer() -> None:
        limit.call(time.sleep, 0)
        for_ever()

    with pytest.raises(TimedOut):
        limit.call(outer)


def test_another_thread_is_not_limited_and_does_not_disturb() -> None:
    limit = TimeLimit(SHORT)
    found: list[object] = []

    def patient() -> str:
        time.sleep(2 * SHORT)
        return "done"

    def elsewhere() -> None:
        found.append(limit.call(patient))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    with pytest.raises(TimedOut):
        limit.call(for_ever)
    thread.join()
    assert found == ["done"]


class Alarms:
    """Somebody else's handler and timer."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.former = signal.signal(signal.SIGALRM, self._hear)
        self.timer = signal.setitimer(signal.ITIMER_REAL, 0)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard.append(number)

    def wait(self) -> None:
        """Until the alarm has been heard."""
        while not self.heard:
            for_a_moment = threading.Event()
            for_a_moment.wait(0.01)

    def restore(self) -> None:
        """As it was."""
        signal.signal(signal.SIGALRM, self.former)
        signal.setitimer(signal.ITIMER_REAL, *self.timer)


@pytest.fixture
def alarms() -> Iterator[Alarms]:
    made = Alarms()
    yield made
    made.restore()


def test_the_timer_and_handler_of_others_go_on_after_a_call(alarms: Alarms) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    limit = TimeLimit(LONG)
    limit.call(divmod, 7, 3)
    left, _ = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left <= 0.3
    alarms.wait()
    assert alarms.heard == [signal.SIGALRM]


def test_an_alarm_of_others_that_falls_into_a_call_rings_after_it(alarms: Alarms) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    TimeLimit(LONG).call(time.sleep, 0.1)
    alarms.wait()
    assert alarms.heard == [signal.SIGALRM]


def test_no_timer_is_left_running(alarms: Alarms) -> None:
    limit = TimeLimit(SHORT)
    limit.call(divmod, 7, 3)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(TimedOut):
        limit.call(for_ever)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert alarms.heard == []


def test_what_a_plugin_does_to_the_alarm_does_not_outlive_its_call(alarms: Alarms) -> None:
    rung: list[Any] = []

    def with_an_alarm_of_its_own() -> None:
        signal.signal(signal.SIGALRM, lambda *what: rung.append(what))
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)

    limit = TimeLimit(SHORT)
    limit.call(with_an_alarm_of_its_own)
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    with pytest.raises(TimedOut):
        limit.call(for_ever)
    assert rung == []


def test_an_alarm_comes_inside_of_a_call_or_not_at_all(alarms: Alarms) -> None:
    """Calls that take about as long as they may, many times over: nothing is ever raised outside of one."""
    limit, rng = TimeLimit(0.002), random.Random(7)
    ended = {"in time": 0, "too late": 0}
    for _ in range(600):
        until = time.perf_counter() + rng.uniform(0.0015, 0.0025)

        def work(until: float = until) -> None:
            while time.perf_counter() < until:
                pass

        try:
            limit.call(work)
            ended["in time"] += 1
        except TimedOut:
            ended["too late"] += 1
        sum(range(200))
    assert all(ended.values())
    assert alarms.heard == []


FROZEN = """
import sys
from emr_plugins.time_limit import TimedOut, TimeLimit
def ask():
    print("asking", flush=True)
    return sys.stdin.readline()
try:
    print("answer", TimeLimit(2).call(ask), flush=True)
except TimedOut:
    print("timed out", flush=True)
"""


@pytest.mark.parametrize(("frozen", "said"), [(True, "answer yes"), (False, "timed out")])
def test_a_process_that_was_frozen_does_not_blame_its_plugin(frozen: bool, said: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", FROZEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "asking\n"
    if frozen:
        child.send_signal(signal.SIGSTOP)
    # The time itself is what is tested: longer than the limit.
    time.sleep(2 * (TICKS + 2) / TICKS)
    if frozen:
        child.stdin.write("yes\n")
        child.stdin.flush()
        child.send_signal(signal.SIGCONT)
    assert child.stdout.readline().strip() == said
    child.communicate(timeout=20)


def test_what_is_gone_through_for_a_while_is_at_least_the_first() -> None:
    assert list(for_a_while([], 0)) == []
    assert list(for_a_while("abc", LONG)) == ["a", "b", "c"]
    assert list(for_a_while("abc", -1)) == ["a"]
