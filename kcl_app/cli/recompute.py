"""`kcl-app recompute`: provider-days again from the items."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated

import typer

from kcl_app import logs, wiring
from kcl_app.cli.common import Config, counted, plain, settings_of, stores_of
from kcl_app.cli.moments import date_of
from kcl_app.cli.progress import progress_of
from kcl_app.engine.providers import MARGIN
from kcl_app.engine.queries import known_providers
from kcl_app.engine.recomputing import Days, Recomputed, recompute_all
from kcl_app.errors import UserError
from kcl_app.settings import Settings
from kcl_app.stores.base import Store
from processors.keys import ProviderKey

AGAIN = "what is computed stays so; run it again for the others"
"""After Ctrl-C."""


def recompute(
    config: Config = None,
    tenant: Annotated[
        str | None, typer.Option(help="The customer; everybody if only --plugin is given.")
    ] = None,
    emr: Annotated[str | None, typer.Option(help="Only this EMR, as events name it.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only the provider with this id.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First local date, as 2026-03-09.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last local date.")] = None,
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
    first = date_of(since, "--from") if since is not None else None
    last = date_of(until, "--to") if until is not None else None
    if first is not None and last is not None and last < first:
        raise UserError("--to is before --from", 2)
    days = Days(
        first,
        last,
        not_fresh=stale,
        other_version=plugin is not None and not all_versions and not stale,
    )
    settings = settings_of(config)
    logs.configure(settings.log)
    _check_kept(settings, first, last)
    with stores_of(settings) as store:
        engine = wiring.engine_on(store, settings, suspend=False)
        if plugin is not None and plugin not in engine.host.registry.plugins:
            raise UserError(f"no plugin {plugin} runs here")
        keys = _providers(store, tenant, emr or plugin, provider)
        with progress_of("providers", len(keys), AGAIN) as advance:
            result = recompute_all(engine, store, keys, days, "recompute", advance)
    report(result)


def _check_kept(settings: Settings, first: date | None, last: date | None) -> None:
    """Refuse dates that are kept of no provider, wherever it is.

    Raises:
        UserError: with the dates that are kept.
    """
    today = wiring.clock(settings).today("UTC")
    margin = timedelta(days=0 if settings.today else 1)  # zones are up to a day apart
    oldest = today - timedelta(days=settings.horizon.history_days) - margin
    newest = today + timedelta(days=settings.horizon.days - 1 + MARGIN) + margin
    if (last is not None and last < oldest) or (first is not None and first > newest):
        raise UserError(f"none of these days is kept: those from {oldest} to {newest} are", 2)


def _providers(store: Store, tenant: str | None, emr: str | None, provider: str | None) -> list[ProviderKey]:
    keys = [key for key in known_providers(store, tenant, emr) if provider in (None, key.provider)]
    if not keys:
        who = f"no provider {provider}" if provider is not None else "no provider"
        whose = f" of tenant {tenant}" if tenant is not None else ""
        which = f" ({emr})" if emr is not None else ""
        raise UserError(f"{who}{whose}{which} is known; workers know one from its first event on")
    return keys


def report(result: Recomputed) -> None:
    """One line of what recomputing came to; status 1 unless every day is fresh.

    Raises:
        UserError: some are not.
    """
    days = counted(result.fresh + result.stale, "day")
    providers = counted(result.providers, "provider")
    typer.echo(f"{providers}, {days}: {result.fresh} fresh, {result.stale} stale")
    wrong = []
    if result.stale:
        are = "is" if result.stale == 1 else "are"
        wrong.append(f"{counted(result.stale, 'day')} {are} stale; see `kcl-app dead-letters list`")
    if result.failed:
        wrong.append(f"{counted(result.failed, 'provider')} could not be computed; run it again")
    for why, number in sorted(result.refused.items()):
        left = "is left as it is" if number == 1 else "are left as they are"
        wrong.append(f"{counted(number, 'provider')} {left}: {plain(why)}")
    if wrong:
        raise UserError("; ".join(wrong))
