"""What AWS's engine says of the cases: recorded, or asked now.

`python tests/patterns/verdicts.py` records anew; scripts/fetch_event_ruler.py has to have been run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cases import case

RECORDED = 20_000
FILE = Path(__file__).with_name("verdicts.txt")
RULER = Path(__file__).resolve().parents[2] / ".local" / "event-ruler"
WIDTH = 100


def recorded() -> str:
    """One letter for each seed from 0: true, false, or refused."""
    return FILE.read_text(encoding="ascii").replace("\n", "")


def live(seeds: Iterable[int]) -> str:
    """The same, asked now."""
    lines = []
    for seed in seeds:
        pattern, event = case(seed)
        lines.append(json.dumps({"pattern": pattern, "event": event}) + "\n")
    done = subprocess.run(
        ["java", "-cp", f"{RULER}/*:{RULER}", "RulerOracle"],
        input="".join(lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return "".join(line[0] for line in done.stdout.splitlines())


def main() -> None:
    """Record."""
    letters = live(range(RECORDED))
    lines = [letters[at : at + WIDTH] for at in range(0, len(letters), WIDTH)]
    FILE.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
