"""The documentation is true: its examples run, its commands and links exist, its tables are complete."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import event, lines, run
from pages import Block, blocks, prose

from emr_plugins.api import EmrPlugin, Event, Item, Span, StandardEnginePlugin
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import discover
from kcl_app.cli.main import app
from kcl_app.settings import PROJECT_ROOT, Settings
from processors.errors import REASONS
from processors.keys import ItemKey, ProviderKey
from processors.revisions import Revision

DOCS = sorted((PROJECT_ROOT / "docs").rglob("*.md"))
README = PROJECT_ROOT / "README.md"
EXAMPLE_PAGES = sorted((PROJECT_ROOT / "examples").glob("*/README.md"))
PAGES = [*([README] if README.is_file() else []), *DOCS, *EXAMPLE_PAGES]
FORMATS = PROJECT_ROOT / "docs" / "event-formats.md"
TUTORIAL = PROJECT_ROOT / "docs" / "plugins.md"
PLUGINS = PROJECT_ROOT / "docs" / "plugin-reference.md"


def named(path: Path) -> str:
    return path.relative_to(PROJECT_ROOT).as_posix()


# Examples of event-formats.md -----------------------------------------------------------------------------------------

EXAMPLES = [block for block in blocks(FORMATS) if block.words[:1] in (("json",), ("ndjson",))]


def of(*words: str) -> list[Block]:
    return [block for block in EXAMPLES if block.words[: len(words)] == words]


def accepted(*events: Any) -> list[dict[str, Any]]:
    done = run("try", "-", "--json", "--today", "2026-03-09", stdin=lines(*events))
    assert (done.status, done.err) == (0, "")
    documents = done.documents()
    assert documents
    return documents


def test_every_example_says_what_it_is() -> None:
    known = {("json", "event"), ("json", "data"), ("json", "fhir_r4"), ("json", "reject"), ("json", "detail"),
             ("ndjson", "events"), ("ndjson", "output"), ("ndjson", "hl7v2"), ("ndjson", "hl7v2-output")}  # fmt: skip
    assert {block.words[:2] for block in EXAMPLES} == known


@pytest.mark.parametrize("block", of("json", "event"), ids=str)
def test_an_example_of_an_event_is_accepted(block: Block) -> None:
    accepted(json.loads(block.text))


@pytest.mark.parametrize("block", of("json", "data"), ids=str)
def test_an_example_of_the_standard_format_is_accepted(block: Block) -> None:
    """Behind a day of work that the provider has, so that an item which names nobody has somebody."""
    data = json.loads(block.text)
    day = event("working_hours", {"id": "wh-0", "provider_id": "p1", "weekly": []})
    accepted(day, event(block.words[2], data))
    (change,) = PluginHost(discover(), lambda name: Tenant("UTC", {})).decode(
        Event.model_validate(event(block.words[2], data))
    )
    assert change.kind == block.words[2]
    dropped = {name for name in data if name not in type(change.body).model_fields} - {
        "id",
        "provider_id",
        "version",
    }
    assert not dropped


@pytest.mark.parametrize("block", of("json", "fhir_r4"), ids=str)
def test_an_example_of_fhir_is_accepted(block: Block) -> None:
    accepted(event("fhir", json.loads(block.text), emr="fhir_r4"))


@pytest.mark.parametrize("block", of("json", "reject"), ids=str)
def test_an_example_of_a_reject_is_refused_for_its_reason(block: Block) -> None:
    done = run("try", "-", stdin=lines(json.loads(block.text)))
    assert done.status == 1
    assert [one["reason"] for one in done.rejects()] == [block.words[2]]


def test_the_detail_shown_is_what_the_example_before_it_gets() -> None:
    (shown,) = of("json", "detail")
    before = EXAMPLES[EXAMPLES.index(shown) - 1]
    done = run("try", "-", stdin=lines(json.loads(before.text)))
    assert done.rejects() == [json.loads(shown.text)]


def test_the_answer_shown_is_what_the_events_before_it_give() -> None:
    (events,), (output,) = of("ndjson", "events"), of("ndjson", "output")
    command = re.search(r"`kcl-app try FILE (--json [^`]+)`, one line", FORMATS.read_text(encoding="utf-8"))
    assert command is not None
    done = run("try", "-", *command[1].split(), stdin=events.text)
    assert (done.status, done.err) == (0, "")
    assert done.documents() == [json.loads(line) for line in output.text.splitlines()]


def test_the_hl7_v2_message_shown_is_an_appointment_of_those_it_names() -> None:
    (block,) = [block for block in blocks(FORMATS) if block.words == ("hl7v2",)]
    accepted(event("SIU^S12", block.text, emr="hl7v2"))
    (change,) = PluginHost(discover(), lambda name: Tenant("UTC", {})).decode(
        Event.model_validate(event("SIU^S12", block.text, emr="hl7v2"))
    )
    assert (change.id, change.providers) == ("SCHED/NORTH/f-4711/", ("d1", "d2"))


def test_the_answer_to_hl7_v2_beside_working_hours_is_the_one_shown() -> None:
    (events,), (output,) = of("ndjson", "hl7v2"), of("ndjson", "hl7v2-output")
    done = run("try", "-", "--json", "--today", "2026-03-09", "--horizon", "1", stdin=events.text)
    assert (done.status, done.err) == (0, "")
    assert done.documents() == [json.loads(line) for line in output.text.splitlines()]


def test_the_tables_of_hl7_v2_are_those_of_the_code() -> None:
    from emr_plugins.hl7v2 import Hl7V2Settings
    from emr_plugins.hl7v2.tables import STATUSES, TRIGGERS, UNITS, status_key

    text = section(FORMATS, "HL7 v2")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    by_status = {
        row[1]: re.findall(r"`([^`]+)`", row[0]) for row in rows if row[0][:1] == "`" and len(row) == 2
    }
    shown = {status_key(code): status.strip("`") for status, codes in by_status.items() for code in codes}
    assert len(shown) == 11
    assert shown.items() <= STATUSES.items()
    triggers = {
        one: row[1].strip("`") for row in rows for one in row[0].split(", ") if re.fullmatch(r"S\d\d", one)
    }
    assert {one: status for one, status in triggers.items() if one not in ("S23", "S24")} == TRIGGERS
    units = {
        name: seconds
        for unit, seconds in {
            "seconds": 1,
            "minutes": 60,
            "hours": 3600,
            "days": 86_400,
            "weeks": 604_800,
        }.items()
        for row in rows
        if row[0] == unit
        for name in re.findall(r"`([^`]+)`", row[1])
    }
    assert units == UNITS
    settings = [row[0].strip("`") for row in rows if len(row) == 3 and row[0][:1] == "`"]
    assert settings == list(Hl7V2Settings.model_fields)


def test_each_type_and_each_fhir_resource_has_an_example() -> None:
    types = {block.words[2] for block in of("json", "data")}
    assert types == {"working_hours", "date_override", "time_off", "appointment", "slot", "availability"}
    resources = {json.loads(block.text)["resourceType"] for block in of("json", "fhir_r4")}
    assert resources == {"Slot", "Schedule", "Appointment", "PractitionerRole"}


# Reasons and limits ---------------------------------------------------------------------------------------------------


def reasons_in_code() -> set[str]:
    """The first argument of every Reject, and whatever else is called a reason."""
    found: set[str] = set()
    for folder in ("processors", "emr_plugins", "kcl_app"):
        for path in (PROJECT_ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Reject", "Letter"):
                    found.update(texts(node.args[:1]))
                if isinstance(node, ast.Assign) and "reason" in ast.unparse(node.targets[0]).split(", ")[0]:
                    value = node.value.elts[:1] if isinstance(node.value, ast.Tuple) else [node.value]
                    found.update(texts(value))
    return {reason for reason in found if re.fullmatch(r"[a-z]+(_[a-z]+)+", reason)}


def texts(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def section(page: Path, title: str) -> str:
    parts = re.split(r"^## ", prose(page), flags=re.MULTILINE)
    (found,) = [part for part in parts if part.startswith(f"{title}\n")]
    return found


def first_cells(text: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_every_reason_is_in_the_table_and_nothing_else() -> None:
    in_table = first_cells(section(FORMATS, "Rejects"))
    assert sorted(in_table) == sorted(reasons_in_code())
    assert sorted(in_table) == sorted(REASONS)


def test_the_limits_are_those_of_the_code() -> None:
    from emr_plugins.answers import MAX_EVENT_PROVIDERS
    from emr_plugins.host import MAX_CHANGES, MAX_PROVIDERS
    from kcl_app.engine.upserting import MAX_HOLDERS
    from processors.availability import MAX_LINES, MAX_PIECES, MAX_SPANS, MAX_STEPS
    from processors.decoding import MAX_BODY_BYTES, MAX_ENCODED_TENANT
    from processors.keys import MAX_ENCODED_ID

    limits = Settings().limits
    shown = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", section(FORMATS, "Limits"), re.MULTILINE))
    expected = {
        "one record": f"{limits.record_bytes // 1024} KiB",
        "nesting of its JSON": f"{limits.depth} levels",
        "one text in it": f"{limits.string_chars:,} characters",
        "items of one provider, withdrawn ones included": f"{limits.items_per_provider:,}",
        "spans of one provider-day as JSON": f"{limits.document_bytes:,} bytes",
        "items that one event changes": f"{MAX_CHANGES:,}",
        "providers that one item names": f"{MAX_PROVIDERS}",
        "providers that have ever had one item": f"{MAX_HOLDERS}",
        "an id of an item or a provider": f"256 characters, and {MAX_ENCODED_ID} bytes when percent-encoded",
        "a tenant when percent-encoded": f"{MAX_ENCODED_TENANT:,} bytes",
        "the fields of one item as stored": f"{MAX_BODY_BYTES // 1024} KiB",
        "providers that one event names": f"{MAX_EVENT_PROVIDERS:,}",
        "spans that one provider-day comes to": f"{MAX_SPANS:,}",
        "lines of hours that one provider-day is made from": f"{MAX_LINES:,}, cut into {MAX_PIECES:,}"
        " pieces by times away",
        "appointments of one provider-day": f"{MAX_STEPS:,}, counted once for each offer that they lie in",
    }
    assert expected.items() <= shown.items()


# settings.md ----------------------------------------------------------------------------------------------------------


def test_the_settings_page_is_up_to_date() -> None:
    command = [sys.executable, str(PROJECT_ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_setting_is_described() -> None:
    page = PROJECT_ROOT / "docs" / "settings.md"
    keys = set(first_cells(page.read_text(encoding="utf-8")))
    for name, field in Settings.model_fields.items():
        model: Any = field.annotation
        if hasattr(model, "model_fields"):
            assert {f"{name}.{inner}" for inner in model.model_fields} <= keys
            assert all(inner.description for inner in model.model_fields.values())
        elif name != "tenants":
            assert name in keys
            assert field.description


# plugin-reference.md --------------------------------------------------------------------------------------------------


def plugin_of_the_page() -> EmrPlugin:
    source = next(block.text for block in blocks(PLUGINS) if "class AcmePlugin" in block.text)
    names: dict[str, Any] = {"__name__": "acme_plugin"}
    exec(compile(source, str(PLUGINS), "exec"), names)
    plugin = names["AcmePlugin"]()
    assert isinstance(plugin, StandardEnginePlugin)
    return plugin


def test_the_plugin_of_the_page_decodes_an_event_and_computes_spans() -> None:
    registry = discover()
    registry.add(plugin_of_the_page(), "acme-plugin", "1.0")
    assert not registry.refused
    host = PluginHost(registry, lambda name: Tenant("UTC", {}))
    visit = {"visit": "v1", "doctor": "p1", "begins": "2026-03-09T10:00:00Z", "ends": "2026-03-09T11:00:00Z"}
    hours = {"id": "w", "provider_id": "p1", "weekly": [{"days": ["mon"], "start": "09:00", "end": "12:00"}]}
    sent = [event("visit", visit, emr="acme"), event("working_hours", hours, emr="acme")]
    changes = [change for one in sent for change in host.decode(Event.model_validate(one))]
    revision = Revision.of(0, datetime(2026, 1, 1, tzinfo=UTC), "1")
    items = [
        Item(ItemKey("t", "acme", one.kind, one.id), one.providers, revision, one.body) for one in changes
    ]

    def at(hour: int) -> datetime:
        return datetime(2026, 3, 9, hour, tzinfo=UTC)

    found = host.spans(ProviderKey("t", "acme", "p1"), "UTC", date(2026, 3, 9), items)
    assert found == (Span(at(9), at(10)), Span(at(11), at(12)))


def test_the_plugin_of_the_page_refuses_without_quoting() -> None:
    registry = discover()
    registry.add(plugin_of_the_page())
    host = PluginHost(registry, lambda name: Tenant("UTC", {}))
    for data in (
        {"visit": "secret"},
        {"visit": "v", "doctor": "p", "begins": "secret", "ends": "secret"},
        "secret",
    ):
        with pytest.raises(ValueError, match=r"^invalid_data: ") as caught:
            host.decode(Event.model_validate(event("visit", data, emr="acme")))
        assert "secret" not in str(caught.value)


def test_the_signatures_on_the_page_are_those_of_the_api() -> None:
    shown = next(block.text for block in blocks(PLUGINS) if "class EmrPlugin(ABC)" in block.text)
    source = (PROJECT_ROOT / "emr_plugins" / "api.py").read_text(encoding="utf-8")

    def surface(text: str) -> list[str]:
        (found,) = [n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "EmrPlugin"]
        lines = [ast.unparse(node) for node in found.body if isinstance(node, ast.AnnAssign)]
        for node in found.body:
            if isinstance(node, ast.FunctionDef):
                lines.append(f"{node.name}({ast.unparse(node.args)}) -> {ast.unparse(node.returns or node)}")
        return lines

    assert surface(shown) == surface(source)


# Commands and links of all pages --------------------------------------------------------------------------------------


def command_options() -> dict[tuple[str, ...], set[str]]:
    """Every command, and its options."""
    found: dict[tuple[str, ...], set[str]] = {}

    def walk(command: Any, path: tuple[str, ...]) -> None:
        found[path] = {option for one in command.params for option in one.opts} | {"--help"}
        for name, child in getattr(command, "commands", {}).items():
            walk(child, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


OPTIONS = command_options()


def commands_of(page: Path) -> set[str]:
    """What stands behind `kcl-app` in code, up to the end of the code or of the command."""
    code = re.findall(r"`([^`\n]+)`", prose(page))
    code += [line for block in blocks(page) if block.words[:1] not in (("json",), ("ndjson",), ("python",))
             for line in block.text.replace("\\\n", " ").splitlines()]  # fmt: skip
    found = set()
    for line in code:
        for match in re.finditer(r"(?:^|[\s/$(])kcl-app(?= [a-z-])([^|;&#>▶)`,]*)", line):
            found.add(" ".join(match[1].split()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_on_the_page_exist_with_their_options(page: Path) -> None:
    for text in commands_of(page):
        words = text.split()
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in OPTIONS:
            path = (*path, words.pop(0))
        assert path or words[0].startswith("-"), f"kcl-app {text}"
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0].rstrip(".]") in OPTIONS[path], f"kcl-app {text}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_relative_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def of_a_new_plugin(path: str) -> bool:
    """Whether a package that `kcl-app plugins new acme` makes has it, which the tutorial works in."""
    (package,) = (PROJECT_ROOT / "kcl_app" / "cli" / "plugins" / "template").glob("{{*}}")
    return (package / path.replace(".py", ".{{cookiecutter.py}}")).exists()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_named_on_the_page_exist(page: Path) -> None:
    folders = "kcl_app|processors|emr_plugins|config|deploy|scripts|tests|docs|examples"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", prose(page)):
        assert (PROJECT_ROOT / path).exists() or (page == TUTORIAL and of_a_new_plugin(path)), path
