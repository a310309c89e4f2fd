"""Runs `kcl-app` as a person would, in this process (quick) or in one of its own (nothing shared)."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from kcl_app.cli.main import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    def documents(self) -> list[dict[str, Any]]:
        """The lines on stdout as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    def rejects(self) -> list[dict[str, Any]]:
        """The lines on stderr as JSON."""
        return [json.loads(line) for line in self.err.splitlines()]

    def line(self) -> str:
        """The one line on stderr; that it is one, and that nothing is on stdout, is checked."""
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line


def run(*arguments: str, stdin: bytes | str = b"") -> Done:
    """`kcl-app` with these arguments; what it does not catch itself is raised here, so a traceback fails the test."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    out, err = io.BytesIO(), io.BytesIO()
    status = 0
    with (
        patch.object(sys, "argv", ["kcl-app", *arguments]),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")),
        patch.object(sys, "stdout", io.TextIOWrapper(out, encoding="utf-8", write_through=True)),
        patch.object(sys, "stderr", io.TextIOWrapper(err, encoding="utf-8", write_through=True)),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return Done(status, out.getvalue().decode(), err.getvalue().decode())


def run_alone(*arguments: str, stdin: bytes | str = b"", **environment: str) -> Done:
    """The same in a process of its own, with these variables over the environment."""
    import os

    done = subprocess.run(
        [sys.executable, "-m", "kcl_app.cli.main", *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def event(type_: str, data: Any, **over: Any) -> dict[str, Any]:
    """An event of tenant ``t`` in the standard format."""
    envelope = {"specversion": "1.0", "id": "e1", "source": "/tenants/t", "time": "2026-01-01T00:00:00Z"}
    return {**envelope, "tenant": "t", "emr": "standard", "type": type_, "data": data, **over}


def lines(*events: Any) -> str:
    """Events as NDJSON; texts are lines as they are."""
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in events)
