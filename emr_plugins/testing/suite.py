"""All checks, by name, and a function that runs them outside of pytest."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from emr_plugins.api import EmrPlugin

from . import bad_input, computing, decoding, fitting, incremental, patients, purity
from . import speed as speed_
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
    Check("settings", "settings are validated, and can be pickled", fitting.settings, always=True),
    Check(
        "decodes_every_sample",
        "each sample is understood, and changes something",
        decoding.decodes_every_sample,
    ),
    Check(
        "rejects_bad_input",
        "what is no message is rejected with a reason, and nothing else is ever raised",
        bad_input.rejects_bad_input,
    ),
    Check(
        "rejects_quote_nothing",
        "what a reject says holds nothing of the message",
        bad_input.rejects_quote_nothing,
    ),
    Check("keeps_patients_out", "what names a patient gets into no item", patients.keeps_patients_out),
    Check(
        "changes_no_argument",
        "the event, the items and the settings stay as they are",
        purity.changes_no_argument,
    ),
    Check(
        "same_answer_again",
        "the same arguments give the same answer, whatever was asked before",
        purity.same_answer_again,
    ),
    Check(
        "same_answer_in_another_process",
        "so they do with another seed of hashes and in another time zone of the machine",
        purity.same_answer_in_another_process,
    ),
    Check(
        "asks_nobody",
        "no clock, no random numbers, no files, no network, no environment, and no waiting",
        purity.asks_nobody,
    ),
    Check("impact_answers", "impact answers for what comes, changes and goes", computing.impact_answers),
    Check(
        "spans_answer",
        "spans answers for every day, whatever items it has, with spans whose times are aware",
        computing.spans_answer,
    ),
    Check(
        "order_of_items", "the order of the items that spans gets does not matter", computing.order_of_items
    ),
    Check(
        "spans_sorted_and_apart",
        "spans are sorted, and those of one offer do not overlap",
        computing.spans_sorted_and_apart,
    ),
    Check(
        "spans_in_the_local_day",
        "spans lie within the provider's local date",
        computing.spans_in_the_local_day,
    ),
    Check(
        "days_when_clocks_change",
        "all that holds on days whose clocks jump, in many zones",
        computing.days_when_clocks_change,
    ),
    Check(
        "incremental_equals_full",
        "days computed when impact says so equal all days computed anew",
        incremental.incremental_equals_full,
    ),
    Check("speed", "a core decodes and computes enough in a second", speed_.speed),
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
    own = shipped(plugin if isinstance(plugin, type) else type(plugin), emr) if samples is None else None
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
