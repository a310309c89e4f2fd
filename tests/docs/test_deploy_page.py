"""docs/deploy.md and deploy/ecs/commands.sh: every command of AWS exists as it is written, and so does what it names.

botocore's models are what the AWS command line is made from, so they know its commands and options.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import service_template as template
from botocore import xform_name
from command_line import run
from service_template import DATA, SERVICE

from kcl_app.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "deploy.md"
HELPERS = PROJECT_ROOT / "deploy" / "ecs" / "commands.sh"
STACKS = {"$DATA": DATA, "$SERVICE": SERVICE}

GLOBAL = {"query", "output", "region", "profile"}
CUSTOM = {
    ("cloudformation", "deploy"): {"stack-name", "template-file", "capabilities", "parameter-overrides"},
    ("ecr", "get-login-password"): set(),
    ("logs", "tail"): {"since", "follow"},
}
"""What the command line has besides the services' own operations, and the options of it that are used."""


def shell_blocks(page: Path) -> str:
    """The text of all blocks of shell."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", text, flags=re.MULTILINE | re.DOTALL)
    assert found
    return "\n".join(found)


def commands(text: str, name: str) -> Iterator[list[str]]:
    """Every call of a program, in whatever it is nested, as words; `$(…)` within one is one word."""
    text = text.replace("\\\n", " ")
    for match in re.finditer(rf"(?:^|[(`])\s*(?:\w+=)?\s*{name} (?=[a-z])", text, flags=re.MULTILINE):
        yield words(text[match.end() :])


def words(text: str) -> list[str]:
    """The words of a command that begins there: to the end of the line, a pipe, or the parenthesis round it."""
    depth, quote, end = 0, "", len(text)
    for at, char in enumerate(text):
        if quote == "'":
            quote = "" if char == "'" else quote
        elif char in "'\"" and (char == quote or not quote):
            quote = "" if quote else char
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif (char == ")" and not depth) or (not depth and not quote and char in "|;&\n>`"):
            end = at
            break
    flat = re.sub(
        r"\$\([^()]*(?:\([^()]*\)[^()]*)*\)",
        lambda one: one[0].replace('"', "").replace(" ", "_"),
        text[:end],
    )
    return shlex.split(flat.removesuffix("/dev/null"))


SHOWN = [*commands(shell_blocks(PAGE), "aws"), *commands(HELPERS.read_text(encoding="utf-8"), "aws")]
IN_PROSE = [shlex.split(one) for one in re.findall(r"`aws ([^`\n]+)`", PAGE.read_text(encoding="utf-8"))]


@cache
def service(name: str) -> Any:
    return botocore.session.get_session().get_service_model(name)


def options(arguments: list[str]) -> list[str]:
    return [word[2:].partition("=")[0] for word in arguments if word.startswith("--")]


def test_the_commands_are_found() -> None:
    assert len(SHOWN) > 30
    assert {words[0] for words in SHOWN} >= {
        "cloudformation",
        "ecs",
        "dynamodb",
        "kms",
        "ecr",
        "application-autoscaling",
    }


@pytest.mark.parametrize("command", [*SHOWN, *IN_PROSE], ids=" ".join)
def test_a_command_of_aws_exists_with_its_options(command: list[str]) -> None:
    name, operation, *arguments = command
    given = set(options(arguments)) - GLOBAL
    if (name, operation) in CUSTOM:
        assert given <= CUSTOM[name, operation]
        return
    model = service({"logs": "logs"}.get(name, name))
    by_command = {xform_name(one, "-"): one for one in model.operation_names}
    if operation == "wait":
        waiters = botocore.session.get_session().get_waiter_model(name)
        by_waiter = {xform_name(one, "-"): one for one in waiters.waiter_names}
        of = model.operation_model(waiters.get_waiter(by_waiter[arguments[0]]).operation)
    else:
        assert operation in by_command, f"{name} has no {operation}"
        of = model.operation_model(by_command[operation])
    shape = of.input_shape
    members = {xform_name(one, "-") for one in shape.members} if shape else set()
    members |= {"start-from-head"} & members
    assert given <= members, f"no such options: {given - members}"
    if command in SHOWN:
        needed = {xform_name(one, "-") for one in (shape.required_members if shape else [])}
        assert needed <= given, f"missing: {needed - given}"


def overrides() -> Iterator[tuple[str, str, str]]:
    """Template, parameter and value of every deployment on the page."""
    for command in SHOWN:
        if command[:2] == ["cloudformation", "deploy"]:
            stack = command[command.index("--stack-name") + 1]
            for word in command[command.index("--parameter-overrides") + 1 :]:
                name, _, value = word.partition("=")
                yield stack, name, value


def test_parameters_that_are_given_are_ones_of_the_template_and_the_first_deployment_gives_all_that_it_wants() -> (
    None
):
    given: dict[str, set[str]] = {}
    for stack, name, value in overrides():
        parameter = STACKS[stack]["Parameters"][name]
        given.setdefault(stack, set()).add(name)
        if "AllowedValues" in parameter:
            assert value in map(str, parameter["AllowedValues"])
        if name == "Tenants":
            assert json.loads(value)["acme"]
    for stack, of in STACKS.items():
        wanted = {name for name, one in of["Parameters"].items() if "Default" not in one}
        assert wanted <= given[stack]


@pytest.mark.parametrize(
    "text", [PAGE.read_text(encoding="utf-8"), HELPERS.read_text(encoding="utf-8")], ids=["page", "helpers"]
)
def test_outputs_that_are_asked_for_are_ones_of_the_stack(text: str) -> None:
    asked = re.findall(r'output "(\$[A-Z]+)" (\w+)', text)
    assert len(asked) > 3
    for stack, name in asked:
        assert name in STACKS[stack]["Outputs"], name


def test_an_operators_commands_exist() -> None:
    from test_docs import OPTIONS

    text = PAGE.read_text(encoding="utf-8") + HELPERS.read_text(encoding="utf-8")
    found = re.findall(r"\boperator ([a-z][^)`\n\"]*)", re.sub(r"operator\(\)", "", text))
    commands = [shlex.split(one) for one in found if "--" in one or one.startswith("advance-horizon")]
    assert len(commands) > 5
    for words in commands:
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in OPTIONS:
            path = (*path, words.pop(0))
        assert path, words
        assert {word for word in words if word.startswith("--")} <= OPTIONS[path], words


def test_the_cost_table_is_what_plan_says() -> None:
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| `kcl-app (plan [^`]+)` \|$",
        PAGE.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert len(rows) == 3
    for providers, events, shards, tasks, dollars, command in rows:
        done = run(*command.split(), "--json")
        plan = json.loads(done.out)
        demand = {one["name"]: one["value"] for one in plan["assumptions"]}
        shown = [int(one.replace(",", "")) for one in (providers, events, shards, tasks, dollars)]
        assert shown == [
            demand["providers"],
            demand["events_per_second"],
            plan["shards"],
            plan["tasks"],
            round(plan["dollars_per_month"]),
        ]


FAKE_AWS = """#!/bin/sh
# Answers as AWS would where a helper asks, and writes down what it was asked.
python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@" >> "$CALLS"
case "$*" in
    *describe-stacks*OutputKey*) echo "$*" | sed "s/.*OutputKey==.\\([A-Za-z]*\\).*/the-\\1/" ;;
    *describe-services*taskDefinition*) echo the-workers ;;
    *describe-services*) echo '{"awsvpcConfiguration": {"subnets": ["s"]}}' ;;
    *run-task*) echo arn:aws:ecs:us-east-1:111122223333:task/cluster/abc ;;
    *get-log-events*) printf 'one\\ttwo\\n' ;;
    *describe-tasks*) echo 3 ;;
    *describe-scalable-targets*) echo 2 ;;
esac
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Runs a line of shell with the helpers; gives what it printed, its status, and how AWS was called."""
    fake = tmp_path / "aws"
    fake.write_text(FAKE_AWS)
    fake.chmod(0o755)
    calls = tmp_path / "calls"

    def sh(line: str) -> tuple[str, int, list[list[str]]]:
        calls.unlink(missing_ok=True)
        env = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "CALLS": str(calls)}
        done = subprocess.run(
            ["sh", "-c", f". {HELPERS}\n{line}"], env=env, capture_output=True, text=True, check=False
        )
        assert done.stderr == ""
        return done.stdout, done.returncode, [json.loads(one) for one in calls.read_text().splitlines()]

    return sh


def test_operator_runs_the_command_word_by_word_where_the_service_is(shell: Any) -> None:
    out, status, calls = shell("operator replay --from 2h --tenant 'two words'")
    assert (out, status) == ("arn:aws:ecs:us-east-1:111122223333:task/cluster/abc\n", 0)
    call = calls[-1]
    given = dict(zip(call[2::2], call[3::2], strict=False))
    (override,) = json.loads(given["--overrides"])["containerOverrides"]
    assert override == {"name": "kcl-app", "command": ["replay", "--from", "2h", "--tenant", "two words"]}
    assert given["--cluster"] == "the-ClusterName"
    assert given["--task-definition"] == "the-OperatorTaskDefinition"
    assert json.loads(given["--network-configuration"]) == {"awsvpcConfiguration": {"subnets": ["s"]}}
    assert template.container("OperatorTask")["Name"] == override["name"]


def test_followed_shows_the_log_and_has_the_status_of_the_task(shell: Any) -> None:
    out, status, calls = shell("followed arn:aws:ecs:us-east-1:111122223333:task/cluster/abc")
    assert (out, status) == ("one\ntwo\n", 3)
    logs = next(call for call in calls if call[0] == "logs")
    prefix = template.container("OperatorTask")["LogConfiguration"]["Options"]["awslogs-stream-prefix"]
    assert logs[logs.index("--log-stream-name") + 1] == f"{prefix}/kcl-app/abc"


def test_as_worker_runs_the_command_with_the_task_definition_of_the_service(shell: Any) -> None:
    out, status, calls = shell('followed "$(as_worker doctor --json)" worker')
    assert (out, status) == ("one\ntwo\n", 3)
    ran = next(call for call in calls if call[1] == "run-task")
    given = dict(zip(ran[2::2], ran[3::2], strict=False))
    (override,) = json.loads(given["--overrides"])["containerOverrides"]
    assert override == {"name": template.container("WorkerTask")["Name"], "command": ["doctor", "--json"]}
    assert given["--task-definition"] == "the-workers"
    logs = next(call for call in calls if call[0] == "logs")
    prefix = template.container("WorkerTask")["LogConfiguration"]["Options"]["awslogs-stream-prefix"]
    assert logs[logs.index("--log-stream-name") + 1] == f"{prefix}/kcl-app/abc"


@pytest.mark.parametrize(("word", "suspended", "count"), [("stop", "true", "0"), ("start", "false", "2")])
def test_workers_are_stopped_and_started_without_the_scaling_undoing_it(
    shell: Any, word: str, suspended: str, count: str
) -> None:
    _, status, calls = shell(f"workers {word}")
    assert status == 0
    scaling = next(call for call in calls if "register-scalable-target" in call)
    assert f"DynamicScalingOutSuspended={suspended}," in scaling[-1]
    update = next(call for call in calls if "update-service" in call)
    assert update[update.index("--desired-count") + 1] == count
