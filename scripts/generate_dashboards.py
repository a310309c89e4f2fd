"""Write the Grafana dashboards in `config/grafana/dashboards` from `scripts/dashboards`.

python scripts/generate_dashboards.py            writes them
python scripts/generate_dashboards.py --check    exits 1 if one is not as it would be written
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from anywhere, installed or not

from dashboards.cost import cost  # noqa: E402
from dashboards.overview import overview  # noqa: E402
from dashboards.plugin import plugin  # noqa: E402
from dashboards.shard import shard  # noqa: E402

TARGET = ROOT / "config" / "grafana" / "dashboards"
BOARDS = {"overview": overview, "shard": shard, "plugin": plugin, "cost": cost}


def main() -> int:
    """Write the files, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if a file is not up to date")
    arguments = parser.parse_args()
    wanted = {TARGET / f"{name}.json": make() for name, make in BOARDS.items()}
    there = {path: path.read_text(encoding="utf-8") for path in TARGET.glob("*.json")}
    if arguments.check:
        for path in sorted(wanted.keys() | there.keys()):
            if wanted.get(path) != there.get(path):
                shown = path.relative_to(ROOT)
                sys.stderr.write(f"{shown} is out of date: run python scripts/generate_dashboards.py\n")
        return 0 if wanted == there else 1
    TARGET.mkdir(parents=True, exist_ok=True)
    for path in there.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
