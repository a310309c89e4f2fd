"""Answers questions about a plugin in a process of its own: for `elsewhere`, which says what the arguments are."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import sys
from pathlib import Path


def main(questions: str, answers: str, module: str, file: str) -> None:
    """Import the plugin's module, by its file where its name is not found, and answer."""
    try:
        importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file) if file else None
        if spec is None or spec.loader is None:
            raise
        made = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
    from .answers_of import answer
    from .subject import Subject

    plugin, options, asked = pickle.loads(Path(questions).read_bytes())
    subject = Subject(plugin, options=options)
    given = [answer(subject, question, subject.fresh()) for question in asked]
    Path(answers).write_text(json.dumps(given), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
