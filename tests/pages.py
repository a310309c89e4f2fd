"""The pages of the documentation, cut into prose and fenced blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """A fenced block: the words behind the fence, its text, and the line it starts on."""

    words: tuple[str, ...]
    text: str
    line: int

    def __str__(self) -> str:
        return f"{' '.join(self.words)} (line {self.line})"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        found.append(Block(tuple(match[1].split()), match[2], text.count("\n", 0, match.start()) + 1))
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
