"""`kcl-app plugins new`: a package for a plugin, made from the template beside this module."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from kcl_app.cli.plugins.installed import OURS, built_in
from kcl_app.errors import UserError

TEMPLATE = Path(__file__).with_name("template")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def new(
    name: Annotated[
        str, typer.Argument(help="The `emr` of the events: lower-case letters, digits, underscores.")
    ],
    directory: Annotated[
        Path, typer.Option(help="Where to make the folder NAME-plugin.", file_okay=False)
    ] = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that is there, over files of the same name.")
    ] = False,
) -> None:
    """Make a package for a new plugin, which passes its conformance tests at once."""
    _check(name)
    folder = directory / f"{name.replace('_', '-')}-plugin"
    if not directory.is_dir():
        raise UserError(f"--directory: there is no folder {directory}", 2)
    if folder.is_symlink() or (folder.exists() and not (force and folder.is_dir())):
        more = " or --force to write into it" if folder.is_dir() else ""
        raise UserError(
            f"{folder} is there already: choose another name or --directory{',' if more else ''}{more}", 2
        )
    generate(name, directory, force=force)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    typer.echo(f"made {folder}")
    for file in files:
        typer.echo(f"  {file}")
    module = f"src/{name}_plugin/plugin.py"
    typer.echo(
        f"Next: cd {folder}; pip install --editable '.[test]'; pytest. Then see the TODOs in {module}."
    )


def _check(name: str) -> None:
    """Refuse names that the worker would refuse.

    Raises:
        UserError: says what would be right.
    """
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").lstrip("0123456789_")[:64]
        meant = f", such as {near}" if _NAME.fullmatch(near) else ""
        raise UserError(
            f"{name!r} cannot be the name of a plugin: it is the `emr` of its events, of lower-case letters, digits "
            f"and underscores, a letter first, 64 at most{meant}",
            2,
        )
    if name in built_in():
        raise UserError(f"{name} is a plugin that {OURS} brings itself: choose another name", 2)


def generate(name: str, directory: Path, *, force: bool = False) -> None:
    """Write the package.

    Args:
        name: the plugin's.
        directory: where its folder comes.
        force: whether files that are there are written over; others in the folder stay.
    """
    from cookiecutter.generate import generate_files  # not every install has it

    words = name.replace("_", " ").strip()
    values = {
        "name": name,
        "distribution": f"{name.replace('_', '-')}-plugin",
        "package": f"{name}_plugin",
        "class_name": "".join(word[:1].upper() + word[1:] for word in words.split()),
        "title": words,
        "py": "py",  # so that no tool takes the template's own files for Python
    }
    # The library's own entry would read and write in the user's home; this one only renders.
    generate_files(
        str(TEMPLATE), {"cookiecutter": values}, str(directory), overwrite_if_exists=force, accept_hooks=False
    )
