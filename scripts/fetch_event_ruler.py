"""Fetch AWS's own engine for event patterns (Maven: software.amazon.event.ruler, Apache 2.0) and compile its oracle.

Leaves jars and classes in `.local/event-ruler/`; the tests then compare with it live. Does nothing where they are
there.
Where Java's compiler or Maven is missing, or Maven fails, it says so, and the tests compare with recorded verdicts
alone.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".local" / "event-ruler"
ORACLE = ROOT / "tests" / "patterns" / "RulerOracle.java"
ARTIFACTS = (
    "software.amazon.event.ruler:event-ruler:2.1.0",
    "ch.randelshofer:fastdoubleparser:2.0.1",
    "com.fasterxml.jackson.core:jackson-core:2.15.0",
    "com.fasterxml.jackson.core:jackson-annotations:2.15.0",
    "com.fasterxml.jackson.core:jackson-databind:2.15.0",
)
TIMEOUT = 300
WITHOUT = "event patterns are compared with recorded verdicts alone"


class Failed(Exception):  # noqa: N818
    """A command failed; the message says which, and how."""


def main() -> None:
    """Fetch and compile beside, and only then put in place: what is in place is complete."""
    if complete(FOLDER):
        return
    shutil.rmtree(FOLDER, ignore_errors=True)  # an oracle of other cases is worse than none
    javac, maven = shutil.which("javac"), shutil.which("mvn")
    if javac is None or maven is None:
        missing = "javac" if javac is None else "mvn"
        sys.stdout.write(f"{missing} is missing: {WITHOUT}\n")
        return
    try:
        fetch(javac, maven)
    except Failed as error:
        sys.stdout.write(f"{error}: {WITHOUT}\n")
    else:
        sys.stdout.write(f"{ARTIFACTS[0]} in {FOLDER}\n")


def fetch(javac: str, maven: str) -> None:
    """Fetch and compile."""
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER.parent) as scratch:
        made = Path(scratch) / "event-ruler"
        made.mkdir()
        for artifact in ARTIFACTS:
            goal = ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={made}"]
            run([maven, "--quiet", "--batch-mode", *goal])
        run([javac, "-nowarn", "-cp", str(made / "*"), "-d", str(made), str(ORACLE)])
        (made / "VERSION").write_text(version(), encoding="utf-8")
        made.rename(FOLDER)


def version() -> str:
    """What is fetched, and the oracle that it was compiled with."""
    return "\n".join([*ARTIFACTS, ORACLE.read_text(encoding="utf-8")])


def complete(folder: Path) -> bool:
    """Whether all of it is there."""
    marker = folder / "VERSION"
    return marker.is_file() and marker.read_text(encoding="utf-8") == version()


def run(command: list[str]) -> None:
    """Run one command; `Failed` with its last line if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{Path(command[0]).name} took longer than {TIMEOUT} seconds") from None
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or "no message").splitlines()[-1]
        raise Failed(f"{Path(command[0]).name} failed with status {done.returncode}: {said}")


if __name__ == "__main__":
    main()
