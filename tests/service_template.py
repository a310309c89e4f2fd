"""What deploy/ecs/service.yaml allows, resolved with the defaults that the local cloud has too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kcl_app.local.local_cloud import read_template
from kcl_app.settings import PROJECT_ROOT

SERVICE = read_template(PROJECT_ROOT / "deploy" / "ecs" / "service.yaml")
DATA = read_template(PROJECT_ROOT / "deploy" / "ecs" / "data.yaml")
RESOURCES: dict[str, Any] = SERVICE["Resources"]

WORKER, HORIZON, OPERATOR = "WorkerRole", "HorizonRole", "OperatorRole"
PRODUCER, READER = "ProducerPolicy", "ReaderPolicy"

Allowed = set[tuple[str, str]]
"""Actions of IAM, and the resource as `recording_cloud.Asked` names it."""


def properties(resource: str) -> dict[str, Any]:
    """A resource's properties."""
    found: dict[str, Any] = RESOURCES[resource]["Properties"]
    return found


def container(task: str, name: str = "kcl-app") -> dict[str, Any]:
    """A container of a task definition."""
    (found,) = [one for one in properties(task)["ContainerDefinitions"] if one["Name"] == name]
    return dict(found)


def environment(task: str) -> dict[str, Any]:
    """The variables of a task's container, as the template has them."""
    return {one["Name"]: one["Value"] for one in container(task)["Environment"]}


def statements(name: str) -> list[dict[str, Any]]:
    """The statements of a role, or of a managed policy."""
    of = properties(name)
    documents = [one["PolicyDocument"] for one in of.get("Policies", [of])]
    return [statement for document in documents for statement in document["Statement"]]


def listed(value: Any) -> list[Any]:
    """One or several, as IAM has it."""
    return value if isinstance(value, list) else [value]


def allowed(name: str, *, collector: bool = False) -> Allowed:
    """What a role or policy allows of streams, tables and the bucket; or what it allows its collector.

    Args:
        name: of the resource in the template.
        collector: the statements of the collector instead, which cannot be recorded here.
    """
    found: Allowed = set()
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        if statement.get("Sid", "").startswith("Collector") is not collector or statement["Sid"] == "DataKey":
            continue
        for action in listed(statement["Action"]):
            found |= {(action, resource) for resource in resources(statement)}
    return found


def resources(statement: dict[str, Any]) -> list[str]:
    """What a statement is about, in the same words."""
    return [_resource(one) for one in listed(statement["Resource"])]


def key_use(name: str) -> Iterator[tuple[str, str]]:
    """Which actions of the key a role or policy allows, by way of which service."""
    for statement in statements(name):
        if statement.get("Sid") == "DataKey":
            assert statement["Resource"] == {"Ref": "DataKeyArn"}
            for service in statement["Condition"]["StringEquals"]["kms:ViaService"]:
                for action in listed(statement["Action"]):
                    yield action, service["Sub"].partition(".")[0]


def _resource(value: Any) -> str:
    """``!Sub arn:…`` or ``!GetAtt …`` in short."""
    if not isinstance(value, dict):
        return str(value)
    if "Sub" not in value:
        return str(next(iter(value.values())))

    def default(match: re.Match[str]) -> str:
        of = SERVICE["Parameters"].get(match[1], {})
        # The bucket has no default there, since it is called otherwise in each account.
        return str(of.get("Default", "scheduling-dead-letters" if match[1] == "DeadLetterBucketName" else ""))

    text = re.sub(r"\$\{(\w+)\}", default, re.sub(r"\$\{AWS::\w+\}", "", value["Sub"]))
    kind, name = text.split(":")[2], text.split(":", 5)[5]
    if kind == "s3":
        bucket, slash, _ = name.partition("/")
        return f"{'object' if slash else 'bucket'}/{bucket}"
    return name
