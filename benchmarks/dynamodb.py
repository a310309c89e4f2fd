"""The DynamoDB of the benchmark: dynoxide, an emulator in Rust, where cargo can build it; else the local cloud's own.

With the local cloud's, which is Python and does some 2,700 writes a second, the emulator is what limits.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Literal

from kcl_app.errors import UserError
from kcl_app.local.local_cloud import Progress
from kcl_app.local.soak.surroundings import free_port

VERSION = "3.2.0"
CACHE = Path("~/.cache/kcl-app-benchmarks")
BUILD_SECONDS = 1800.0
START_SECONDS = 20.0

Choice = Literal["auto", "dynoxide", "ministack"]


def find(choice: Choice, progress: Progress, cache: Path = CACHE) -> Path | None:
    """The program of dynoxide, built first if it has to be; None where the local cloud's DynamoDB is taken.

    Args:
        choice: ``auto`` takes dynoxide if it can be had.
        progress: is told what is being done.
        cache: where it is built.

    Raises:
        UserError: dynoxide was asked for and cannot be had.
    """
    if choice == "ministack":
        return None
    folder = cache.expanduser()
    program = folder / "bin" / "dynoxide"
    if program.is_file():
        return program
    cargo = shutil.which("cargo")
    if cargo is None:
        if choice == "dynoxide":
            raise UserError("there is no cargo to build dynoxide with; install Rust, or leave out --dynamodb")
        progress("There is no cargo to build dynoxide with: the local cloud's own DynamoDB is taken")
        return None
    progress("Building dynoxide (first time only, some minutes)")
    log = folder / "build.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        command = [cargo, "install", f"dynoxide-rs@{VERSION}", "--root", str(folder)]
        try:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=BUILD_SECONDS, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            status = -1
    if status == 0 and program.is_file():
        return program
    if choice == "dynoxide":
        raise UserError(f"dynoxide cannot be built; see {log}")
    progress(f"dynoxide cannot be built (see {log}): the local cloud's own DynamoDB is taken")
    return None


class Dynoxide:
    """One process of dynoxide on a free port of 127.0.0.1, with nothing in it.

    Args:
        program: as `find` gives it.
        log: the file that gets its output.
    """

    def __init__(self, program: Path, log: Path) -> None:
        self.port = free_port()
        out: IO[bytes]
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(program), "serve", "--port", str(self.port), "--log", "quiet"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self._await_answer(log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; what it holds goes with it."""
        self._process.kill()
        self._process.wait()

    def _await_answer(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process.poll() is not None:
                raise UserError(f"dynoxide ended as it started; see {log}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise UserError(f"dynoxide does not answer on port {self.port}; see {log}") from None
                time.sleep(0.02)
