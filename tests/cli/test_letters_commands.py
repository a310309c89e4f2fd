"""`dead-letters`, `recompute` and `replay` as a person calls them, on tables in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any
from unittest.mock import ANY

import pytest
from command_line import Done, event, run

from emr_plugins.api import Context, Item, Span
from emr_plugins.registry import Registry
from emr_plugins.standard import StandardPlugin
from kcl_app import wiring
from kcl_app.cli.dead_letters import readable
from kcl_app.cli.moments import moment, shown
from kcl_app.cli.progress import progress_of
from kcl_app.clock import Clock
from kcl_app.engine import recomputing
from kcl_app.engine.batch import BatchEngine, BatchResult
from kcl_app.engine.dead_letters import DeadLetters, Letter
from kcl_app.errors import UserError
from kcl_app.put import Outgoing
from kcl_app.settings import load
from kcl_app.stores.base import Table
from kcl_app.stores.memory import MemoryBlobs, MemoryStore
from kcl_app.stream.reader import Facts, Page, Shard
from processors.envelope import Event, Record

WEEK = {
    "weekly": [{"days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "start": "09:00", "end": "17:00"}]
}
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


class Made:
    """What stands for the cloud: tables, bucket and stream in memory."""

    def __init__(self) -> None:
        self.store, self.blobs = MemoryStore(), MemoryBlobs()
        self.sent: list[Outgoing] = []
        self.refuses = False

    def send_all(self, settings: Any, unsent: str) -> Callable[[Sequence[Outgoing]], None]:
        """Takes records, or none."""

        def send(records: Sequence[Outgoing]) -> None:
            if self.refuses:
                raise UserError(f"the stream takes no records; {unsent}")
            self.sent.extend(records)

        return send

    def letter(self, number: int, tenant: str | None = "t", **over: Any) -> None:
        """Set something aside; `number` is its place in the stream."""
        data = over.pop("data", b"{")
        envelope = None
        if tenant is not None:
            about = event(
                "x", {}, tenant=tenant, source=f"/tenants/{tenant}", emr=over.pop("emr", "standard")
            )
            data = json.dumps(about).encode()
            envelope = Event.model_validate_json(data)
        record = Record(data, str(number), 0, "key", NOW.timestamp())
        what = {"reason": "invalid_data", "detail": "data.id: is required", "origin": "shard-0"} | over
        DeadLetters(self.store, self.blobs, Clock()).send([Letter(record=record, event=envelope, **what)])

    def letters(self) -> list[dict[str, Any]]:
        """As `list` shows them to programs."""
        return run("dead-letters", "list", "--json").documents()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Commands of this test use it."""
    made = Made()
    monkeypatch.setattr(wiring, "store", lambda settings, observe=None, units=None: made.store)
    monkeypatch.setattr(wiring, "blobs", lambda settings: made.blobs)
    monkeypatch.setattr(wiring, "send_all", made.send_all)
    return made


def test_the_table_names_every_letter_and_counts_reasons(made: Made) -> None:
    for number in range(3):
        made.letter(number)
    made.letter(9, None, reason="not_json", detail="the record is not a JSON text")
    made.letter(10, provider="t#standard#p%231", days=("2026-03-09", "2026-03-11"), reason="plugin_failed")
    done = run("dead-letters", "list")
    assert done.status == 0
    assert "5 dead letters: 3 invalid_data, 1 not_json, 1 plugin_failed" in done.out
    assert "p#1: 2026-03-09…2026-03-11 (2)" in done.out
    for letter in made.letters():
        assert letter["id"] in done.out
    assert (
        run("dead-letters", "list", "--reason", "not_json").out.splitlines()[-1]
        == "1 dead letter: 1 not_json"
    )


def test_no_letters_is_no_table(made: Made) -> None:
    assert run("dead-letters", "list") == Done(0, "0 dead letters\n", "")
    assert run("dead-letters", "redrive", "--all") == Done(0, "no dead letters\n", "")


def test_filters(made: Made) -> None:
    made.letter(1)
    made.letter(2, "t2", reason="unknown_emr", emr="other")
    made.letter(3, "t%2", plugin="fhir_r4", reason="plugin_failed")
    made.letter(4, None)

    def numbers(*filters: str) -> list[str]:
        found = run("dead-letters", "list", "--json", *filters)
        assert found.status == 0
        return sorted(one["sequence_number"] for one in found.documents())

    assert numbers() == ["1", "2", "3", "4"]
    assert numbers("--tenant", "t") == ["1"], "no tenant's filter reaches another's"
    assert numbers("--tenant", "t%2") == ["3"]
    assert numbers("--tenant", "-") == [], "letters of nobody are no tenant's"
    assert numbers("--emr", "other") == ["2"]
    assert numbers("--plugin", "fhir_r4") == ["3"]
    assert numbers("--plugin", "standard") == ["1"], "by the EMR where the letter names no plugin"
    assert numbers("--reason", "unknown_emr", "--tenant", "t2") == ["2"]
    assert numbers("--since", "1h") == ["1", "2", "3", "4"]
    assert numbers("--until", "1h") == []
    assert numbers("--limit", "2").__len__() == 2


def test_the_newest_come_first_and_marks_of_attempts_and_what_has_expired_do_not_come(made: Made) -> None:
    for number in range(4):
        made.letter(number)
    table = made.store.tables[Table.DEAD_LETTERS]
    for number, row in enumerate(table["t"].values()):
        row["dead_at"] = f"2026-03-0{number + 1}T00:00:00+00:00"
    next(iter(table["t"].values()))["expires_at"] = 1
    table["#attempts"] = {"shard-0#1": {"pk": "#attempts", "sk": "shard-0#1", "write_version": "1"}}
    assert [one["sequence_number"] for one in made.letters()] == ["3", "2", "1"]
    assert run("dead-letters", "list", "--json", "--limit", "1").documents()[0]["sequence_number"] == "3"


def test_a_letter_is_named_by_the_beginning_of_its_id(made: Made) -> None:
    for number in range(40):
        made.letter(number)
    ids = [one["id"] for one in made.letters()]
    assert len(set(ids)) == 40
    done = run("dead-letters", "show", ids[0])
    assert done.status == 0
    assert "patient data" in done.err
    start = next(id_[0] for id_ in ids if sum(other.startswith(id_[0]) for other in ids) > 1)
    assert "give more of the id" in run("dead-letters", "show", start).line()
    assert run("dead-letters", "show", "nonsense").line() == "kcl-app: there is no dead letter nonsense"


def test_a_record_is_shown_to_be_read_and_whole(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.letter(1, None, data=b'{"a":"\\u001b[2J","b":[1.50]}')
    made.letter(2, None, data="naïve\x1b]0;x\x07 text".encode())
    made.letter(3, None, data=b"\xff\x00")
    made.letter(4, None, data=b"y" * 400_000)
    made.letter(5, None, data=b"")
    by_number = {one["sequence_number"]: one["id"] for one in made.letters()}
    first = run("dead-letters", "show", by_number["1"])
    assert '  "a": "\\u001b[2J"' in first.out
    for number in "1235":
        assert "\x1b" not in run("dead-letters", "show", by_number[number]).out
    assert "/wA=" in run("dead-letters", "show", by_number["3"]).out
    assert "y" * 400_000 in run("dead-letters", "show", by_number["4"]).out, "from the bucket"
    assert run("dead-letters", "show", "--raw", by_number["4"]).out == "y" * 400_000
    made.blobs.blobs.clear()
    assert "(gone)" in run("dead-letters", "show", by_number["4"]).out
    assert "has no record" in run("dead-letters", "show", "--raw", by_number["4"]).line()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"[" * 100_000, "of text, not JSON"),
        (b'{"n":' + b"9" * 10_000 + b"}", "of text, not JSON"),
        (b'{"n":1}', "of JSON"),
        (b"\xc3\x28", "in base64"),
    ],
)
def test_no_record_is_too_odd_to_be_shown(data: bytes, kind: str) -> None:
    said, lines = readable(data)
    assert kind in said
    assert lines


def test_redrive_and_drop_ask_what_is_meant_and_whether_it_is(made: Made) -> None:
    made.letter(1)
    for command in ("redrive", "drop"):
        for what in ([], ["--all", "--tenant", "t"]):
            done = run("dead-letters", command, *what, "--yes")
            assert (done.status, "say which letters" in done.line()) == (2, True)
        done = run("dead-letters", command, "--all")
        assert (done.status, "give --yes" in done.line()) == (2, True)
        done = run("dead-letters", command, "--reason", "nonsense", "--yes")
        assert (done.status, "no such reason" in done.line()) == (2, True)
    assert len(made.letters()) == 1
    assert made.sent == []


def test_redrive_puts_back_and_drops(made: Made) -> None:
    made.letter(1)
    made.letter(2)
    made.letter(3, "t2")
    done = run("dead-letters", "redrive", "--tenant", "t", "--yes")
    assert done == Done(0, "2 of 2 letters redriven: 2 events on the stream, 0 days recomputed\n", "")
    assert [json.loads(one.data)["sequence"] for one in made.sent] == [
        Record(b"", number).sequence() for number in ("1", "2")
    ]
    assert [one["tenant"] for one in made.letters()] == ["t2"]


def test_what_stays_is_counted_with_why_and_the_status_is_1(made: Made) -> None:
    made.letter(1, provider="t#gone#p", days=("2026-03-09",), reason="plugin_failed", plugin="gone")
    done = run("dead-letters", "redrive", "--all", "--yes")
    assert (done.status, done.err) == (1, "kcl-app: 1 stays: no plugin gone runs here\n")
    made.letter(2)
    made.refuses = True
    done = run("dead-letters", "redrive", "--reason", "invalid_data", "--yes")
    assert (done.status, done.err) == (
        1,
        "kcl-app: the stream takes no records; their letters stay; run it again\n",
    )
    assert len(made.letters()) == 2


def test_a_letter_that_the_filters_pass_over_is_not_said_to_be_gone(made: Made) -> None:
    made.letter(1)
    (id_,) = [one["id"] for one in made.letters()]
    for filters in (("--reason", "not_json"), ("--tenant", "t2")):
        done = run("dead-letters", "drop", id_[:6], *filters, "--yes")
        assert (done.status, done.line()) == (1, f"kcl-app: the filters pass over the dead letter {id_[:6]}")
    assert len(made.letters()) == 1


def test_a_span_of_time_that_ends_before_it_begins_is_refused(made: Made) -> None:
    for command in ("list", "redrive", "drop"):
        done = run("dead-letters", command, "--since", "2h", "--until", "3d")
        assert (done.status, done.line()) == (2, "kcl-app: --since is after --until")


def interrupt_at(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, call: int) -> None:
    """Press Ctrl-C at a certain call of a function."""
    function, calls = getattr(where, name), count(1)

    def interrupted(*arguments: Any, **more: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **more)

    monkeypatch.setattr(where, name, interrupted)


@pytest.mark.parametrize("command", ["redrive", "drop"])
def test_ctrl_c_says_how_many_letters_are_done_and_the_others_are_there(
    made: Made, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for number in range(5):
        made.letter(number)
    interrupt_at(monkeypatch, made.store, "delete", 3)
    done = run("dead-letters", command, "--all", "--yes")
    said = "kcl-app: stopped: 2 of 5 dead letters are done; the others are still there: run it again"
    assert (done.status, done.out, done.line()) == (130, "", said)
    assert len(made.letters()) == 3
    assert run("dead-letters", command, "--all", "--yes").status == 0
    assert made.letters() == []


def test_ctrl_c_says_how_many_providers_are_computed(filled: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt_at(monkeypatch, recomputing, "recompute", 2)
    done = run("recompute", "--plugin", "standard", "--all-versions")
    assert (done.status, done.line()) == (
        130,
        "kcl-app: stopped: 1 of 2 providers are done; what is computed stays so; run it again for the others",
    )


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    with progress_of("dead letters", 30, monotonic=lambda: now[0]) as advance:
        for _ in range(30):
            now[0] += 1.0
            advance()
    assert capsys.readouterr().err.splitlines() == [
        f"kcl-app: dead letters: {number} of 30" for number in (10, 20, 30)
    ]


def test_numbers_and_their_words(made: Made) -> None:
    for number in range(3):
        made.letter(number)
    said = [run("dead-letters", "list", "--limit", limit).out.splitlines()[-1] for limit in "123"]
    counted = "3 dead letters: 3 invalid_data"
    assert said == [f"{counted}; the newest is shown", f"{counted}; the newest 2 are shown", counted]


def test_drop_takes_records_in_the_bucket_along(made: Made) -> None:
    made.letter(1, None, data=b"y" * 400_000)
    made.letter(2)
    assert len(made.blobs.blobs) == 1
    (id_,) = [one["id"] for one in made.letters() if one["tenant"] is None]
    assert run("dead-letters", "drop", id_, "--yes") == Done(0, "1 of 1 letter dropped\n", "")
    assert made.blobs.blobs == {}
    assert [one["tenant"] for one in made.letters()] == ["t"]


@pytest.mark.parametrize(("answer", "goes_on"), [("y", True), ("n", False), ("", False)])
def test_on_a_terminal_it_asks(answer: str, goes_on: bool) -> None:
    code = """
from kcl_app.cli.moments import confirm
from kcl_app.errors import UserError
try:
    confirm('Really?', yes=False)
except UserError as error:
    raise SystemExit(str(error))
print('went on')
"""
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        terminal.write(answer.encode() + b"\n")
        out, err = process.communicate(timeout=60)
    assert ("went on" in out) is goes_on
    assert "Really?" in err
    assert (process.returncode == 0) is goes_on
    assert ("nothing done" in err) is not goes_on


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("90s", NOW - timedelta(seconds=90)),
        ("2026-03-09T08:00:00-04:00", NOW),
        ("2026-03-09T12:00:00Z", NOW),
    ],
)
def test_points_in_time(text: str, wanted: datetime) -> None:
    assert moment(text, "--from", NOW) == wanted
    assert moment(shown(wanted.timestamp()), "--from", NOW) == wanted


@pytest.mark.parametrize(
    "text", ["", "2026-03-09", "2026-03-09T12:00:00", "h", "-2h", "2y", "999999w", "noon"]
)
def test_what_is_no_point_in_time(text: str) -> None:
    with pytest.raises(UserError, match=r"--from .*offset"):
        moment(text, "--from", NOW)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say whose days"),
        (("--provider", "p", "--plugin", "standard"), "--provider needs --tenant"),
        (
            ("--tenant", "t", "--emr", "fhir_r4", "--plugin", "standard"),
            "made by the plugin of the same name",
        ),
        (("--tenant", "t", "--all-versions"), "--all-versions needs --plugin"),
        (("--tenant", "t", "--from", "2026-03-09", "--to", "2026-03-08"), "--to is before --from"),
        (("--tenant", "t", "--from", "march"), "--from march: give a date as 2026-03-09"),
        (("--tenant", "t", "--to", "2026-02-30"), "--to 2026-02-30: give a date as 2026-03-09"),
    ],
)
def test_calls_of_recompute_that_are_wrong(made: Made, arguments: tuple[str, ...], said: str) -> None:
    done = run("recompute", *arguments)
    assert (done.status, said in done.line()) == (2, True)


def test_recompute_of_nobody_says_so(made: Made) -> None:
    assert run("recompute", "--tenant", "t", "--emr", "standard", "--provider", "p").line() == (
        "kcl-app: no provider p of tenant t (standard) is known; workers know one from its first event on"
    )
    assert "no plugin nonsense runs here" in run("recompute", "--plugin", "nonsense").line()


def working_hours(provider: str, tenant: str = "t") -> bytes:
    """An event."""
    data = {**WEEK, "id": f"wh-{provider}", "provider_id": provider}
    return json.dumps(event("working_hours", data, tenant=tenant, source=f"/tenants/{tenant}")).encode()


@pytest.fixture
def filled(made: Made) -> Made:
    """Two tenants with a provider each."""
    engine = wiring.engine_on(made.store, load())
    events = [working_hours("p1"), working_hours("p1", "t2")]
    engine.run([Record(data, str(number)) for number, data in enumerate(events)], "shard-0")
    return made


def test_recompute_counts_providers_and_days(filled: Made) -> None:
    before = {pk: dict(rows) for pk, rows in filled.store.tables[Table.SPANS].items()}
    done = run("recompute", "--tenant", "t")
    assert done == Done(0, "1 provider, 92 days: 92 fresh, 0 stale\n", "")
    after = filled.store.tables[Table.SPANS]
    assert after["t2#standard#p1"] == before["t2#standard#p1"], "another tenant's days"
    assert all(
        row["write_version"] != before["t#standard#p1"][day]["write_version"]
        for day, row in after["t#standard#p1"].items()
    )
    assert run("recompute", "--plugin", "standard").out == "0 providers, 0 days: 0 fresh, 0 stale\n"
    assert run("recompute", "--plugin", "standard", "--all-versions").out.startswith("2 providers, 184 days")
    assert run("recompute", "--tenant", "t", "--stale").out.startswith("0 providers")


def test_dates_that_no_provider_has_are_refused_with_those_that_are_kept(
    filled: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULING_TODAY", "2026-03-09")
    for dates in (("--from", "2027-03-09", "--to", "2027-03-10"), ("--to", "2026-03-01")):
        done = run("recompute", "--tenant", "t", *dates)
        assert (done.status, done.line()) == (
            2,
            "kcl-app: none of these days is kept: those from 2026-03-02 to 2026-06-08 are",
        )
    assert run("recompute", "--tenant", "t", "--from", "2026-06-08").status == 0
    assert run("recompute", "--tenant", "t", "--to", "2026-03-02").status == 0


class Sometimes(StandardPlugin):
    """Fails for every provider but one, while it is broken."""

    name = "sometimes"
    broken = True

    def spans(self, day: date, items: Sequence[Item], context: Context) -> Sequence[Span]:
        """Raise, or the standard answer."""
        if type(self).broken and not any(item.key.id == "wh-p30" for item in items):
            raise RuntimeError("no")
        return super().spans(day, items, context)


def test_a_plugin_that_keeps_failing_is_still_asked_for_each_provider(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker would suspend it, and set days aside for which it has an answer; here nobody else has to wait."""
    registry = Registry()
    for plugin in (StandardPlugin(), Sometimes()):
        registry.add(plugin, "tests", "1")
    monkeypatch.setattr(wiring, "registry", lambda settings: registry)
    monkeypatch.setenv("SCHEDULING_HORIZON", '{"days":3}')
    events = [
        json.dumps(
            event("working_hours", {**WEEK, "id": f"wh-p{n}", "provider_id": f"p{n:02d}"}, emr="sometimes")
        )
        for n in range(31)
    ]
    monkeypatch.setattr(Sometimes, "broken", False)
    wiring.engine_on(made.store, load()).run(
        [Record(data.encode(), str(number)) for number, data in enumerate(events)], "shard-0"
    )
    monkeypatch.setattr(Sometimes, "broken", True)
    done = run("recompute", "--tenant", "t")
    assert (done.status, done.out) == (1, "31 providers, 155 days: 5 fresh, 150 stale\n")
    assert "150 days are stale" in done.err
    assert {letter["reason"] for letter in made.letters()} == {"plugin_failed"}


class FakeReader:
    """A stream with two shards in memory."""

    def __init__(self, *records: Record) -> None:
        self.records = records

    def facts(self) -> Facts:
        """Kept for a day."""
        return Facts(86_400.0, 0.0)

    def shards(self) -> list[Shard]:
        """One after the other."""
        return [Shard("shard-0", ()), Shard("shard-1", ("shard-0",))]

    def oldest(self, shard: str) -> float | None:
        """Of the first alone."""
        return min((one.arrival for one in self.records), default=None) if shard == "shard-0" else None

    def read(self, shard: str, since: float) -> Iterator[Page]:
        """All at once."""
        if shard == "shard-0":
            found = [one for one in self.records if one.arrival >= since]
            yield Page(found, found[-1].arrival if found else None)


@pytest.fixture
def stream(made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets what is on the stream: events and how many seconds old each is."""

    def set_(*events: tuple[bytes, float]) -> None:
        now = datetime.now(UTC).timestamp()
        records = [Record(data, str(n), 0, "p", now - age) for n, (data, age) in enumerate(events)]
        monkeypatch.setattr(wiring, "stream_reader", lambda settings: FakeReader(*records))

    set_()
    return set_


def test_replay_says_what_it_read_and_what_became_of_it(made: Made, stream: Callable[..., None]) -> None:
    stream(
        (working_hours("p1"), 7000), (working_hours("p1"), 600), (working_hours("p1", "t2"), 500), (b"{", 60)
    )
    done = run("replay", "--from", "1h")
    assert done.status == 0
    assert done.out.splitlines() == [
        "3 records read, 3 run: 2 applied, 1 rejected",
        "1 set aside: not_json",
        "2 providers, 184 days: 184 fresh, 0 stale",
    ]
    assert "oldest record" not in done.err
    assert len(made.letters()) == 1
    done = run("replay", "--from", "1h", "--to", "2m", "--tenant", "t2", "--tenant", "t3")
    assert done.out.splitlines()[0] == "2 records read, 1 run: 1 replayed"


def test_a_replay_that_finds_nothing_of_a_tenant_says_so(made: Made, stream: Callable[..., None]) -> None:
    stream((working_hours("p1"), 600))
    done = run("replay", "--from", "1h", "--tenant", "zzz")
    assert done.status == 1
    assert done.out.splitlines()[0] == "1 record read, 0 run"
    assert done.err.splitlines()[-1] == "kcl-app: none of the records read is of tenant zzz"


def test_a_record_that_ends_the_command_is_found_and_skipped(
    made: Made, stream: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream((working_hours("p1"), 600), (working_hours("deadly"), 500), (working_hours("p2"), 400))
    engine_runs = BatchEngine.run

    def ends(engine: BatchEngine, records: Sequence[Record], origin: str) -> BatchResult:
        """As far as anybody can tell the process is gone: nothing after this is done or said."""
        if any(b"deadly" in record.data for record in records):
            raise SystemExit(9)
        return engine_runs(engine, records, origin)

    monkeypatch.setattr(BatchEngine, "run", ends)
    assert run("replay", "--from", "1h") == Done(9, "", ANY)
    done = run("replay", "--from", "1h", "--one-by-one")
    assert done.status == 9
    place = done.err.splitlines()[-1].removeprefix("kcl-app: trying ")
    assert place == "shard-0:1"
    done = run("replay", "--from", "1h", "--skip", place)
    assert done.status == 0
    assert done.out.splitlines()[0] == "3 records read, 1 skipped, 2 run: 1 applied, 1 replayed"


@pytest.mark.parametrize("text", ["", "shard-0", "shard-0:x", ":1", "shard-0:1:2:3", "shard-0:1:"])
def test_what_is_no_place_of_a_record(made: Made, stream: Callable[..., None], text: str) -> None:
    done = run("replay", "--from", "1h", "--skip", text)
    assert (done.status, done.line()) == (
        2,
        f"kcl-app: --skip {text}: give SHARD:SEQUENCE, as --one-by-one names it",
    )


def test_replay_says_where_the_stream_begins(made: Made, stream: Callable[..., None]) -> None:
    assert "warning: the stream holds no records" in run("replay", "--from", "2h").err
    stream((working_hours("p1"), 600))
    said = run("replay", "--from", "2h").err
    assert "warning: the oldest record of the stream is of 20" in said
    done = run("replay", "--from", "25h")
    assert (done.status, "the stream keeps 24 hours" in done.line()) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--from", "2099-01-01T00:00:00Z"), "--from has not come yet"),
        (("--from", "1h", "--to", "2099-01-01T00:00:00Z"), "--to has not come yet"),
        (("--from", "1h", "--to", "2h"), "--from is after --to"),
        (("--from", "yesterday"), "give a time with its offset"),
        (("--from", "1h", "--shard", "shard-9"), "the stream has no shard shard-9; it has shard-0, shard-1"),
    ],
)
def test_calls_of_replay_that_are_wrong(
    made: Made, stream: Callable[..., None], arguments: tuple[str, ...], said: str
) -> None:
    stream((working_hours("p1"), 6000))
    done = run("replay", *arguments)
    assert (done.status, said in done.line()) == (2, True)


def test_ctrl_c_ends_a_replay_and_says_where_to_go_on(
    made: Made, stream: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream((working_hours("p1"), 600), (working_hours("p2"), 300))
    reader = wiring.stream_reader(load())

    def read(shard: str, since: float) -> Iterator[Page]:
        for record in FakeReader.read(reader, shard, since):  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGINT)
            yield record

    monkeypatch.setattr(reader, "read", read)
    monkeypatch.setattr(wiring, "stream_reader", lambda settings: reader)
    before = signal.getsignal(signal.SIGINT)
    done = run("replay", "--from", "1h")
    assert done.status == 130
    assert done.out.splitlines() == [
        "2 records read, 2 run: 2 applied",
        "2 providers, 184 days: 184 fresh, 0 stale",
    ]
    started = reader.records[1].arrival  # type: ignore[attr-defined]
    assert f"stopped; go on with --from {shown(started)}" in done.err
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_ends_at_once_and_says_to_begin_again(
    made: Made, stream: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream((working_hours("p1"), 600))
    reader = wiring.stream_reader(load())

    def read(shard: str, since: float) -> Iterator[Page]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        yield Page([], None)

    monkeypatch.setattr(reader, "read", read)
    monkeypatch.setattr(wiring, "stream_reader", lambda settings: reader)
    done = run("replay", "--from", "1h")
    assert done.status == 130
    assert done.out == ""
    assert "stopped before all was computed again; go on with --from 20" in done.err
