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
