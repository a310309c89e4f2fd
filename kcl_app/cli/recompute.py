"""`kcl-app recompute`: provider-days again from the items."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kcl_app import logs, wiring
from kcl_app.cli.common import Config, plain, settings_of, stores_of
from kcl_app.engine.recomputing import Days, Recomputed, known_providers, recompute_all
from kcl_app.errors import UserError
from kcl_app.stores.base import Store
from processors.keys import ProviderKey

_DATE = ["%Y-%m-%d"]


def recompute(
    config: Config = None,
    tenant: Annotated[
        str | None, typer.Option(help="The customer; everybody if only --plugin is given.")
    ] = None,
    emr: Annotated[str | None, typer.Option(help="Only this EMR, as events name it.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only the provider with this id.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DATE, metavar="DATE", help="First local date.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=_DATE, metavar="DATE", help="Last local date.")
    ] = None,
    plugin: Annotated[
        str | None,
        typer.Option(help="Only days that another version of this plugin has made, and those not fresh."),
    ] = None,
    all_versions: Annotated[
        bool, typer.Option("--all-versions", help="With --plugin: whichever version has made them.")
    ] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Only days that are not fresh.")] = False,
) -> None:
    """Compute provider-days again from the items, as after a plugin was mended or changed.

    Safe beside workers. The plugins installed here compute; events are not looked at. The status is 1 if any day is
    stale.
    """
    if tenant is None and plugin is None:
        raise UserError("say whose days: --tenant, or --plugin for everybody's", 2)
    if provider is not None and tenant is None:
        raise UserError("--provider needs --tenant", 2)
    if plugin is not None and emr not in (None, plugin):
        raise UserError(f"the days of EMR {emr} are made by the plugin of the same name, not by {plugin}", 2)
    if all_versions and plugin is None:
        raise UserError("--all-versions needs --plugin", 2)
    if first is not None and last is not None and last < first:
        raise UserError("--to is before --from", 2)
    days = Days(
        first.date() if first else None,
        last.date() if last else None,
        not_fresh=stale,
        other_version=plugin is not None and not all_versions and not stale,
    )
    settings = settings_of(config)
    logs.configure(settings.log)
    with stores_of(settings) as store:
        engine = wiring.engine_on(store, settings, suspend=False)
        if plugin is not None and plugin not in engine.host.registry.plugins:
            raise UserError(f"no plugin {plugin} runs here")
        keys = _providers(store, tenant, emr or plugin, provider)
        with progress_of("providers", len(keys)) as advance:
            result = recompute_all(engine, store, keys, days, "recompute", advance)
    report(result)


def _providers(store: Store, tenant: str | None, emr: str | None, provider: str | None) -> list[ProviderKey]:
    keys = [key for key in known_providers(store, tenant, emr) if provider in (None, key.provider)]
    if not keys:
        who = f"no provider {provider}" if provider is not None else "no provider"
        whose = f" of tenant {tenant}" if tenant is not None else ""
        which = f" ({emr})" if emr is not None else ""
        raise UserError(f"{who}{whose}{which} is known; workers know one from its first event on")
    return keys


@contextmanager
def progress_of(what: str, total: int) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr where that is a terminal; gives what is called after each."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda number=1: progress.advance(task, number)


def report(result: Recomputed) -> None:
    """One line of what recomputing came to; status 1 unless every day is fresh.

    Raises:
        UserError: some are not.
    """
    days = result.fresh + result.stale
    typer.echo(f"{result.providers} providers, {days} days: {result.fresh} fresh, {result.stale} stale")
    wrong = []
    if result.stale:
        wrong.append(f"{result.stale} days are stale; see `kcl-app dead-letters list`")
    if result.failed:
        wrong.append(f"{result.failed} providers could not be computed; run it again")
    for why, number in sorted(result.refused.items()):
        wrong.append(f"{number} providers are left as they are: {plain(why)}")
    if wrong:
        raise UserError("; ".join(wrong))
