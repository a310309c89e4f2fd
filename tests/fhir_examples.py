"""HL7's official FHIR R4 examples (CC0), as `scripts/fetch_fhir_examples.py` leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / ".local" / "fhir" / "package"


def example(name: str) -> dict[str, Any]:
    """A resource of its own for each call.

    Args:
        name: of the file without its suffix, as ``Slot-example``.

    Raises:
        FileNotFoundError: the examples are not here yet; says how to get them.
    """
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run python scripts/fetch_fhir_examples.py")
    resource: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return resource
