"""Who may import what, and who may read the environment."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kcl_app.settings import PROJECT_ROOT

IMPURE = {"boto3", "botocore", "amazon_kclpy", "prometheus_client", "structlog", "typer", "rich", "psutil"}
OUTSIDE_WORLD = {
    "os",
    "socket",
    "subprocess",
    "threading",
    "time",
    "random",
    "http",
    "urllib.request",
    "logging",
}

ENVIRONMENT_READERS = {
    "kcl_app/settings.py": "the settings",
    "kcl_app/wiring.py": "hands the environment on to the Java daemon, with its own AWS variables; JAVA_HOME",
    "emr_plugins/isolation/process.py": "hands next to nothing of it on to the process of an isolated plugin",
    "emr_plugins/testing/elsewhere.py": "hands it on to the process in which the conformance kit asks a plugin again",
    "emr_plugins/testing/watching.py": "knows its methods by sight, to see who asks it",
    "kcl_app/local/demo.py": "hands it on to the worker that it starts",
    "kcl_app/local/local_cloud.py": "hands it on to the local cloud, without credentials of anyone",
}
"""All modules that read the environment, and why each of them may."""


def sources(folder: str) -> list[Path]:
    found = sorted((PROJECT_ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(path: Path, *, at_runtime: bool = False) -> Iterator[str]:
    """Full names of the modules that a file imports, those only for type checking left out if `at_runtime`."""
    package = ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts[:-1])
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and at_runtime and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def first(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", sources("processors"), ids=lambda path: path.name)
def test_the_core_is_pure(path: Path) -> None:
    names = {first(name) for name in imports(path)}
    assert not names & {"kcl_app", "emr_plugins", *IMPURE, *OUTSIDE_WORLD}


@pytest.mark.parametrize("path", sources("processors"), ids=lambda path: path.name)
def test_the_core_asks_no_clock(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [word for word in (".now(", ".today(", ".utcnow(", "os.environ", "getenv(") if word in text]


MAY_BESIDES = {
    "emr_plugins/host.py": {"time"},
    "emr_plugins/time_limit.py": {"threading", "time"},
    "emr_plugins/isolation/process.py": {"os", "subprocess"},
    "emr_plugins/isolation/__main__.py": {"os"},
    "emr_plugins/testing/computing.py": {"random"},
    "emr_plugins/testing/elsewhere.py": {"os", "subprocess"},
    "emr_plugins/testing/incremental.py": {"random"},
    "emr_plugins/testing/mutants.py": {"random"},
    "emr_plugins/testing/speed.py": {"time"},
    "emr_plugins/testing/watching.py": {"os", "random"},
}
"""The host measures how long several days' spans take together. What ends calls that take too long asks whether it
is in the main thread, and lets others' timers run on. Isolated plugins have processes. The conformance kit asks in
another process, plays at random from fixed seeds, measures, and knows the functions that a plugin must not call."""


@pytest.mark.parametrize("path", sources("emr_plugins"), ids=lambda path: path.name)
def test_plugins_know_the_core_and_nothing_of_the_application(path: Path) -> None:
    names = {first(name) for name in imports(path)}
    names -= MAY_BESIDES.get(str(path.relative_to(PROJECT_ROOT)), set())
    assert not names & {"kcl_app", *IMPURE, *OUTSIDE_WORLD}


@pytest.mark.parametrize(
    "module",
    [
        "emr_plugins.api",
        "emr_plugins.host",
        "emr_plugins.fhir_r4",
        "emr_plugins.hl7v2",
        "emr_plugins.testing",
        "processors",
    ],
)
def test_a_plugin_author_needs_the_light_base_install_alone(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    base = {
        "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection",
        "structlog", "tzdata", "processors", "emr_plugins",
    }  # fmt: skip
    foreign = {
        name
        for name in loaded - base - set(sys.stdlib_module_names)
        # What the interpreter and editable installs bring along before any import of ours.
        if not name.startswith(("_", "sitecustomize", "usercustomize"))
    }
    assert not foreign
    assert not loaded & (IMPURE | {"pydantic_settings", "kcl_app"})


def test_only_those_with_a_reason_read_the_environment() -> None:
    found = set()
    for path in [*sources("kcl_app"), *sources("emr_plugins"), *sources("processors")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv"):
                found.add(str(path.relative_to(PROJECT_ROOT)))
    assert found == set(ENVIRONMENT_READERS)


def test_only_the_wiring_builds_clients() -> None:
    """boto3 itself is imported in one place; types of clients do not count, errors of botocore are no clients."""
    found = {
        str(path.relative_to(PROJECT_ROOT))
        for path in sources("kcl_app")
        if "boto3" in {first(name) for name in imports(path, at_runtime=True)}
    }
    assert found == {"kcl_app/wiring.py"}


def test_the_clock_is_asked_for_the_date_and_nobody_else() -> None:
    """`today` would be another date for whoever pins it; so only the clock may ask for the machine's."""
    asking = ("date.today", "datetime.now", "datetime.today", "datetime.utcnow")
    found = {
        str(path.relative_to(PROJECT_ROOT))
        for path in sources("kcl_app")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in asking
    }
    # The demo stamps the events that it sends with the time at which it does so; its dates come from the clock.
    assert found <= {"kcl_app/clock.py", "kcl_app/local/demo.py"}
