"""The pytest plugin: the fixture `fake_daemon`. Installed with the package, and light until a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kcl_app.testing.daemon import FakeDaemon

OURS = {"kcl_app", "processors", "emr_plugins"}


@pytest.fixture
def fake_daemon() -> type[FakeDaemon]:
    """The class `FakeDaemon`: call it to get a stream and tables of the test's own.

    ``daemon = fake_daemon([MyPlugin()])``, then `daemon.send(…)`, `daemon.spans(…)`, `daemon.dead_letters()` and
    `daemon.assert_same_answer(…)`.
    """
    try:
        from kcl_app.testing.daemon import FakeDaemon
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in OURS:
            raise
        pytest.fail(
            f"fake_daemon needs the package {error.name}: pip install 'scheduling-kcl-app[testing]'",
            pytrace=False,
        )
    return FakeDaemon
