"""`kcl-app try`: the pipeline in memory, on a file of events."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from datetime import date, datetime
from typing import Annotated

import typer

from kcl_app import wiring
from kcl_app.cli.common import Config, opened, plain, settings_of
from kcl_app.engine.clean_pass import CleanPass, ProviderDay
from kcl_app.ndjson import read_lines
from processors.envelope import Record
from processors.times import utc_text


def try_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Events as NDJSON; - is standard input.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON instead of lines to read.")] = False,
    today: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First day; by default today.", metavar="DATE"),
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, max=730, help="Number of days.")] = None,
) -> None:
    """Show what events come to: every provider's free time, computed in memory, without a cloud.

    Rejects are JSON lines on standard error, with line number and reason; then the status is 1.
    """
    over = {"today": today.date()} if today else {}
    settings = settings_of(config, **over)
    run = CleanPass(wiring.plugin_host(settings), settings.limits.limits())
    rejects = 0

    def refuse(**what: object) -> None:
        nonlocal rejects
        rejects += 1
        typer.echo(json.dumps(what), err=True)

    out = sys.stdout
    # What a plugin prints must not get between the answers.
    with opened(file) as lines, redirect_stdout(sys.stderr):
        for line in read_lines(lines, settings.limits.record_bytes):
            if line.data is None:
                detail = f"the record has more than {settings.limits.record_bytes} bytes, the limit"
                refuse(line=line.number, reason="too_large", detail=detail)
                continue
            # An event without a `sequence` counts in the order of the lines.
            for reject in run.take(Record(line.data, sequence_number=str(line.number))):
                refuse(line=line.number, reason=reject.reason, detail=reject.detail)
        clock = wiring.clock(settings)
        for one in run.days(clock.today, horizon or settings.horizon.days):
            out.write((_as_json(one) if as_json else _as_line(one)) + "\n")
            if one.stale is not None:
                refuse(
                    provider_id=one.provider.provider,
                    date=one.day.isoformat(),
                    reason=one.stale.reason,
                    detail=one.stale.detail,
                )
    out.flush()
    raise typer.Exit(1 if rejects else 0)


def _as_json(one: ProviderDay) -> str:
    document = {
        "tenant": one.provider.tenant,
        "emr": one.provider.emr,
        "provider_id": one.provider.provider,
        "date": one.day.isoformat(),
        "spans": [span.as_json() for span in one.spans],
    }
    if one.stale is not None:
        document["stale"] = one.stale.reason
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _as_line(one: ProviderDay) -> str:
    texts = []
    for span in one.spans:
        text = f"{_clock(span.start, one.day)}–{_clock(span.end, one.day)}"
        offer = " ".join(filter(None, [span.location_id, ",".join(span.service_types)]))
        places = f"×{span.capacity}" if span.capacity != 1 else ""
        texts.append(text + places + (f" [{plain(offer)}]" if offer else ""))
    answer = ", ".join(texts) or ("STALE: " + one.stale.detail if one.stale else "no free time")
    key = one.provider
    return f"{key.tenant} {key.emr} {key.provider} {one.day} {one.day:%a}  {answer}"


def _clock(at: datetime, day: date) -> str:
    """UTC time of day; with its date where that is another one."""
    text = utc_text(at)
    shown = text[11:16] if text[17:] == "00Z" else text[11:-1]
    return shown + "Z" if at.date() == day else f"{text[5:10]}T{shown}Z"
