"""`kcl-app spans`: a provider's stored availability."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kcl_app import wiring
from kcl_app.cli.common import Config, plain, settings_of, stores_of
from kcl_app.engine.queries import Answer
from kcl_app.engine.queries import spans as query
from kcl_app.errors import UserError
from processors.keys import ProviderKey

_DATE = ["%Y-%m-%d"]


def spans(
    tenant: Annotated[str, typer.Option(help="The customer.")],
    emr: Annotated[str, typer.Option(help="The EMR, as events name it.")],
    provider: Annotated[str, typer.Option(help="The provider's id.")],
    first: Annotated[
        datetime, typer.Option("--from", formats=_DATE, metavar="DATE", help="First local date.")
    ],
    last: Annotated[datetime, typer.Option("--to", formats=_DATE, metavar="DATE", help="Last local date.")],
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="NDJSON instead of a table.")] = False,
) -> None:
    """Show when a provider is free, as the workers have stored it."""
    if last < first:
        raise UserError("--to is before --from", 2)
    settings = settings_of(config)
    key = ProviderKey(tenant, emr, provider)
    now = wiring.clock(settings).seconds()
    with stores_of(settings) as store:
        answers = list(query(store, key, first.date(), last.date(), now))
    if as_json:
        for answer in answers:
            typer.echo(json.dumps(document(key, answer), ensure_ascii=False, separators=(",", ":")))
        return
    if not answers:
        raise UserError(f"nothing is stored for provider {provider} of {tenant} ({emr}) on these dates")
    Console().print(table(f"{provider} of {tenant} ({emr})", answers))


def document(key: ProviderKey, answer: Answer) -> dict[str, object]:
    """An answer as published; a day that is not `fresh` says so."""
    shown: dict[str, object] = {
        "tenant": key.tenant,
        "emr": key.emr,
        "provider_id": key.provider,
        "date": answer.date,
        "spans": answer.spans,
    }
    if answer.status != "fresh":
        shown |= {"status": answer.status, "reason": answer.reason}
    return shown


def table(title: str, answers: list[Answer]) -> Table:
    """Days as a table to read, with the columns that say something."""
    spans_ = [span for answer in answers for span in answer.spans]
    columns: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("location", lambda span: plain(span["location_id"] or "")),
        ("for", lambda span: plain(", ".join(span["service_types"]))),
        ("places", lambda span: str(span["capacity"])),
    ]
    empty = ("", "1")
    columns = [(name, text) for name, text in columns if any(text(span) not in empty for span in spans_)]
    shown = Table(title=escape(plain(title)), title_justify="left")
    shown.add_column("date", no_wrap=True)
    shown.add_column("free (UTC)", no_wrap=True)
    for name, _ in columns:
        shown.add_column(name)
    for answer in answers:
        day = f"{answer.date} {date.fromisoformat(answer.date):%a}"
        if answer.status != "fresh":
            shown.add_row(day, f"[red]stale: {escape(plain(answer.reason or ''))}[/red]")
        elif not answer.spans:
            shown.add_row(day, "[dim]no free time[/dim]")
        for number, span in enumerate(answer.spans):
            times = f"{_clock(span['start'], answer.date)} – {_clock(span['end'], answer.date)}"
            shown.add_row("" if number else day, times, *(escape(text(span)) for _, text in columns))
    return shown


def _clock(text: str, day: str) -> str:
    shown = text[11:16] if text.endswith(":00Z") else text[11:].rstrip("Z")
    return shown if text.startswith(day) else f"{text[5:10]} {shown}"
