"""Samples: messages of the EMR, from files, as the events in which a plugin gets them.

A ``.json`` file holds one event envelope, or a list of them, with the message under ``data``; what an envelope lacks
is made up. A file of any other kind (``.hl7``, ``.txt``, ``.xml``, ``.csv``) is one message as it is: text, or bytes
where it is no UTF-8.
"""

from __future__ import annotations

import base64
import glob
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from processors.envelope import Event, Limits, read_event
from processors.errors import Reject

TENANT = "conformance"
SHIPPED = "conformance_samples"
"""The folder in a plugin's package in which it ships its samples."""
OPTIONS_FILE = "conformance.toml"
"""Beside shipped samples: the options of the kit, named as the attributes of the class."""
REJECTS = "rejects"
"""The folder within them of messages that must be rejected."""
_FIRST_TIME = datetime(2026, 3, 2, 12, tzinfo=UTC)


class BadSample(ValueError):  # noqa: N818
    """A sample cannot be used; says which and why."""


@dataclass(frozen=True)
class Sample:
    """One message of the EMR.

    Attributes:
        name: its file's, and its place in it where that holds several.
        event: as the plugin gets it.
    """

    name: str
    event: Event


def load(patterns: str | Path | Iterable[str | Path], base: Path, emr: str) -> list[Sample]:
    """The samples in files.

    Args:
        patterns: one or several paths or glob patterns.
        base: the folder that relative ones begin at.
        emr: the plugin's name.

    Raises:
        BadSample: a pattern finds nothing, or a file does not hold an event.
    """
    given = [patterns] if isinstance(patterns, str | Path) else list(patterns)
    found: list[Sample] = []
    for pattern in given:
        paths = sorted(
            Path(name) for name in glob.glob(str(base / pattern), recursive=True) if Path(name).is_file()
        )
        paths = [path for path in paths if path.name != OPTIONS_FILE and not path.name.startswith(".")]
        if not paths:
            raise BadSample(f"samples: no file matches {base / pattern}")
        for path in paths:
            for name, given_envelope in _envelopes(path):
                found.append(Sample(name, _event(name, given_envelope, emr, len(found) + 1)))
    return found


def shipped(plugin_class: type, emr: str) -> Path | None:
    """The folder of samples in a plugin's package, beside its module or above it; None if there is none.

    It is ``conformance_samples/NAME``, or ``conformance_samples`` itself if that holds files. A module that is in no
    package has none: what lies beside it is other packages'.

    Args:
        plugin_class: the plugin's.
        emr: its name.
    """
    module = plugin_class.__module__
    while module:
        for folder in getattr(sys.modules.get(module), "__path__", None) or ():
            samples = Path(folder, SHIPPED)
            if (samples / emr).is_dir():
                return samples / emr
            if samples.is_dir() and any(path.is_file() for path in samples.iterdir()):
                return samples
        module = module.rpartition(".")[0]
    return None


def _envelopes(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    raw = path.read_bytes()
    if path.suffix.lower() != ".json":
        try:
            yield path.name, {"data": raw.decode("utf-8")}
        except UnicodeDecodeError:
            yield path.name, {"data_base64": base64.b64encode(raw).decode("ascii")}
        return
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise BadSample(f"{path.name}: is not JSON: {error}") from None
    several = isinstance(content, list)
    for place, one in enumerate(content if several else [content]):
        name = f"{path.name}[{place}]" if several else path.name
        if not isinstance(one, dict) or not ({"data", "data_base64"} & set(one)):
            raise BadSample(
                f"{name}: a .json file holds an event's envelope, or a list of them: an object with the EMR's "
                'message under "data". What else the envelope needs is made up where it is missing'
            )
        yield name, one


def _event(name: str, given: Mapping[str, Any], emr: str, number: int) -> Event:
    tenant = given.get("tenant", TENANT)
    made_up = {
        "specversion": "1.0",
        "id": f"sample-{number}",
        "source": f"/tenants/{tenant}",
        "type": "sample",
        "time": (_FIRST_TIME + timedelta(seconds=number)).isoformat(),
        "tenant": tenant,
        "emr": emr,
        "sequence": f"{number:020d}",
    }
    envelope = {**made_up, **given}
    if envelope["emr"] != emr:
        raise BadSample(f"{name}: its emr is {envelope['emr']!r}, and the plugin's name is {emr!r}")
    try:
        return read_event(json.dumps(envelope).encode(), Limits())
    except Reject as reject:
        raise BadSample(f"{name}: is no event: {reject.detail}") from None
