"""A pip package of plugins that do whatever they can do wrong, and how to have it installed."""

from __future__ import annotations

import shutil
from pathlib import Path

ENTRY_POINTS = """[emr_plugins]
hostile = hostile_plugins:Hostile
hostile_apart = hostile_plugins:HostileApart
hostile_exits = hostile_exits:Exits
hostile_import = hostile_import:Nothing
hostile_old = hostile_plugins:Old
hostile_one = hostile_plugins:Twin
hostile_two = hostile_plugins:Unnamed
"""

REFUSED = {
    "hostile_exits": "it failed to load: SystemExit: 3",
    "hostile_import": "it failed to load: RuntimeError: no licence",
    "hostile_old": "it was written for version 0 of the plugin API; this is version 1",
    "hostile_one": "its decode takes (event) and must take (event, context)",
    "hostile_two": "its entry point is called hostile_two and its class another",
}
"""Those that must not run, and why."""


def install(folder: Path) -> None:
    """Put the package where Python and its entry points are found, as pip would."""
    for file in Path(__file__).parent.glob("hostile_*.py"):
        shutil.copy(file, folder)
    info = folder / "hostile_plugins-6.6.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-plugins\nVersion: 6.6.6\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
