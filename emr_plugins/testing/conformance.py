"""The base class of a plugin's conformance tests."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from emr_plugins.api import EmrPlugin

from .options import NAMES
from .samples import BadSample
from .subject import Subject
from .suite import CHECKS, run, subject_of

_BY_NAME = {check.name: check for check in CHECKS}


class EmrPluginConformance:
    """All that every plugin must keep to, as tests: derive from it in a test module, in a class named ``Test…``.

    Attributes:
        plugin: the plugin's class, or an instance.
        samples: paths or glob patterns of messages that it understands, relative to the test's file; if None those
            that its package ships in a folder ``conformance_samples``.
        rejects: the same, of messages that it must reject.

    The other attributes are those of `emr_plugins.testing.Options`.
    """

    plugin: ClassVar[Any]
    samples: ClassVar[str | Path | Iterable[str | Path] | None] = None
    rejects: ClassVar[str | Path | Iterable[str | Path] | None] = None

    settings: ClassVar[Mapping[str, Any]]
    time_zone: ClassVar[str]
    changes_nothing: ClassVar[Iterable[str]]
    patient_fields: ClassVar[Iterable[str]]
    not_patient_fields: ClassVar[Iterable[str]]
    decode_per_second: ClassVar[float]
    spans_per_second: ClassVar[float]
    call_seconds: ClassVar[float]
    runs: ClassVar[int]

    _subject: ClassVar[Subject | None] = None

    @classmethod
    def _looked_at(cls) -> Subject:
        """The plugin and its samples, loaded once for each class."""
        known = cls.__dict__.get("_subject")
        if known is None:
            plugin: type[EmrPlugin] | EmrPlugin | None = getattr(cls, "plugin", None)
            if plugin is None:
                raise BadSample(f"{cls.__name__} names no plugin: plugin = MyPlugin")
            file = getattr(sys.modules.get(cls.__module__), "__file__", None)
            base = Path(file).parent if file else Path.cwd()
            given = {name: getattr(cls, name) for name in NAMES if hasattr(cls, name)}
            known = cls._subject = subject_of(plugin, cls.samples, cls.rejects, base, given)
        return known

    def _check(self, name: str) -> None:
        __tracebackhide__ = True
        import pytest  # here, since whoever calls `check` needs none

        try:
            result = run(_BY_NAME[name], self._looked_at())
        except ValueError as error:
            pytest.fail(str(error), pytrace=False)
        if result.outcome == "failed":
            pytest.fail(result.message, pytrace=False)
        if result.outcome == "skipped":
            pytest.skip(result.message)

    def test_registers(self) -> None:
        """The worker's registry takes the plugin."""
        __tracebackhide__ = True
        self._check("registers")

    def test_settings(self) -> None:
        """Settings are validated, and can be pickled."""
        __tracebackhide__ = True
        self._check("settings")

    def test_decodes_every_sample(self) -> None:
        """Each sample is understood, and changes something."""
        __tracebackhide__ = True
        self._check("decodes_every_sample")

    def test_rejects_bad_input(self) -> None:
        """What is no message is rejected with a reason, and nothing else is ever raised."""
        __tracebackhide__ = True
        self._check("rejects_bad_input")

    def test_rejects_quote_nothing(self) -> None:
        """What a reject says holds nothing of the message."""
        __tracebackhide__ = True
        self._check("rejects_quote_nothing")

    def test_keeps_patients_out(self) -> None:
        """What names a patient gets into no item."""
        __tracebackhide__ = True
        self._check("keeps_patients_out")

    def test_changes_no_argument(self) -> None:
        """The event, the items and the settings stay as they are."""
        __tracebackhide__ = True
        self._check("changes_no_argument")

    def test_same_answer_again(self) -> None:
        """The same arguments give the same answer, whatever was asked before."""
        __tracebackhide__ = True
        self._check("same_answer_again")

    def test_same_answer_in_another_process(self) -> None:
        """So they do with another seed of hashes and in another time zone of the machine."""
        __tracebackhide__ = True
        self._check("same_answer_in_another_process")

    def test_asks_nobody(self) -> None:
        """No clock, no random numbers, no files, no network, no environment, and no waiting."""
        __tracebackhide__ = True
        self._check("asks_nobody")

    def test_impact_answers(self) -> None:
        """Impact answers for what comes, changes and goes."""
        __tracebackhide__ = True
        self._check("impact_answers")

    def test_spans_answer(self) -> None:
        """Spans answers for every day, whatever items it has, with spans whose times are aware."""
        __tracebackhide__ = True
        self._check("spans_answer")

    def test_order_of_items(self) -> None:
        """The order of the items that spans gets does not matter."""
        __tracebackhide__ = True
        self._check("order_of_items")

    def test_spans_sorted_and_apart(self) -> None:
        """Spans are sorted, and those of one offer do not overlap."""
        __tracebackhide__ = True
        self._check("spans_sorted_and_apart")

    def test_spans_in_the_local_day(self) -> None:
        """Spans lie within the provider's local date."""
        __tracebackhide__ = True
        self._check("spans_in_the_local_day")

    def test_days_when_clocks_change(self) -> None:
        """All that holds on days whose clocks jump, in many zones."""
        __tracebackhide__ = True
        self._check("days_when_clocks_change")

    def test_incremental_equals_full(self) -> None:
        """Days computed when impact says so equal all days computed anew."""
        __tracebackhide__ = True
        self._check("incremental_equals_full")

    def test_speed(self) -> None:
        """A core decodes and computes enough in a second."""
        __tracebackhide__ = True
        self._check("speed")
