"""The ingress for files: what becomes of a line, and how records get to a stream that is slow or broken."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from siu_messages import aip, booking

from kcl_app import wiring
from kcl_app.errors import UserError
from kcl_app.ndjson import Line, read_lines
from kcl_app.put import (
    MAX_CALL_BYTES,
    Batch,
    Outgoing,
    Retries,
    Sender,
    Sent,
    Sequencer,
    lane_of,
    patched,
    prepare,
    put_lines,
)
from kcl_app.settings import Settings, load
from processors.envelope import Event, Limits, read_event
from processors.errors import Reject

LIMITS = Limits()
NO_WAIT = Retries(attempts=4, base=0, cap=0)


def event(n: int = 1, **over: Any) -> dict[str, Any]:
    made = {
        "specversion": "1.0", "id": f"e{n}", "source": "/tenants/t", "type": "appointment",
        "time": "2026-03-02T10:00:00Z", "tenant": "t", "emr": "standard", "subject": f"p{n % 7}",
        "data": {"id": f"a{n}"}, **over,
    }  # fmt: skip
    return {key: value for key, value in made.items() if value is not None}


def line(content: dict[str, Any] | str | bytes, number: int = 1) -> Line:
    text = json.dumps(content) if isinstance(content, dict) else content
    return Line(number, text if isinstance(text, bytes) else text.encode())


def no_providers(_: Event) -> Sequence[str]:
    return ()


def naming(*providers: str) -> Callable[[Event], Sequence[str]]:
    return lambda _: providers


def sequencer() -> Sequencer:
    return Sequencer(lambda: 1000)


class FakeKinesis:
    """Takes PutRecords calls; `answers` are played first: an exception, or the places to refuse with a code."""

    def __init__(self, *answers: Exception | dict[int, str]) -> None:
        self.answers = list(answers)
        self.calls: list[list[dict[str, Any]]] = []
        self.taken: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        with self._lock:
            self.calls.append(Records)
            answer = self.answers.pop(0) if self.answers else {}
            if isinstance(answer, Exception):
                raise answer
            self.taken += [record for place, record in enumerate(Records) if place not in answer]
        return {
            "FailedRecordCount": len(answer),
            "Records": [
                {"ErrorCode": answer[place], "ErrorMessage": "no"}
                if place in answer
                else {"SequenceNumber": "1"}
                for place in range(len(Records))
            ],
        }


def client_error(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutRecords",
    )


def sending(client: FakeKinesis, *, lanes: int = 1, settings: Settings | None = None) -> Sender:
    return Sender(client, settings or load(), "s", lanes=lanes, retries=NO_WAIT)  # type: ignore[arg-type]


def put_all(client: FakeKinesis, lines: list[Line], lanes: int = 1) -> tuple[Sent, list[tuple[int, Reject]]]:
    refused: list[tuple[int, Reject]] = []
    sent = put_lines(
        lines, sending(client, lanes=lanes), LIMITS, no_providers, lambda n, why: refused.append((n, why))
    )
    return sent, refused


# Lines


def test_blank_lines_are_passed_over_and_numbers_count_them() -> None:
    lines = list(read_lines(io.BytesIO(b'\n{"a":1}\r\n   \n\n{"b":2}'), 100))
    assert lines == [Line(2, b'{"a":1}'), Line(5, b'{"b":2}')]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_too_long_is_read_past_and_the_next_is_found(end: bytes) -> None:
    data = b"x" * 10 + end if end else b""
    data += b"y" * 5_000_000 + b"\nz"
    found = list(read_lines(io.BytesIO(data), 10))
    assert found[-2:] == [Line(2 if end else 1, None), Line(3 if end else 2, b"z")]
    assert not end or found[0] == Line(1, b"x" * 10)


# Stamps and copies


def test_sequences_sort_as_strings_even_where_the_clock_stands_still_or_steps_back() -> None:
    ticks = iter([50, 50, 49, 10**18, 3])
    stamp = Sequencer(lambda: next(ticks))
    stamps = [stamp() for _ in range(5)]
    assert stamps == sorted(set(stamps))
    assert {len(one) for one in stamps} == {20}
    assert Sequencer()() > stamps[-1], "a later run goes on from the time"


def test_an_event_with_subject_and_sequence_travels_byte_for_byte() -> None:
    data = b'{ "specversion":"1.0","id":"1","source":"/s","type":"x","time":"2026-03-02T10:00:00Z",' \
        b'"tenant":"t","emr":"e","subject":"p","sequence":"7", "data": 1.10 }'  # fmt: skip
    (record,) = prepare(line(data), LIMITS, naming("q", "r"), sequencer())
    assert record == Outgoing(1, "t#e#p", data)


def test_only_the_sequence_is_added_and_everything_else_keeps_its_text() -> None:
    extra = '"ext":1.10,"big":123456789012345678901234567890,"nested":{"a":[1.0e3,"\\u00fc \\"x\\""]}'
    text = json.dumps(event())[:-1] + "," + extra + "}"
    (record,) = prepare(line(text), LIMITS, no_providers, sequencer())
    sent = record.data.decode()
    assert extra in sent
    assert json.loads(sent) == {**json.loads(text), "sequence": "00000000000000001000"}


def test_an_event_without_subject_goes_once_to_every_provider_with_one_sequence_and_its_own_id() -> None:
    records = prepare(line(event(9, subject=None)), LIMITS, naming("p#1", "é/2", "p#1"), sequencer())
    events = [read_event(record.data, LIMITS) for record in records]
    assert [(e.id, e.subject) for e in events] == [("e9#p%231", "p#1"), ("e9#%C3%A9%2F2", "é/2")]
    assert {e.sequence for e in events} == {"00000000000000001000"}
    assert [record.partition_key for record in records] == ["t#standard#p%231", "t#standard#%C3%A9%2F2"]


def test_one_provider_becomes_the_subject_and_the_id_stays() -> None:
    (record,) = prepare(line(event(9, subject=None)), LIMITS, naming("p1"), sequencer())
    sent = read_event(record.data, LIMITS)
    assert (sent.id, sent.subject, record.partition_key) == ("e9", "p1", "t#standard#p1")


def test_a_message_that_names_nobody_is_sent_as_it_is_for_the_worker_to_judge() -> None:
    (record,) = prepare(line(event(9, subject=None)), LIMITS, no_providers, sequencer())
    assert read_event(record.data, LIMITS).subject is None
    assert record.partition_key == "t#standard#e9"


def test_a_null_subject_and_a_null_sequence_are_replaced_not_doubled() -> None:
    text = json.dumps(event())[:-1].replace('"subject": "p1", ', "") + ',"subject":null,"sequence":null}'
    (record,) = prepare(line(text), LIMITS, naming("p1"), sequencer())
    assert record.data.count(b'"subject"') == record.data.count(b'"sequence"') == 1
    assert read_event(record.data, LIMITS).subject == "p1"


def test_patching_keeps_the_last_of_members_with_one_name_as_readers_of_json_do() -> None:
    assert patched(b'{"a":1,"a":{"b":[]},"c":2}', {"c": "x"}) == b'{"a":{"b":[]},"c":"x"}'
    assert patched(b" { } ", {"c": "é"}) == patched(b"{ }", {"c": "é"}) == '{"c":"é"}'.encode()


def test_a_name_written_with_escapes_is_still_found() -> None:
    assert json.loads(patched(b'{"\\u0063":1,"b":2}', {"c": "x"})) == {"c": "x", "b": 2}
    assert patched(b'{"\\u0063":1,"b":2}', {"c": "x"}).count(b'"c"') == 1


@pytest.mark.parametrize("text", [b"[]", b'{"a":1', b'{"a" 1}', b'{"a":1,}', b"", b"\xff", b"{", b'{"a":}'])
def test_patching_what_is_no_object_is_a_reject(text: bytes) -> None:
    with pytest.raises(Reject, match="not_json"):
        patched(text, {"a": "x"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("not json: JANE", "not_json"),
        ("[]", "invalid_envelope"),
        (json.dumps(event(time=None)), "invalid_envelope"),
        (json.dumps(event(specversion="JANE")), "invalid_envelope"),
        (json.dumps(event(data="JANE" * 200_000)), "too_large"),
        (b'{"id": "\xff"}', "not_json"),
        (json.dumps(event(9, subject=None, id="i" * 510)), "invalid_envelope"),
    ],
)
def test_bad_lines_are_refused_with_number_and_reason_never_with_content(
    content: str | bytes, reason: str
) -> None:
    client = FakeKinesis()
    refused: list[str] = []
    sent = put_lines(
        [line(content, 3), line(event(), 4)],
        sending(client),
        LIMITS,
        naming("p1", "p2"),
        lambda number, why: refused.append(f"line {number}: {why}"),
    )
    assert sent == Sent(events=1, records=1, refused=1)
    assert refused[0].startswith(f"line 3: {reason}: ")
    assert "JANE" not in refused[0]


def test_what_would_be_too_large_with_its_stamp_is_refused() -> None:
    data = json.dumps(event(data="x" * 1000))
    with pytest.raises(Reject, match="too_large"):
        prepare(line(data), Limits(record_bytes=len(data) + 5), no_providers, sequencer())


# Batches and lanes


def test_a_batch_holds_500_records_or_5_mebibytes() -> None:
    batch = Batch()
    assert sum(batch.add(Outgoing(1, "k", b"x")) for _ in range(600)) == 500
    batch = Batch()
    taken = 0
    while batch.add(Outgoing(1, "key", b"x" * 997)):
        taken += 1
        assert taken <= 500
    big = Batch()
    count = sum(big.add(Outgoing(1, "k" * 24, b"x" * 1_000_000)) for _ in range(10))
    assert count == MAX_CALL_BYTES // 1_000_024


def test_everything_arrives_once_and_in_order_for_each_partition_key() -> None:
    client = FakeKinesis()
    sent, _ = put_all(client, [line(event(n), n) for n in range(1, 4001)], lanes=4)
    assert sent == Sent(events=4000, records=4000)
    assert all(len(call) <= 500 for call in client.calls)
    by_key: dict[str, list[int]] = {}
    for record in client.taken:
        by_key.setdefault(record["PartitionKey"], []).append(int(json.loads(record["Data"])["id"][1:]))
    assert sum(map(len, by_key.values())) == 4000
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    assert len({lane_of(key, 4) for key in by_key}) > 1


# Failures


def test_only_the_records_that_failed_are_sent_again_and_their_sequence_stays() -> None:
    client = FakeKinesis(
        {1: "ProvisionedThroughputExceededException", 3: "InternalFailure"}, {0: "InternalFailure"}
    )
    sent, _ = put_all(client, [line(event(n), n) for n in range(1, 6)])
    assert sent.records == 5
    assert [len(call) for call in client.calls] == [5, 2, 1]
    assert client.calls[1] == [client.calls[0][1], client.calls[0][3]]
    assert Counter(json.loads(record["Data"])["id"] for record in client.taken) == {
        f"e{n}": 1 for n in range(1, 6)
    }


@pytest.mark.parametrize(
    "error",
    [
        client_error("ProvisionedThroughputExceededException"),
        client_error("InternalFailure", 500),
        client_error("?", 503),
    ],
)
def test_a_throttled_or_failed_call_is_made_again(error: ClientError) -> None:
    client = FakeKinesis(error, error)
    sent, _ = put_all(client, [line(event())])
    assert (sent.records, len(client.calls)) == (1, 3)


def test_retries_end_and_the_error_says_from_which_line_on() -> None:
    client = FakeKinesis(
        *[client_error("ProvisionedThroughputExceededException") for _ in range(NO_WAIT.attempts)]
    )
    with pytest.raises(UserError, match=r"takes no records .* 4 times .* lines from 11 on may not") as caught:
        put_all(client, [line(event(n), 10 + n) for n in range(1, 6)])
    assert "\n" not in str(caught.value)
    assert len(client.calls) == 4


def test_getting_on_slowly_is_getting_on() -> None:
    """Each try takes one record of ten: more failures in all than are allowed in a row."""
    answers = [dict.fromkeys(range(1, 10 - tried), "InternalFailure") for tried in range(9)]
    sent, _ = put_all(FakeKinesis(*answers), [line(event(n), n) for n in range(10)])
    assert sent.records == 10


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            client_error("ResourceNotFoundException"),
            "there is no stream s at http://127.0.0.1:4566; run `kcl-app local start`",
        ),
        (client_error("UnrecognizedClientException"), "refuses these credentials"),
        (NoCredentialsError(), "no credentials"),
        (EndpointConnectionError(endpoint_url="u"), "cannot be reached; run `kcl-app local start`"),
        (client_error("ValidationException"), "ValidationException"),
        (RuntimeError("bug"), "sending failed: RuntimeError"),
    ],
)
def test_what_no_retry_mends_ends_it_with_one_line(error: Exception, message: str) -> None:
    client = FakeKinesis(error)
    with pytest.raises(UserError) as caught:
        put_all(client, [line(event(n), n) for n in range(1, 2001)])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pauses_grow_up_to_the_cap_and_are_random() -> None:
    retries = Retries(base=0.1, cap=5)
    for failures, most in [(1, 0.2), (3, 0.8), (10, 5), (2000, 5)]:
        pauses = [retries.pause(failures) for _ in range(50)] if failures < 1000 else [retries.pause(30)]
        assert all(0 <= pause <= most for pause in pauses)
    assert len({retries.pause(5) for _ in range(20)}) > 10


# The command


def kcl_app(
    *arguments: str, stdin: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kcl_app.cli.main", *arguments],
        input=stdin, capture_output=True, text=True, timeout=60, env=environment, check=False,
    )  # fmt: skip


def test_the_command_says_in_one_line_that_nothing_listens(
    private_settings: Callable[..., Settings], environment_of: Callable[[Settings], dict[str, str]]
) -> None:
    done = kcl_app("put", "-", stdin=json.dumps(event()), environment=environment_of(private_settings()))
    assert done.returncode == 1
    assert "cannot be reached; run `kcl-app local start`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_command_says_in_one_line_that_there_is_no_such_file(tmp_path: Path) -> None:
    done = kcl_app("put", str(tmp_path / "none"))
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize("as_bytes", [False, True], ids=["text", "bytes"])
def test_a_message_of_hl7_v2_is_sent_once_for_each_provider_that_it_names(as_bytes: bool) -> None:
    names = wiring.providers_of(Settings())
    text = booking(aip("d2^Roe"), aip("d3", {2: "D"}))
    data = (
        {"data": None, "data_base64": base64.b64encode(text.encode()).decode()}
        if as_bytes
        else {"data": text}
    )
    line = Line(1, json.dumps(event(type="SIU^S12", emr="hl7v2", subject=None, **data)).encode())
    sent = [read_event(one.data, LIMITS) for one in prepare(line, LIMITS, names, Sequencer(lambda: 7))]
    assert [(one.subject, one.id) for one in sent] == [("d1", "e1#d1"), ("d2", "e1#d2")]
    assert [names(one) for one in sent] == [["d1", "d2"]] * 2
