"""Plugins in processes of their own: the same answers, and nothing that they do there ends the one that asks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import psutil
import pytest

from emr_plugins.answers import Nonsense
from emr_plugins.api import Appointment, Change, Event, Item, Reject, Slot
from emr_plugins.breaker import Breakers, Policy
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.isolation.messages import MAX_ANSWER, framed, read_answer, read_frame, read_impact
from emr_plugins.registry import GROUP, Registry, discover
from emr_plugins.time_limit import TimeLimit
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision

MEMORY_MB = 150
DAY = date(2026, 3, 9)
P1 = ProviderKey("t", "acme", "p1")

PLUGIN = """
import ctypes, os, sys, time
from datetime import UTC, date, datetime, timedelta
from pydantic import BaseModel, field_validator
from emr_plugins.api import *

class Settings(BaseModel):
    color: str = "red"
    size: int = 1

    @field_validator("color")
    @classmethod
    def known(cls, value):
        if value not in ("red", "blue"):
            raise ValueError(f"{value} is no color")
        return value

class Acme(EmrPlugin):
    name = "acme"
    api_version = API_VERSION
    patterns = ({"kind": ["slot"]},)
    Settings = Settings

    def decode(self, event, context):
        what = event.data["do"]
        if what == "print":
            print("x" * 100_000)
            os.write(1, b"\\0" * 1000)
            sys.stdout.flush()
        elif what == "exit":
            os._exit(3)
        elif what == "sys.exit":
            sys.exit(4)
        elif what == "segfault":
            ctypes.string_at(0)
        elif what == "allocate":
            held = []
            while True:
                held.append(bytearray(1_000_000))
        elif what == "allocate at once":
            bytearray(10**10)
        elif what == "recurse":
            def again(n):
                return again(n + 1)
            again(0)
        elif what == "sleep":
            time.sleep(60)
        elif what == "sleep on":
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        elif what == "raise":
            raise KeyError(event.data["patient"])
        elif what == "reject":
            raise Reject("invalid_data", "do: not this, " + event.data["patient"])
        elif what == "garbage":
            return [42]
        elif what == "endless":
            return iter(int, 1)
        elif what == "much":
            return [ItemChange(str(n), Slot(status="free", start=datetime(2026, 3, 9, 14, tzinfo=UTC),
                end=datetime(2026, 3, 9, 15, tzinfo=UTC)), ("p1",)) for n in range(2000)]
        elif what == "environment":
            raise Reject("invalid_data", " ".join(sorted(os.environ)))
        elif what == "close":
            os.closerange(0, 100)
        elif what == "mutate":
            event.data["do"] = "mutated"
        body = Slot(status="free", start=datetime(2026, 3, 9, 14, tzinfo=UTC),
            end=datetime(2026, 3, 9, 15, tzinfo=UTC), location_id=f"{context.settings.color}-{context.zone}")
        return [ItemChange("s1", body, ("p1",), 7)]

    def impact(self, change, context):
        if change.new is None:
            return [EVERY_DAY]
        if change.old is not None:
            return [LocalDates(date(2026, 3, 9), date(2026, 3, 10))]
        return [Instants(change.new.body.start, change.new.body.end)]

    def spans(self, day, items, context):
        if len(items) > 1:
            os._exit(9)
        at = datetime(day.year, day.month, day.day, 14, tzinfo=UTC)
        return [Span(at, at + timedelta(hours=1), context.zone, ("a", "b"), len(items) + 1)]
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """The plugin above, as if it were installed."""
    (tmp_path / "acme_isolated.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return EntryPoint("acme", "acme_isolated:Acme", GROUP)


def host_of(registry: Registry, limit: TimeLimit | None = None, **given: Any) -> PluginHost:
    tenant = Tenant("America/New_York", {"acme": given} if given else {})
    return PluginHost(registry, lambda name: tenant, limit=limit)


@pytest.fixture
def isolated(acme: EntryPoint) -> PluginHost:
    """A host that runs it in a process of its own."""
    registry = discover(found=[acme], isolate={"acme": MEMORY_MB})
    assert not registry.refused
    return host_of(registry, TimeLimit(2, lambda: None))


def event(do: str = "well", **more: Any) -> Event:
    envelope = {"specversion": "1.0", "id": "e1", "source": "s", "time": "2026-01-01T00:00:00Z"}
    data = {"do": do, **more}
    return Event.model_validate({**envelope, "type": "x", "tenant": "t", "emr": "acme", "data": data})


def item(id_: str = "s1") -> Item:
    start = datetime(2026, 3, 9, 14, tzinfo=UTC)
    body = Slot(status="free", start=start, end=start + timedelta(hours=1))
    return Item(ItemKey("t", "acme", "slot", id_), ("p1",), Revision.of(1, start, "1"), body)


def rejected(host: PluginHost, do: str, **more: Any) -> Reject:
    with pytest.raises(Reject) as caught:
        host.decode(event(do, **more))
    return caught.value


def test_it_answers_as_it_does_in_the_same_process(acme: EntryPoint, isolated: PluginHost) -> None:
    inside = host_of(discover(found=[acme]))
    changes = [Change(None, item()), Change(item(), item()), Change(item(), None)]
    for host in (inside, isolated):
        (change,) = host.decode(event())
        assert (change.id, change.providers, change.version, change.kind) == ("s1", ("p1",), 7, "slot")
        assert change.body.location_id == "red-America/New_York"  # type: ignore[attr-defined]
    assert inside.decode(event()) == isolated.decode(event())
    for one in changes:
        asked = [host.impact(P1, lambda: "Asia/Tokyo", one) for host in (inside, isolated)]
        assert asked[0] == asked[1]
    assert isolated.impact(P1, lambda: "UTC", changes[2]) is None
    assert inside.spans(P1, "UTC", DAY, [item()]) == isolated.spans(P1, "UTC", DAY, [item()])
    (span,) = isolated.spans(P1, "UTC", DAY, [item()])
    assert (span.location_id, span.service_types, span.capacity) == ("UTC", ("a", "b"), 2)
    appointment = Appointment(status="booked", start=span.start, end=span.end)
    other = Item(ItemKey("t", "acme", "appointment", "a"), ("p1",), item().revision, appointment)
    assert isolated.impact(P1, lambda: "UTC", Change(None, other)) == (), (
        "its patterns leave appointments out"
    )


def test_the_plugin_is_not_even_imported_here(isolated: PluginHost) -> None:
    sys.modules.pop("acme_isolated", None)
    isolated.decode(event())
    assert "acme_isolated" not in sys.modules


@pytest.mark.parametrize(
    ("do", "reason", "detail"),
    [
        (
            "exit",
            "plugin_failed",
            "plugin acme: decode ended its process (exit status 3; it may take 150 MB)",
        ),
        ("sys.exit", "plugin_failed", "plugin acme: decode raised SystemExit at acme_isolated.py:"),
        (
            "segfault",
            "plugin_failed",
            "plugin acme: decode ended its process (killed by SIGSEGV; it may take",
        ),
        ("allocate", "plugin_failed", "plugin acme: decode raised MemoryError at acme_isolated.py:"),
        ("allocate at once", "plugin_failed", "plugin acme: decode raised MemoryError at acme_isolated.py:"),
        ("recurse", "plugin_failed", "plugin acme: decode raised RecursionError at acme_isolated.py:"),
        ("raise", "plugin_failed", "plugin acme: decode raised KeyError at acme_isolated.py:"),
        ("reject", "invalid_data", "do: not this, "),
        ("garbage", "plugin_nonsense", "plugin acme: decode returned something other than ItemChange"),
        ("endless", "too_large", "the event changes more than 1000 items"),
        ("much", "too_large", "the event changes more than 1000 items"),
        ("close", "plugin_failed", "plugin acme: decode ended its process ("),
    ],
)
def test_what_goes_wrong_there_stays_there(isolated: PluginHost, do: str, reason: str, detail: str) -> None:
    for _ in range(2):
        reject = rejected(isolated, do, patient="Zq7marker")
        assert reject.reason == reason
        assert reject.detail.startswith(detail)
        assert "Zq7marker" not in reject.detail
        assert len(isolated.decode(event())) == 1, "the next call finds a process again"


@pytest.mark.parametrize("do", ["print", "mutate"])
def test_what_it_prints_or_changes_disturbs_no_answer(isolated: PluginHost, do: str) -> None:
    asked = event(do)
    assert isolated.decode(asked) == isolated.decode(event())
    assert asked.data == {"do": do}


@pytest.mark.parametrize("do", ["sleep", "sleep on"])
def test_one_that_hangs_is_killed_at_its_limit(isolated: PluginHost, do: str) -> None:
    assert rejected(isolated, do).reason == "plugin_timeout"
    assert len(isolated.decode(event())) == 1


@pytest.mark.parametrize("do", ["exit", "sleep"])
def test_the_time_of_its_import_is_nobodys_call(acme: EntryPoint, tmp_path: Path, do: str) -> None:
    """Else one that imports for longer than a call may take would never be there again once it has ended."""
    (tmp_path / "acme_isolated.py").write_text(PLUGIN + "\ntime.sleep(1.5)\n")
    host = host_of(discover(found=[acme], isolate={"acme": MEMORY_MB}), TimeLimit(1, lambda: None))
    for _ in range(2):
        assert rejected(host, do).reason in ("plugin_failed", "plugin_timeout")
        assert len(host.decode(event())) == 1


def test_one_that_does_not_load_any_more_is_set_aside_with_the_reason(
    acme: EntryPoint, tmp_path: Path
) -> None:
    host = host_of(discover(found=[acme], isolate={"acme": MEMORY_MB}), TimeLimit(2, lambda: None))
    (tmp_path / "acme_isolated.py").write_text("raise RuntimeError")
    assert rejected(host, "exit").reason == "plugin_failed"
    assert rejected(host, "well").detail.startswith(
        "plugin acme: decode could not be called: it failed to load: "
    )
    (tmp_path / "acme_isolated.py").write_text(PLUGIN)
    assert len(host.decode(event())) == 1


def test_spans_that_end_the_process_leave_other_days_alone(isolated: PluginHost) -> None:
    with pytest.raises(Reject) as caught:
        isolated.spans(P1, "UTC", DAY, [item("a"), item("b")])
    assert caught.value.reason == "plugin_failed"
    assert len(isolated.spans(P1, "UTC", DAY, [item()])) == 1


def test_one_that_keeps_exiting_is_suspended_as_any_other(acme: EntryPoint) -> None:
    registry = discover(found=[acme], isolate={"acme": MEMORY_MB})
    tenant = Tenant("UTC", {})
    breakers = Breakers(Policy(failures=2), time.monotonic, lambda: 0.0)
    host = PluginHost(registry, lambda name: tenant, breakers=breakers)
    for number in range(2):
        with pytest.raises(Reject) as caught:
            host.decode(event("exit").model_copy(update={"subject": f"p{number}"}))
        assert caught.value.reason == "plugin_failed"
    assert rejected(host, "well").reason == "plugin_suspended"


def test_it_has_nothing_of_the_workers_environment(acme: EntryPoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")
    monkeypatch.setenv("SCHEDULING_STREAM__NAME", "x")
    host = host_of(discover(found=[acme], isolate={"acme": MEMORY_MB}))
    named = rejected(host, "environment").detail.split()
    assert "PYTHONPATH" in named
    assert not [name for name in named if name.startswith(("AWS", "SCHEDULING"))]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"size": "big"}, "tenants.t.plugins.acme.size: Input should be a valid integer"),
        ({"color": "green"}, "tenants.t.plugins.acme.color: is not accepted"),
    ],
)
def test_settings_are_validated_at_the_start_by_its_own_model(
    acme: EntryPoint, given: dict[str, Any], said: str
) -> None:
    standard = EntryPoint("standard", "emr_plugins.standard:StandardPlugin", GROUP)
    for isolate in ({}, {"acme": MEMORY_MB}):
        host = host_of(discover(found=[acme, standard], isolate=isolate), **given)
        with pytest.raises(ValueError, match=said):
            host.check_settings(["t"])


def test_settings_get_there(acme: EntryPoint) -> None:
    host = host_of(discover(found=[acme], isolate={"acme": MEMORY_MB}), color="blue")
    (change,) = host.decode(event())
    assert change.body.location_id == "blue-America/New_York"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no licence')", "it failed to load: RuntimeError: no licence"),
        ("import os; os._exit(5)", "it failed to load: its process ended (exit status 5)"),
        ("bytearray(10**10)", "it failed to load: MemoryError: "),
        (PLUGIN.replace('"acme"', '"other"'), "its entry point is called acme and its class other"),
        (PLUGIN.replace("API_VERSION\n", "99\n"), "it was written for version 99 of the plugin API"),
        (
            PLUGIN.replace("decode(self, event,", "decode(self, message,"),
            "its decode takes (message, context)",
        ),
        (PLUGIN.replace('["slot"]', "[1, object()]"), "its patterns: "),
    ],
)
def test_one_that_does_not_load_or_fit_is_refused_with_the_reason(
    acme: EntryPoint, tmp_path: Path, source: str, reason: str
) -> None:
    (tmp_path / "acme_isolated.py").write_text(source)
    registry = discover(found=[acme], isolate={"acme": MEMORY_MB})
    assert not registry.plugins
    (refusal,) = registry.refused
    assert (refusal.name, refusal.reason[: len(reason)]) == ("acme", reason)


def test_isolating_what_is_not_installed_is_told() -> None:
    (refusal,) = discover(found=[], isolate={"acme": MEMORY_MB}).refused
    assert refusal.reason == "the settings isolate it, but no installed package has it"


def test_the_standard_rules_are_not_asked_for_over_there(acme: EntryPoint, tmp_path: Path) -> None:
    """A plugin that writes only `decode` costs no more than that."""
    source = PLUGIN[: PLUGIN.index("    def impact")].replace("(EmrPlugin)", "(StandardEnginePlugin)")
    (tmp_path / "acme_isolated.py").write_text(source)
    registry = discover(found=[acme], isolate={"acme": MEMORY_MB})
    assert registry.plugins["acme"].standard_impact
    assert registry.plugins["acme"].standard_spans
    assert len(host_of(registry).decode(event())) == 1


def processes_of_plugins(parent: int) -> list[psutil.Process]:
    return [one for one in psutil.Process(parent).children() if "emr_plugins.isolation" in one.cmdline()]


def test_it_ends_when_nobody_has_it_any_more(acme: EntryPoint) -> None:
    gc.collect()  # those of other tests
    before = processes_of_plugins(os.getpid())
    registry = discover(found=[acme], isolate={"acme": MEMORY_MB})
    (process,) = (one for one in processes_of_plugins(os.getpid()) if one not in before)
    del registry
    gc.collect()
    process.wait(10)


ASKER = """
import sys, time
from importlib.metadata import EntryPoint
from emr_plugins.registry import GROUP, discover
registry = discover(found=[EntryPoint("acme", "acme_isolated:Acme", GROUP)], isolate={"acme": 150})
print(registry.refused, flush=True)
time.sleep(60)
"""


def test_it_ends_with_the_process_that_asks_also_if_that_is_killed(acme: EntryPoint, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-c", ASKER], stdout=subprocess.PIPE, text=True, env=environment
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "[]\n"
        (process,) = processes_of_plugins(asker.pid)
        assert os.getpgid(process.pid) == process.pid, (
            "signals to the group of the worker's children pass it by"
        )
        asker.kill()
    process.wait(10)


def test_answers_are_read_as_data_and_nothing_else() -> None:
    bad: list[bytes] = [
        b"",
        b"[]",
        b"{}",
        b'{"ok":1,"a":2}',
        b'{"ok":[[1,2,3]]}',
        b'{"raised":"a\\nb"}',
        b"\x80\x05K\x01.",
    ]
    bad += [b'{"nonsense":["x"]}', b'{"reject":["a"]}', b'{"else":1}']
    for answer in bad:
        with pytest.raises(Nonsense, match="its process answered what cannot be read"):
            read_answer(answer, lambda rows: [low for low, _ in rows])
    for answer in (b'{"ok":[[1e999,2]]}', b'{"ok":[["a",2]]}', b'{"ok":{"a":1}}', b'{"ok":[[1,1e300]]}'):
        with pytest.raises(Nonsense, match="its process answered what cannot be read"):
            read_answer(answer, read_impact)


def test_an_answer_that_is_too_large_is_not_taken_in() -> None:
    head = framed(b"")[:0] + (MAX_ANSWER + 1).to_bytes(4, "big")
    asked: list[int] = []

    def read(length: int) -> bytes:
        asked.append(length)
        return head

    with pytest.raises(Nonsense, match="more than"):
        read_frame(read, MAX_ANSWER)
    assert asked == [4]


def test_frames_come_whole_however_they_are_cut() -> None:
    data = framed(b"abc" * 1000) + framed(b"")
    at = 0

    def read(length: int) -> bytes:
        nonlocal at
        part = data[at : at + min(length, 7)]
        at += len(part)
        return part

    assert read_frame(read) == b"abc" * 1000
    assert read_frame(read) == b""
    assert read_frame(read) is None
