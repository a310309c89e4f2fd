"""Checks of what `decode` does with messages that are wrong: items or a Reject, and nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from emr_plugins.api import Event, Reject
from emr_plugins.host import REASONS_OF_INPUT

from .failures import Broken, NotApplicable, shown
from .mutants import GARBAGE, at, mutants, paths, replaced, words
from .subject import Subject

_SAMPLES = 8
_RULE = (
    "a message that cannot be understood raises Reject with a reason that says which field is wrong, and nothing else "
    "is ever raised"
)
_MEND = (
    'check each field before you use it (a pydantic model of the message does), and raise Reject("invalid_data", '
    '"data.field: what it must be") from None for what is wrong'
)
CANARY = "Zqwyx"
_NUMBER = 918273645


def with_data(event: Event, data: Any) -> Event:
    """An event with another message."""
    if isinstance(data, bytes):
        return event.model_copy(update={"data": None, "data_base64": base64.b64encode(data).decode("ascii")})
    return event.model_copy(update={"data": data, "data_base64": None})


def message_of(event: Event) -> Any:
    """An event's message: JSON, text or bytes."""
    return event.payload()


def rejects_bad_input(subject: Subject) -> None:
    """Rejects what is no message, what the author says is to be rejected, and never raises anything else."""
    for sample in subject.rejects:
        outcome = subject.decode(sample.event)
        if outcome.reject is None:
            did = outcome.failure or f"accepts it, as {shown(outcome.value)}"
            raise Broken(_RULE, did, f"the reject {sample.name}", _MEND)
        _look_at(outcome.reject, f"the reject {sample.name}")
    event = subject.decoded[0][0].event
    for what, data in GARBAGE:
        outcome = subject.decode(with_data(event, data))
        where = f"{what}, in the envelope of sample {subject.decoded[0][0].name}"
        if outcome.failure is not None:
            raise Broken(_RULE, outcome.failure, where, _MEND)
        if outcome.reject is None:
            made = shown(outcome.value) if outcome.value else "no items"
            did = f"accepts it, as {made}: so it is lost without a word"
            raise Broken(_RULE, did, where, _MEND)
        _look_at(outcome.reject, where)
    for number, (sample, _) in enumerate(subject.decoded[:_SAMPLES]):
        for what, data in mutants(message_of(sample.event), number):
            outcome = subject.decode(with_data(sample.event, data))
            where = f"sample {sample.name}, {what}"
            if outcome.failure is not None:
                raise Broken(_RULE, outcome.failure, where, _MEND)
            if outcome.reject is not None:
                _look_at(outcome.reject, where)


def _look_at(reject: Reject, where: str) -> None:
    if str(reject.reason) not in REASONS_OF_INPUT:
        raise Broken(
            _RULE,
            f"rejects with the reason {shown(reject.reason)}, which the worker makes invalid_data",
            where,
            f"use one of {', '.join(sorted(REASONS_OF_INPUT))}",
        )
    if not str(reject.detail).strip():
        raise Broken(_RULE, "rejects without a word about why", where, _MEND)


def rejects_quote_nothing(subject: Subject) -> None:
    """What a Reject says holds nothing of the message."""
    rejected = 0
    for sample, _ in subject.decoded[:_SAMPLES]:
        for what, data in _planted(message_of(sample.event)):
            outcome = subject.decode(with_data(sample.event, data))
            if outcome.reject is None:
                continue
            rejected += 1
            said = str(outcome.reject.detail)
            if CANARY.casefold() in said.casefold() or str(_NUMBER) in said:
                raise Broken(
                    "a Reject says which field is wrong and why, and never its value: details are logged and stored "
                    "where a patient's data may not be",
                    f"rejects with the words {shown(said)}, which quote the message",
                    f"sample {sample.name}, {what}",
                    "name the field only; of a pydantic error use loc and msg, with hide_input_in_errors=True, and not "
                    "str(error)",
                )
    if not rejected:
        raise NotApplicable("nothing was rejected: whatever is put into the samples' fields is accepted")


def _planted(message: Any) -> Iterator[tuple[str, Any]]:
    """The message with a text that stands for a value, in one field after the other."""
    if isinstance(message, bytes):
        for what, text in _planted(message.decode("latin-1")):
            yield what, text.encode("latin-1")
    elif isinstance(message, str):
        yield "replaced by another text", f"{CANARY} {CANARY}"
        tokens = re.split(r"([|^~&,;<>\"'=\r\n\t])", message)
        for place in [place for place in range(0, len(tokens), 2) if tokens[place]][:300]:
            yield (
                f"with {CANARY} for {tokens[place]!r}",
                "".join([*tokens[:place], CANARY, *tokens[place + 1 :]]),
            )
    else:
        yield "replaced by a text", CANARY
        for path in list(paths(message))[:300]:
            old = at(message, path)
            for value in (CANARY, _NUMBER, [CANARY], {"a": CANARY}):
                if type(value) is not type(old) or isinstance(old, str):
                    yield f"with {value!r} at {words(path)}", replaced(message, path, value)
