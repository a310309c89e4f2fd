"""Fetch HL7's official FHIR R4 examples of scheduling resources (npm package hl7.fhir.r4.examples, CC0) for the tests.

Leaves them in `.local/fhir/package/`. Does nothing where they are already there. Exits 1 with one line on stderr if
they cannot be had.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "hl7.fhir.r4.examples@4.0.1"
FOLDER = Path(__file__).resolve().parents[1] / ".local" / "fhir"
WANTED = ("Slot-", "Schedule-", "Appointment-", "PractitionerRole-")
TIMEOUT = 300  # seconds; the package has some 20 MB


def main() -> None:
    """Fetch, unpack beside, and only then put in place: what is in place is complete."""
    target = FOLDER / "package"
    if complete(target):
        return
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is missing: install Node.js to fetch the FHIR examples that the tests need")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        unpacked = Path(scratch) / "package"
        unpack(pack(npm, Path(scratch)), unpacked)
        if complete(target):  # another run was quicker
            return
        shutil.rmtree(target, ignore_errors=True)
        unpacked.rename(target)
    sys.stdout.write(f"{PACKAGE}: {len(list(target.glob('*.json')))} examples in {target}\n")


def complete(folder: Path) -> bool:
    """Whether the examples of the pinned version are there."""
    marker = folder / "VERSION"
    return marker.is_file() and marker.read_text(encoding="utf-8") == PACKAGE


def pack(npm: str, folder: Path) -> Path:
    """Have npm download the package into the folder, and give the archive's path."""
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"npm pack {PACKAGE} took longer than {TIMEOUT} seconds")
    archives = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        sys.exit(f"npm pack {PACKAGE} failed with status {done.returncode}: {said}")
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Write the wanted files of the archive into a new folder, by their bare names."""
    folder.mkdir()
    with tarfile.open(archive) as files:
        for member in files:
            name = Path(member.name).name
            content = (
                files.extractfile(member) if name.startswith(WANTED) and name.endswith(".json") else None
            )
            if content is not None:
                (folder / name).write_bytes(content.read())
    (folder / "VERSION").write_text(PACKAGE, encoding="utf-8")


if __name__ == "__main__":
    main()
