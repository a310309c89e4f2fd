"""`kcl-app simulate`: realistic traffic, for demonstrations, tests and benchmarks."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Annotated

import typer

from kcl_app.cli.common import Config, settings_of
from kcl_app.errors import UserError


def simulate(
    config: Config = None,
    providers: Annotated[int, typer.Option(min=1, max=99_999, help="How many providers.")] = 20,
    days: Annotated[
        int, typer.Option(min=1, max=730, help="Local dates with traffic, today the first.")
    ] = 30,
    events: Annotated[int, typer.Option(min=0, help="Lines in all, duplicates included.")] = 10_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    disorder: Annotated[float, typer.Option(min=0, max=1, help="Fraction of events that come late.")] = 0.0,
    duplicates: Annotated[float, typer.Option(min=0, max=0.99, help="Fraction that are copies.")] = 0.0,
    handovers: Annotated[
        float, typer.Option(min=0, max=1, help="Fraction that hand an appointment to another provider.")
    ] = 0.02,
    tenant: Annotated[str, typer.Option(help="Whose events they are.")] = "demo",
    today: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first date; the clock's if not given.")
    ] = None,
) -> None:
    """Write events in the standard format to stdout, one a line: an onboarding burst, then days of a clinic."""
    from kcl_app import wiring
    from kcl_app.local.simulate import Params
    from kcl_app.local.simulate import simulate as generate

    first = wiring.clock(settings_of(config)).today("UTC") if today is None else today.date()
    try:
        params = Params(
            providers, days, events, seed, first, disorder, duplicates, handovers=handovers, tenant=tenant
        )
    except ValueError as error:
        raise UserError(str(error), status=2) from None
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    for event in generate(params):
        sys.stdout.write(encode(event) + "\n")
