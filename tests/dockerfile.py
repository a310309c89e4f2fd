"""The Dockerfile, read as far as the tests want it: its stages, and the instructions of each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from kcl_app.settings import PROJECT_ROOT


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        base: what it is made from.
        name: what others call it.
        instructions: each instruction in capitals, and its text.
    """

    base: str
    name: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, instruction: str) -> list[str]:
        """The texts of all instructions of a kind."""
        return [text for kind, text in self.instructions if kind == instruction]

    def words(self, instruction: str) -> list[str]:
        """The one instruction of a kind, which is written as a JSON list."""
        (text,) = self.all(instruction)
        return [str(word) for word in json.loads(text[text.index("[") :])]


def stages() -> list[Stage]:
    """All stages, in order."""
    text = (PROJECT_ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, text.splitlines()):
        kind, _, rest = line.partition(" ")
        if kind == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name, ()))
        else:
            last = found.pop()
            found.append(Stage(last.base, last.name, (*last.instructions, (kind, " ".join(rest.split())))))
    return found
