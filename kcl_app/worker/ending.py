"""Waits for the Java daemon's end, and sees to it that it comes: as asked, after a child's end, or at once."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from kcl_app import logs
from kcl_app.worker import processes
from kcl_app.worker.cloud_watch import CloudWatch
from kcl_app.worker.daemon_output import DaemonOutput
from kcl_app.worker.errors import COULD_NOT_WORK, WorkerError, hurried

POLL_SECONDS = 0.1
SETTING_UP_SECONDS = 2.0
"""How long a daemon that has set up nothing yet may take to end: it holds no shard, and would wait out its grace."""
IDLE_SECONDS = 5.0
"""How long a daemon that was asked to stop may run on without the children that it had. They have checkpointed; but the
KCL waits its whole grace for shards that it was given and has not begun, as those that wait for their parents. Where no
other worker lives it even takes the shards anew that it has just let go, and starts children for them."""
YOUNG_SECONDS = 5.0
LAST_RESORT_SECONDS = 15.0
"""After the grace: what may take this long at most is killing, counting and saying so."""
_AGAIN = "what was not checkpointed will be read again"


class Ending:
    """One daemon's end.

    Args:
        jvm: the daemon.
        output: what it says of itself.
        signals: the signals that came so far, which grows meanwhile.
        cloud: tells whether the worker can go on, and why it could not end.
        grace_seconds: how long an end may take.
    """

    def __init__(
        self,
        jvm: subprocess.Popen[str],
        output: DaemonOutput,
        signals: Sequence[int],
        cloud: CloudWatch,
        grace_seconds: float,
    ) -> None:
        self._jvm = jvm
        self._output = output
        self._signals = signals
        self._cloud = cloud
        self._grace_seconds = grace_seconds
        self._log = logs.get_logger()
        self._began: float | None = None
        self._given_up = ""
        self._left: list[processes.Usage] | None = None
        self._idle_since: float | None = None
        self.cut_off = False
        """The daemon was killed: it has freed neither leases nor the leader lock."""

    def wait(self, readers: Sequence[threading.Thread]) -> None:
        """Until the daemon has ended as it should. It may still run where this raises.

        Args:
            readers: of the daemon's output; they see its end.

        Raises:
            WorkerError: it ended otherwise.
        """
        while self._jvm.poll() is None:
            self._look()
            time.sleep(POLL_SECONDS)
        for reader in readers:
            reader.join(timeout=2)
        self._judge()

    def _look(self) -> None:
        if self._output.records_skipped:
            self._jvm.kill()  # at once: the next checkpoint would pass them
            self.cut_off = True
            return
        if len(self._signals) > 1:
            raise hurried(self._signals[-1])
        if self._began is None:
            self._begin()
            return
        if self._output.child_failed and self._nobody_left():
            # The daemon would wait out its grace for the child that is gone. Those that were asked have checkpointed
            # and ended; it takes their shards anew meanwhile, and such a child has nothing yet that could be lost.
            self._jvm.kill()
            return
        seconds = time.monotonic() - self._began
        if not self._output.initialized and seconds > SETTING_UP_SECONDS:
            self._jvm.kill()
        elif self._signals and self._idle():
            self._log.info("no child that was asked is left, so the daemon is not waited for")
            self.cut_off = True
            self._jvm.kill()
        elif seconds > self._grace_seconds:
            raise WorkerError(
                self._failure()
                or f"the daemon did not stop within {self._grace_seconds:g} s and was killed; {_AGAIN}"
            )

    def _begin(self) -> None:
        """The end begins where a child has failed, a signal has come, or there is no hope."""
        if self._output.child_failed:
            self._log.warning("a child has failed, so the daemon ends", why=self._output.hint())
        elif self._signals:
            self._left = self._children()
            self._tell_children()
            self._jvm.terminate()
            self._log.info("stopping", grace_seconds=self._grace_seconds)
        elif self._cloud.hopeless:
            self._given_up = self._cloud.hopeless
            self._jvm.terminate()
        else:
            return
        self._began = time.monotonic()

    def _tell_children(self) -> None:
        """Have children settle no more than what is under way: the daemon tells them only after a whole delivery."""
        now = time.time()
        for one in processes.observe(self._jvm.pid):
            # One that has only just started may not know the signal yet, and has nothing under way.
            if one.kind == processes.CHILD and now - one.started > YOUNG_SECONDS:
                with suppress(OSError):
                    os.kill(one.pid, signal.SIGTERM)

    def _idle(self) -> bool:
        """Whether there has been no child for a while that was there when the end began."""
        if not self._nobody_left():
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or time.monotonic()
        return time.monotonic() - self._idle_since > IDLE_SECONDS

    def _children(self) -> list[processes.Usage]:
        return [one for one in processes.observe(self._jvm.pid) if one.kind == processes.CHILD]

    def _nobody_left(self) -> bool:
        """Whether the children that there were when one failed, or the signal came, have all ended."""
        living = self._children()
        if self._left is None:
            self._left = living
        still = {(one.pid, one.started) for one in living}
        return not any((one.pid, one.started) in still for one in self._left)

    def _failure(self) -> str:
        """What went wrong besides the end itself; empty where nothing did."""
        if self._output.child_failed:
            return f"{self._output.hint()}; {_AGAIN}"
        return self._given_up

    def _judge(self) -> None:
        if failure := self._failure():
            raise WorkerError(failure)
        if self._began is None:
            if self._output.errors:
                self._cloud.look()  # what it needs may be gone, which it says at length and not in one line
            why = self._cloud.trouble or self._output.hint()
            raise WorkerError(
                f"the Kinesis Client Library ended by itself ({_status(self._jvm.returncode)})"
                + (f": {why}" if why else "")
            )
        if self._output.shutdown_failed and self._output.initialized:
            raise WorkerError(
                f"the daemon's shutdown did not end within its grace; {_AGAIN}; "
                + (self._cloud.trouble or "raise worker.grace_seconds")
            )
        self._log.info("stopped", seconds=round(time.monotonic() - self._began, 1))


def last_resort(seconds: float, pids: Callable[[], Sequence[int]]) -> threading.Timer:
    """Whatever this process waits for by then, end it with all that is below it.

    A log that nobody reads any more, most of all, holds up whoever writes to it.

    Args:
        seconds: from now.
        pids: what to kill.

    Returns:
        It, started. To be cancelled once it is not needed any more.
    """

    def end() -> None:
        for pid in pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        os._exit(COULD_NOT_WORK)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def _status(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"status {code}"
