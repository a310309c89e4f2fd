"""`kcl-app plugins`: what is installed, what it is, whether it keeps to the rules, and a package to begin with."""

from __future__ import annotations

import typer

from kcl_app.cli.plugins import check, listing, new, show

app = typer.Typer(name="plugins", help="EMR plugins.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """EMR plugins."""


app.command("new")(new.new)
app.command("list")(listing.list_)
app.command("show")(show.show)
app.command("check")(check.check)
