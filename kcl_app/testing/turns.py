"""Several processes as threads that take turns: only one runs at a time, and a seed decides which."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence


class Stopped(BaseException):
    """Another task failed, so this one is not needed any more."""


class _Task:
    """A function with the thread that runs it; `go` is free while it has its turn."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.go = threading.Lock()
        self.go.acquire()


class Turns:
    """Runs functions in threads, one at a time; whose turn it is changes only where one calls `pause`.

    Args:
        rng: decides whose turn it is.
        switching: how often a pause lets another go on, as a probability.
    """

    def __init__(self, rng: random.Random, switching: float = 0.6) -> None:
        self._rng = rng
        self._switching = switching
        self._alive: list[_Task] = []
        self._current: _Task | None = None
        self._errors: list[BaseException] = []
        self._over = threading.Lock()
        self._over.acquire()

    def pause(self) -> None:
        """Let another go on, perhaps. Does nothing outside of `run`."""
        if self._current is not None and len(self._alive) > 1 and self._rng.random() < self._switching:
            self._switch_to(self._rng.choice(self._alive))

    def stand_still(self, turns: int) -> None:
        """Let others have so many turns, as a process does that is stopped and then let go on."""
        for _ in range(turns):
            others = [task for task in self._alive if task is not self._current]
            if self._current is None or not others:
                return
            self._switch_to(self._rng.choice(others))

    def _switch_to(self, other: _Task) -> None:
        me = self._current
        if other is me:
            return
        assert me is not None  # only one that has its turn can give it away
        self._current = other
        other.go.release()
        me.go.acquire()
        if self._errors:
            raise Stopped

    def spawn(self, function: Callable[[], None]) -> None:
        """Add a function to those that take turns; it starts when its turn comes."""
        task = _Task(function)
        self._alive.append(task)
        threading.Thread(target=self._body, args=(task,), daemon=True).start()

    def run(self, functions: Sequence[Callable[[], None]]) -> None:
        """Run all, and those that they spawn, to their ends; the first error of any is raised."""
        for function in functions:
            self.spawn(function)
        if self._alive:
            self._next()
            self._over.acquire()
        if self._errors:
            raise self._errors[0]

    def _next(self) -> None:
        self._current = self._rng.choice(self._alive)
        self._current.go.release()

    def _body(self, task: _Task) -> None:
        task.go.acquire()
        try:
            if not self._errors:
                task.function()
        except Stopped:
            pass
        except BaseException as error:
            self._errors.append(error)
        self._alive.remove(task)
        if self._alive:
            self._next()
        else:
            self._current = None
            self._over.release()
