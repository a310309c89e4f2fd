"""The fixture `fake_daemon`, as the author of a plugin in another package uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from kcl_app.settings import PROJECT_ROOT

PLUGIN = '''
import time

from emr_plugins.api import API_VERSION, Appointment, ItemChange, Reject, StandardEnginePlugin, WorkingHours

SEEN = []


class AcmePlugin(StandardEnginePlugin):
    name = "acme"
    api_version = API_VERSION

    def decode(self, event, context):
        data = event.payload()
        if "visit" not in data:
            raise Reject("invalid_data", "data.visit: is required")
        status = "cancelled" if data.get("off") else "booked"
        body = Appointment.model_validate({"status": status, "start": data["begins"], "end": data["ends"]})
        return [ItemChange(data["visit"], body, (data["doctor"],))]


class Forgetful(AcmePlugin):
    """Not pure: what it answers depends on how often it was asked."""

    def spans(self, day, items, context):
        SEEN.append(day)
        return super().spans(day, items, context) if len(SEEN) % 3 else ()


class Slow(AcmePlugin):
    def spans(self, day, items, context):
        time.sleep(60)


class SlowToDecode(AcmePlugin):
    def decode(self, event, context):
        while True:
            pass


class Failing(AcmePlugin):
    def spans(self, day, items, context):
        raise RuntimeError("no answer")
'''

TESTS = """
import pytest
from acme_plugin import AcmePlugin, Failing, Forgetful, Slow, SlowToDecode

HOURS = {"type": "working_hours", "data": {"id": "wh", "provider_id": "d1", "weekly": [
    {"days": ["mon", "tue", "wed", "thu", "fri"], "start": "09:00", "end": "12:00"}]}}


def visit(number, begins, ends, **more):
    times = {"begins": f"2026-03-09T{begins}:00Z", "ends": f"2026-03-09T{ends}:00Z"}
    return {"type": "visit", "data": {"visit": f"v{number}", "doctor": "d1", **times, **more}}


SAMPLES = [HOURS, visit(1, "09:00", "10:00"), visit(2, "11:00", "12:00"), visit(1, "10:00", "10:30"),
           visit(2, "11:00", "12:00", off=True), {"type": "visit", "data": {}}]


def times(spans):
    return [(span["start"][11:16], span["end"][11:16]) for span in spans]


def test_spans(fake_daemon):
    daemon = fake_daemon([AcmePlugin()])
    daemon.send(HOURS, visit(1, "09:00", "10:00"))
    assert times(daemon.spans("d1", "2026-03-09")) == [("10:00", "12:00")]
    daemon.send(visit(1, "09:00", "10:00", off=True))
    assert times(daemon.spans("d1", "2026-03-09")) == [("09:00", "12:00")]
    assert daemon.providers() == ["test#acme#d1"]
    with pytest.raises(LookupError, match="no document for test#acme#d2"):
        daemon.spans("d2", "2026-03-09")


def test_dead_letters(fake_daemon):
    daemon = fake_daemon([AcmePlugin()])
    daemon.send({"type": "visit", "data": {}, "id": "bad"}, b"{")
    found = {(one.reason, one.event_id) for one in daemon.dead_letters()}
    assert found == {("not_json", None), ("invalid_data", "bad")}
    assert daemon.providers() == []


def test_a_plugin_that_fails(fake_daemon):
    daemon = fake_daemon([Failing()], horizon_days=2)
    daemon.send(HOURS)
    assert daemon.day("d1", "2026-03-10").status == "stale"
    assert {one.reason for one in daemon.dead_letters()} == {"plugin_failed"}
    with pytest.raises(AssertionError, match="d1 on 2026-03-10 is stale: plugin_failed"):
        daemon.spans("d1", "2026-03-10")


def test_a_plugin_that_hangs(fake_daemon):
    daemon = fake_daemon([Slow()], horizon_days=1, call_seconds=0.2)
    daemon.send(HOURS)
    assert daemon.day("d1", "2026-03-09").reason.startswith("plugin_timeout: ")
    assert {one.reason for one in daemon.dead_letters()} == {"plugin_timeout"}
    with pytest.raises(AssertionError, match=r"^plugin acme: spans took more than 0.2 s: event event-1"):
        daemon.assert_same_answer([HOURS])


def test_a_plugin_that_hangs_on_an_event(fake_daemon):
    daemon = fake_daemon([SlowToDecode()], call_seconds=0.2)
    daemon.send(visit(1, "09:00", "10:00"))
    (letter,) = daemon.dead_letters()
    assert (letter.reason, letter.detail) == ("plugin_timeout", "plugin acme: decode took more than 0.2 s")
    with pytest.raises(AssertionError, match="^plugin acme: decode took more than 0.2 s: event event-1"):
        daemon.assert_same_answer([visit(1, "09:00", "10:00")])


def test_same_answer(fake_daemon):
    daemon = fake_daemon([AcmePlugin()], time_zone="America/New_York")
    daemon.assert_same_answer(SAMPLES, seeds=range(15))
    assert daemon.providers() == []


def test_what_is_not_pure_is_found(fake_daemon):
    with pytest.raises(AssertionError, match=r"(?s)seed \\d+: .*seeds=\\[\\d+\\]\\). What happened last"):
        fake_daemon([Forgetful()]).assert_same_answer(SAMPLES)


def test_a_plugin_that_does_not_fit(fake_daemon):
    class Old(AcmePlugin):
        api_version = 0

    with pytest.raises(ValueError, match="plugin acme is refused: it was written for version 0"):
        fake_daemon([Old()])
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a folder of its own, as the author of a plugin does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A plugin's package with its tests."""
    (tmp_path / "acme_plugin.py").write_text(PLUGIN)
    (tmp_path / "test_acme.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def test_the_author_of_a_plugin_gets_the_fixture_by_installing_this_package(package: Path) -> None:
    done = run_pytest(package)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "8 passed" in done.stdout


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = (PROJECT_ROOT / "docs" / "plugin-reference.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (plugin,) = [block for block in blocks if "class AcmePlugin" in block]
    (tests,) = [block for block in blocks if "fake_daemon" in block]
    (tmp_path / "acme_plugin.py").write_text(plugin)
    (tmp_path / "test_acme.py").write_text(tests)
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "2 passed" in done.stdout


def test_the_pytest_plugin_is_an_entry_point() -> None:
    (point,) = entry_points(group="pytest11", name="kcl_app")
    assert point.value == "kcl_app.testing.plugin"


def test_it_is_light_until_a_test_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\n\ndef test_light():\n"
        "    heavy = {'boto3', 'pydantic', 'structlog', 'prometheus_client', 'amazon_kclpy', 'kcl_app.engine'}\n"
        "    assert 'kcl_app.testing.plugin' in sys.modules\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-p", "no:hypothesispytest")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("missing", ["amazon_kclpy", "prometheus_client", "pydantic_settings"])
def test_without_the_extra_it_says_in_one_line_what_to_install(tmp_path: Path, missing: str) -> None:
    (tmp_path / "conftest.py").write_text(
        "import sys\n\n\nclass Missing:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] == {missing!r}:\n"
        f"            raise ModuleNotFoundError('No module named ' + name, name=name)\n\n\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it(fake_daemon):\n    pass\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    said = f"fake_daemon needs the package {missing}"
    (line,) = {
        line for line in done.stdout.splitlines() if said in line and not line.startswith(("ERROR", "FAILED"))
    }
    assert line.endswith("pip install 'scheduling-kcl-app[testing]'")
    assert "Traceback" not in done.stdout
