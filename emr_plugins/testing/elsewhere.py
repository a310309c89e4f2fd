"""The same questions, put to the plugin in another process."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .answers_of import Question
from .subject import Subject, told

SECONDS = 120


class NoAnswer(Exception):  # noqa: N818
    """The other process ended without an answer; says what it said."""


class CannotBeAsked(Exception):  # noqa: N818
    """The plugin cannot be made in another process; says why."""


def answers_elsewhere(subject: Subject, asked: Sequence[Question], seed: int, zone: str) -> list[str]:
    """What the plugin answers there.

    Args:
        subject: the plugin.
        asked: the questions.
        seed: of Python's hashes.
        zone: the machine's time zone there.

    Raises:
        CannotBeAsked: it cannot be made there.
        NoAnswer: it could not be imported there, or ended the process, or took too long.
    """
    made_of = subject.given if isinstance(subject.given, type) else type(subject.given)
    if "<locals>" in made_of.__qualname__:
        raise CannotBeAsked(
            "its class is made within a function, where no other process finds it: define it in a module"
        )
    try:
        given = pickle.dumps((subject.given, subject.options, list(asked)))
    except Exception as error:
        raise CannotBeAsked(f"the plugin cannot be pickled: {told(error)}") from None
    module = sys.modules[made_of.__module__]
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        questions, answers = Path(folder, "questions"), Path(folder, "answers")
        questions.write_bytes(given)
        try:
            done = subprocess.run(
                [sys.executable, "-m", __package__, str(questions), str(answers), made_of.__module__,
                 str(getattr(module, "__file__", None) or "")],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                    "PYTHONHASHSEED": str(seed),
                    "TZ": zone,
                    "LC_ALL": "C",
                    "PYTHONUTF8": "1",
                },
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"has not answered all questions within {SECONDS} s") from None
        if done.returncode or not answers.is_file():
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["nothing"]
            raise NoAnswer(f"ends it with status {done.returncode}, and the words: {said[0][:300]}")
        found: list[str] = json.loads(answers.read_text(encoding="utf-8"))
    return found
