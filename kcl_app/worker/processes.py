"""What the supervisor, the Java daemon and its children use of the machine, and which of them run."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psutil

JVM, CHILD, PLUGIN, SUPERVISOR = "jvm", "child", "plugin", "supervisor"


@dataclass(frozen=True)
class Usage:
    """One process at one moment.

    Args:
        kind: ``jvm``, ``child``, ``plugin`` or ``supervisor``.
        pid: its id.
        started: seconds since the epoch.
        cpu_seconds: user and system time so far.
        memory_bytes: resident memory.
    """

    kind: str
    pid: int
    started: float
    cpu_seconds: float
    memory_bytes: int


@dataclass
class ProcessBook:
    """Sums over processes that come and go; CPU time never falls when one ends."""

    exited: int = 0
    """Children that ended."""
    processes: Mapping[str, int] = field(default_factory=dict)
    memory_bytes: Mapping[str, int] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    _cpu: dict[tuple[str, int], float] = field(default_factory=dict)
    _of_ended: dict[str, float] = field(default_factory=dict)
    _running: list[Usage] = field(default_factory=list)

    def update(self, usages: Iterable[Usage], also_known: Iterable[int] = ()) -> set[int]:
        """Take in what runs now.

        Args:
            usages: all processes that run.
            also_known: pids of children known by other signs, some of which may have lived too shortly to be seen.

        Returns:
            Pids of the children that ended since the last time.
        """
        running = list(usages)
        now = {(one.kind, one.pid): one.cpu_seconds for one in running}
        for key, seconds in self._cpu.items():
            # Less than before: the pid is another process's now.
            if key not in now or now[key] < seconds:
                self._of_ended[key[0]] = self._of_ended.get(key[0], 0.0) + seconds
        self._cpu = now
        cpu = defaultdict(float, self._of_ended)
        for key, seconds in now.items():
            cpu[key[0]] += seconds
        memory: Counter[str] = Counter()
        for one in running:
            memory[one.kind] += one.memory_bytes
        self.cpu_seconds, self.memory_bytes = dict(cpu), dict(memory)
        self.processes = {JVM: 0, CHILD: 0, PLUGIN: 0, SUPERVISOR: 0, **Counter(one.kind for one in running)}
        children_before = {one.pid for one in self.living(CHILD)}
        self._running = running
        ended = (children_before | set(also_known)) - {one.pid for one in self.living(CHILD)}
        self.exited += len(ended)
        return ended

    def living(self, kind: str) -> list[Usage]:
        """What ran at the last look, of one kind."""
        return [one for one in self._running if one.kind == kind]


def observe(jvm_pid: int) -> list[Usage]:
    """What runs now: this process, the daemon, and everything that the daemon has started.

    The daemon leads a session of its own, which its children stay in. So they are found also once it has ended and they
    are nobody's children any more; and no other session gets that number as long as one of them lives. The processes of
    isolated plugins are those that have a group of their own within the session.

    Args:
        jvm_pid: the daemon's process, started in a new session; it may have ended.
    """
    found = [_usage(SUPERVISOR, os.getpid())]
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == jvm_pid:
                kind = JVM if pid == jvm_pid else CHILD if os.getpgid(pid) == jvm_pid else PLUGIN
                found.append(_usage(kind, pid))
        except OSError:
            continue
    return [one for one in found if one is not None]


def _usage(kind: str, pid: int) -> Usage | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            cpu = process.cpu_times()
            return Usage(
                kind, process.pid, process.create_time(), cpu.user + cpu.system, process.memory_info().rss
            )
    except psutil.Error:
        return None


def end(usages: Iterable[Usage], seconds: float) -> int:
    """Wait for processes to end, then kill those that did not.

    Args:
        usages: they, as seen before; one whose pid another has got meanwhile is left alone.
        seconds: how long to wait.

    Returns:
        How many had to be killed.
    """
    processes = []
    for one in usages:
        try:
            process = psutil.Process(one.pid)
            # The clock that both were read from may have been set right meanwhile, by a little.
            if abs(process.create_time() - one.started) < 2:
                processes.append(process)
        except psutil.Error:
            continue
    _, left = psutil.wait_procs(processes, timeout=seconds)
    for process in left:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(left, timeout=2)
    return len(left)
