"""All checks, by name, and a function that runs them outside of pytest."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from emr_plugins.api import EmrPlugin

from . import decoding, fitting
from .failures import Broken, NotApplicable
from .options import Options
from .samples import OPTIONS_FILE, REJECTS, BadSample, Sample, load, shipped
from .subject import Subject


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        name: as in ``test_NAME``.
        proves: what holds if it passes, in one line.
        run: raises `Broken`, or `NotApplicable`.
        always: whether it is made of a plugin that the registry refuses, too.
    """

    name: str
    proves: str
    run: Callable[[Subject], None]
    always: bool = False


CHECKS: tuple[Check, ...] = (
    Check("registers", "the worker's registry takes the plugin", fitting.registers, always=True),
    Check(
        "settings",
        "settings are a pydantic model that refuses what is wrong and can be pickled",
        fitting.settings,
    ),
    Check(
        "decodes_every_sample",
        "each sample is understood, and changes something",
        decoding.decodes_every_sample,
    ),
)


@dataclass(frozen=True)
class Result:
    """What a check came to.

    Attributes:
        name: the check's.
        proves: what holds if it passes.
        outcome: one of the three.
        message: why it failed, with how to mend it, or why it was skipped; else empty.
    """

    name: str
    proves: str
    outcome: Literal["passed", "failed", "skipped"]
    message: str = ""


def run(check: Check, subject: Subject) -> Result:
    """Make one check."""
    result = partial(Result, check.name, check.proves)
    try:
        if not check.always:
            fitting.require_fitting(subject)
        check.run(subject)
    except Broken as broken:
        return result("failed", str(broken))
    except NotApplicable as error:
        return result("skipped", str(error))
    return result("passed")


def subject_of(
    plugin: type[EmrPlugin] | EmrPlugin,
    samples: str | Path | Iterable[str | Path] | None,
    rejects: str | Path | Iterable[str | Path] | None,
    base: Path,
    options: Mapping[str, Any],
) -> Subject:
    """The plugin with its samples loaded; those that its package ships where none are named.

    Raises:
        BadSample: samples cannot be read.
        ValueError: there is no such option.
    """
    emr = str(getattr(plugin, "name", ""))
    given = dict(options)
    own = shipped(plugin if isinstance(plugin, type) else type(plugin)) if samples is None else None
    if own is not None:
        samples, base = "*", own
        if rejects is None and (own / REJECTS).is_dir():
            rejects = f"{REJECTS}/*"
        if (own / OPTIONS_FILE).is_file():
            given = {**tomllib.loads((own / OPTIONS_FILE).read_text(encoding="utf-8")), **given}
    found: list[Sample] = [] if samples is None else load(samples, base, emr)
    bad: list[Sample] = [] if rejects is None else load(rejects, base, emr)
    return Subject(plugin, found, bad, Options.of(given))


def check(
    plugin: type[EmrPlugin] | EmrPlugin,
    samples: str | Path | Iterable[str | Path] | None = None,
    *,
    rejects: str | Path | Iterable[str | Path] | None = None,
    **options: Any,
) -> list[Result]:
    """Make all checks of a plugin, without pytest.

    Args:
        plugin: its class, or an instance.
        samples: paths or glob patterns; if None those that its package ships in a folder ``conformance_samples``.
        rejects: the same, of messages that it must reject.
        options: as in `Options`.

    Returns:
        one result for each check, in order.

    Raises:
        BadSample: samples cannot be read; says which and why.
        ValueError: there is no such option.
    """
    subject = subject_of(plugin, samples, rejects, Path.cwd(), options)
    return [run(one, subject) for one in CHECKS]


__all__ = ["CHECKS", "BadSample", "Check", "Result", "check", "run", "subject_of"]
