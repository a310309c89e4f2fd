"""Does to the system what is planned, and says what and when."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from kcl_app.local.soak.schedule import Planned

LET_GO_SECONDS = 15.0

Strike = Callable[[float], str | None]
"""A fault: takes seconds at most, and what it did in words is what it gives; None where it could not be done."""


class Chaos:
    """Runs the plan, each track in a thread of its own.

    Args:
        planned: faults by track.
        strikes: how each kind is done. They let go of what they hold, and return, once `end` is set.
        end: set here, to end all.
        tell: is told in one line what was done.
    """

    def __init__(
        self,
        planned: Mapping[str, list[Planned]],
        strikes: Mapping[str, Strike],
        end: threading.Event,
        tell: Callable[[str], None],
    ) -> None:
        self._planned, self._strikes, self._end, self._tell = planned, strikes, end, tell
        self._began = 0.0
        self._threads = [
            threading.Thread(target=self._run, args=(track,), name=f"chaos-{track}", daemon=True)
            for track in planned
        ]
        self.done: Counter[str] = Counter()
        self.left_out: list[str] = []
        """Faults that could not be done, or not in time."""
        self.errors: list[BaseException] = []

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def finish(self, seconds: float) -> None:
        """Let the plan come to its end, but for so many seconds at most; nothing is held or cut off after."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.abandon()

    def abandon(self) -> None:
        """Do no more, and let go of what is held."""
        self._end.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(LET_GO_SECONDS)

    def _run(self, track: str) -> None:
        for planned in self._planned[track]:
            if self._end.wait(max(0.0, self._began + planned.at - time.monotonic())):
                self.left_out.append(planned.kind)
                continue
            try:
                said = self._strikes[planned.kind](planned.seconds)
            except (BotoCoreError, ClientError, psutil.Error) as error:
                said = None
                self._tell(f"{planned.kind}: could not be done ({type(error).__name__})")
            except Exception as error:  # told at the end: a soak without its faults proves nothing
                self.errors.append(error)
                return
            if said is None:
                self.left_out.append(planned.kind)
            else:
                self.done[planned.kind] += 1
                self._tell(f"{planned.kind}: {said}")


@contextmanager
def undisturbed(calm: threading.Lock, patient: bool) -> Iterator[None]:
    """Where the soak is not patient: no leader ends while the cloud is away, since its lock could not be freed then."""
    with nullcontext() if patient else calm:
        yield
