"""The tutorial, command by command: its files are written, its commands run, and what it shows is what they print.

In a folder of its own and fresh virtual environments, as a stranger would, from a wheel of this project.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from pages import Block, blocks, prose
from wheels import offline, project_wheel, wheelhouse

from kcl_app.settings import PROJECT_ROOT

TUTORIAL = PROJECT_ROOT / "docs" / "plugins.md"
STEPS = [block for block in blocks(TUTORIAL) if block.words]
END = "~~~ end of step"

pytestmark = pytest.mark.timeout(1500)


@dataclass(frozen=True)
class Command:
    """A command of the page, what it shows as its output, and the line of its block."""

    text: str
    shown: tuple[str, ...]
    line: int

    @property
    def fails(self) -> bool:
        """Whether what it shows is a failed check, a reject or an error: then its status is not 0."""
        return any("✗" in line or '"reason"' in line or line.startswith("kcl-app: ") for line in self.shown)


def is_file(block: Block) -> bool:
    return len(block.words) == 2


def commands(block: Block) -> list[Command]:
    """The commands of a console block: each begins with a dollar sign, and its output follows."""
    found: list[Command] = []
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        first, *shown = part.splitlines()
        found.append(Command(first, tuple(shown), block.line))
    return found


ALL = [one for block in STEPS if block.words == ("console",) for one in commands(block)]


def script() -> str:
    """One shell script of the whole page, since folders and environments stay from command to command."""
    lines = ["exec 2>&1"]
    for block in STEPS:
        if is_file(block):
            lines.append(f"printf %s {shlex.quote(block.text)} > {block.words[1]} || exit 1")
        for command in commands(block) if block.words == ("console",) else []:
            lines += [command.text, f"echo '{END}' $?"]
    return "\n".join(lines) + "\n"


def pattern(shown: tuple[str, ...]) -> re.Pattern[str]:
    """What a command's output must match: a line of dots is any number of lines, dots within one are any characters."""
    parts = []
    for line in shown:
        if line == "…":
            parts.append(r"(?:[^\n]*\n)*")
        else:
            parts.append("[^\n]*".join(re.escape(piece) for piece in line.rstrip().split("…")) + r" *\n")
    return re.compile("".join(parts))


def test_a_page_shows_commands_and_files_and_nothing_else() -> None:
    """So that nothing on it goes untried."""
    assert ALL
    for block in blocks(TUTORIAL):
        assert is_file(block) or block.words == ("console",), block
        assert is_file(block) or block.text.startswith("$ "), block
        # The name of a file is no part of what a reader sees of a block.
        assert not is_file(block) or f"`{block.words[1]}`" in prose(TUTORIAL), block


def test_every_command_of_the_tutorial_does_what_it_shows(tmp_path: Path) -> None:
    wheel = project_wheel(tmp_path / "project")
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-c", script()],
        cwd=folder, env=offline(wheelhouse(), wheel.parent), capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    outputs = re.findall(rf"(.*?){END} (\d+)\n", done.stdout, re.DOTALL)
    assert len(outputs) == len(ALL), done.stdout[-3000:]
    for command, (output, status) in zip(ALL, outputs, strict=True):
        assert (status != "0") == command.fails, f"$ {command.text}\nended with {status}:\n{output}"
        assert pattern(command.shown).fullmatch(output), (
            f"docs/plugins.md, the block at line {command.line}: $ {command.text}\nprinted:\n{output}\n"
            f"and not:\n" + "\n".join(command.shown)
        )
