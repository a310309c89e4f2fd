"""The example plugin as a stranger's package: a wheel, put beside the worker by pip, its events among others'."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import event
from pipelines import Environment, PipelineWorker, differences, environment, ndjson, processed, wait_until
from wheels import built, offline, pip, venv_over_this, wheelhouse

from kcl_app import wiring
from kcl_app.engine.attempts import PARTITION
from kcl_app.settings import PROJECT_ROOT
from kcl_app.stores.base import Table
from processors.keys import ProviderKey

if TYPE_CHECKING:
    from conftest import StartCloud

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

PLUGIN = PROJECT_ROOT / "examples" / "athena-style-plugin"
START_SECONDS = 240.0
TENANTS = {
    "t": {
        "time_zone": "America/Chicago",
        "plugins": {
            "athena_style": {
                "departments": {"21": "America/New_York", "35": "America/Phoenix"},
                "service_types": {"82": "new-patient"},
            }
        },
    }
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the worker, and the plugin by pip."""
    folder = tmp_path_factory.mktemp("installed")
    found = venv_over_this(folder / "venv")
    sources = [path for path in PLUGIN.iterdir() if path.name not in ("build", "dist")]
    wheel = built(sources, folder / "athena")
    assert wheel.name == "athena_style_plugin-1.2.0-py3-none-any.whl"
    pip(found, "install", "--quiet", str(wheel), env=offline(wheelhouse()))
    return found


def kcl_app(python: Path, *arguments: str, env: Environment, status: int = 0) -> str:
    done = subprocess.run(
        [str(python), "-m", "kcl_app.cli.main", *arguments],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"{arguments} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_plugins_own_tests_pass_where_it_is_installed(python: Path, tmp_path: Path) -> None:
    """Outside of this project, so that nothing but what is installed is found."""
    done = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-c", str(PLUGIN / "setup.cfg"),
         "--rootdir", str(tmp_path), str(PLUGIN / "tests")],
        env=offline(), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    checked = kcl_app(python, "plugins", "check", "athena_style", "--json", env=offline())
    assert {one["outcome"] for one in json.loads(checked)} == {"passed"}


@pytest.fixture
def worker(python: Path, tmp_path: Path) -> Iterator[list[PipelineWorker]]:
    """The workers that the test starts; what is left of them is killed."""
    started: list[PipelineWorker] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.kill()


def of_the_feed(number: int, type_: str, data: dict[str, Any]) -> dict[str, Any]:
    at = f"2026-03-01T00:00:{number:02d}Z"
    return event(type_, data, emr="athena_style", id=f"a-{number}", time=at)


def slot(number: int, status: str, day: str, clock: str, **over: Any) -> dict[str, Any]:
    data = {
        "appointmentid": f"{number}", "appointmentstatus": status, "date": day, "starttime": clock, "duration": "60",
        "departmentid": "21", "providerid": "71", "appointmenttypeid": "82", "patientlastname": "Quartermain",
    }  # fmt: skip
    return {**data, **over}


FEED = [
    of_the_feed(1, "ProviderProfile", {"providerid": "71", "homedepartmentid": "21"}),
    # The Sunday on which New York's clocks go forward, at two.
    of_the_feed(2, "AppointmentChange", slot(1, "o", "03/08/2026", "01:30")),
    of_the_feed(3, "AppointmentChange", slot(2, "o", "03/08/2026", "09:00")),
    of_the_feed(4, "AppointmentChange", slot(3, "o", "03/08/2026", "10:00")),
    of_the_feed(5, "AppointmentChange", slot(3, "f", "03/08/2026", "10:00")),
    # Monday, with a block in the first slot; the second in Arizona, in the same hour.
    of_the_feed(6, "AppointmentChange", slot(4, "o", "03/09/2026", "09:00")),
    of_the_feed(7, "ProviderBlock", {
        "blockid": "1", "providerid": "71", "departmentid": "21", "date": "03/09/2026", "starttime": "09:15",
        "duration": "15"}),
    of_the_feed(8, "AppointmentChange", slot(5, "o", "03/09/2026", "06:00", departmentid="35", appointmenttypeid="9")),
    # Away on Tuesday.
    of_the_feed(9, "AppointmentChange", slot(6, "o", "03/10/2026", "09:00")),
    of_the_feed(10, "ProviderVacation", {
        "vacationid": "1", "providerid": "71", "firstdate": "03/10/2026", "lastdate": "03/10/2026"}),
    of_the_feed(11, "AppointmentChange", slot(7, "o", "03/11/2026", "09:00")),
    of_the_feed(12, "AppointmentChange", {"appointmentid": "7", "appointmentstatus": "x", "providerid": "71"}),
    # A late copy of the open slot that has been booked since.
    of_the_feed(4, "AppointmentChange", slot(3, "o", "03/08/2026", "10:00")),
    of_the_feed(13, "AppointmentChange", slot(8, "q", "03/11/2026", "09:00")),
]  # fmt: skip
OTHERS = [
    event("working_hours", {"id": "w", "provider_id": "s1", "version": 1, "time_zone": "UTC", "weekly": [
        {"days": ["mon"], "start": "09:00", "end": "12:00"}]}, id="s-1"),
    event("fhir", {"resourceType": "Slot", "id": "1", "schedule": {"reference": "Schedule/f1"}, "status": "free",
                   "start": "2026-03-09T14:00:00Z", "end": "2026-03-09T15:00:00Z"}, emr="fhir_r4", id="f-1"),
]  # fmt: skip


def test_its_events_become_spans_beside_the_other_plugins(
    cloud: StartCloud, python: Path, worker: list[PipelineWorker], tmp_path: Path
) -> None:
    settings = cloud(shards=2, today="2026-03-08", horizon={"days": 5}, tenants=TENANTS, any_tenant=False)
    env = environment(settings, tmp_path)
    (listed,) = (
        one for one in json.loads(kcl_app(python, "plugins", "list", "--json", env=env))
        if one["name"] == "athena_style"
    )  # fmt: skip
    assert (listed["state"], listed["distribution"], listed["version"]) == (
        "runs",
        "athena-style-plugin",
        "1.2.0",
    )
    events = ndjson(tmp_path / "events.ndjson", FEED + OTHERS)
    sent = kcl_app(python, "put", str(events), env=env)
    assert sent.startswith(f"sent {len(FEED + OTHERS)} events")

    one = PipelineWorker(env, tmp_path / "worker.log", [str(python), "-m", "kcl_app.cli.main"])
    worker.append(one)
    wait_until("all processed", lambda: processed([one]) >= len(FEED + OTHERS), [one], START_SECONDS)

    def spans(emr: str, provider: str) -> dict[str, list[tuple[str, ...]]]:
        pk = ProviderKey("t", emr, provider).pk()
        rows = (row for row in wiring.store(settings).scan(Table.SPANS) if row["pk"] == pk)
        found = {}
        for row in rows:
            assert (row["status"], row["plugin"]) == ("fresh", emr)
            made = json.loads(str(row["spans"]))
            if made:
                found[str(row["sk"])] = [
                    (s["start"][11:16], s["end"][11:16], *s["service_types"]) for s in made
                ]
        return found

    new = "new-patient"
    assert spans("athena_style", "71") == {
        "2026-03-08": [("06:30", "07:30", new), ("13:00", "14:00", new)],
        "2026-03-09": [
            ("13:00", "13:15", new), ("13:00", "13:15", "9"), ("13:30", "14:00", new), ("13:30", "14:00", "9"),
        ],
    }  # fmt: skip
    assert spans("standard", "s1") == {"2026-03-09": [("09:00", "12:00")]}
    assert spans("fhir_r4", "f1") == {"2026-03-09": [("14:00", "15:00")]}
    (letter,) = (row for row in wiring.store(settings).scan(Table.DEAD_LETTERS) if row["pk"] != PARTITION)
    assert (letter["reason"], letter["event_id"]) == ("invalid_data", "a-13")
    assert "data.appointmentstatus" in str(letter["detail"])
    items = list(wiring.store(settings).scan(Table.ITEMS))
    assert items
    assert "Quartermain" not in str(items)
    said = [json.loads(line) for line in kcl_app(
        python, "try", str(events), "--json", "--horizon", "5", env=env, status=1).splitlines()]  # fmt: skip
    wanted = {
        (ProviderKey(day["tenant"], day["emr"], day["provider_id"]).pk(), day["date"]): day["spans"]
        for day in said
    }
    assert differences(settings, wanted) == []
    assert one.stop() == 0
