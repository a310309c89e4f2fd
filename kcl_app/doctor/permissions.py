"""Whether the credentials may do what a role's processes do, found out by trying each action."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from kcl_app.doctor.checks import Check, failed, ok, skipped
from kcl_app.doctor.needs import (
    KEY_STATEMENT,
    NOT_TRIED,
    OF_THE_KCL,
    TEMPLATE,
    Need,
    On,
    Role,
    name_of,
    shown,
)
from kcl_app.doctor.probes import Probe
from kcl_app.errors import PreflightError
from kcl_app.settings import Settings
from kcl_app.worker import preflight

_REFUSED = frozenset(
    {
        "BadDigest",
        "ConditionalCheckFailed",
        "ConditionalCheckFailedException",
        "InvalidDigest",
        "NoSuchKey",
        "PreconditionFailed",
        "TransactionCanceledException",
        "ValidationError",
        "ValidationException",
    }
)
"""Errors that come after the question of permission."""


@dataclass(frozen=True)
class Denied:
    """An action that is denied.

    Attributes:
        action: as IAM names it.
        resource: its ARN, where AWS says so, or what it is.
        by: what AWS says of the reason, such as an explicit deny; empty where it does not.
    """

    action: str
    resource: str
    by: str = ""


def denied_by(error: ClientError, action: str, resource: str) -> Denied | None:
    """What is denied, if the error says that something is.

    Args:
        error: of a call.
        action: that was tried.
        resource: that it was tried on, for a person.
    """
    told = error.response.get("Error", {})
    if told.get("Code") not in (*preflight.DENIED, "KMSAccessDeniedException"):
        return None
    message = " ".join(str(told.get("Message", "")).split())
    # Such as: User: ARN is not authorized to perform: kms:Decrypt on resource: ARN because no … policy allows …
    match = re.search(r"not authorized to perform: (\S+)(?: on resource: (\S+))?(?: because (.*))?", message)
    if match is None:
        return Denied(action, resource)
    return Denied(match[1], (match[2] or resource).strip('"'), (match[3] or "").rstrip("."))


def tried(probe: Probe, what: str, settings: Settings) -> Denied | None:
    """Try one action.

    Args:
        probe: the action.
        what: it is tried on, for a person.
        settings: where AWS is.

    Raises:
        PreflightError: it failed for another reason than permission.
    """
    try:
        probe.call()
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError):
            if found := denied_by(error, probe.action, what):
                return found
            if error.response.get("Error", {}).get("Code") in _REFUSED:
                return None
        failure = error

        def again() -> None:
            raise failure

        preflight.ask(settings, what, again)
    return None


def check(role: Role, need: Need, probes: Sequence[Probe], settings: Settings) -> Iterator[Check]:
    """Try all actions of one statement.

    Args:
        role: whose statement it is.
        need: the statement.
        probes: try its actions.
        settings: where AWS is, and how things are named.
    """
    what = shown(need.on, settings)
    name = f"permissions: {what}"
    denied: list[Denied] = []
    allowed: list[str] = []
    for probe in probes:
        try:
            found = tried(probe, what, settings)
        except PreflightError as error:
            if error.kind == "missing" and need.on in OF_THE_KCL:
                yield skipped(name, "it is not there yet: the first worker makes it")
                return
            if error.kind == "missing":
                yield failed(name, error.wrong, error.mend)
                return
            untried = f"{probe.action} could not be tried: {error.wrong}"
            if error.kind in ("unreachable", "credentials"):
                yield failed(name, untried, error.mend)
                return
            yield skipped(name, untried, error.mend)
            continue
        if found:
            denied.append(found)
        else:
            allowed.append(probe.action)
    if denied:
        told = "; ".join(
            f"{one.action} on {one.resource}{f' ({one.by})' if one.by else ''}" for one in denied
        )
        yield failed(name, f"denied: {told}", mended(role, need, denied, settings))
    elif allowed and len(allowed) == len(probes):
        yield ok(name, ", ".join(_short(allowed)))


def mended(role: Role, need: Need, denied: Sequence[Denied], settings: Settings) -> str:
    """What to add, to which statement of the template; and as a statement of its own, for a policy of another make.

    Args:
        role: that was examined.
        need: the statement whose actions were tried.
        denied: what is denied.
        settings: how things are named.
    """
    if any("explicit deny" in one.by for one in denied):
        return "take the explicit deny away, or its condition: no Allow goes over it"
    places: dict[str, list[str]] = {}
    for one in denied:
        place = need.statement if one.action in need.actions else KEY_STATEMENT
        places.setdefault(place, []).append(one.action)
    told = " and ".join(
        f"{', '.join(dict.fromkeys(actions))} to statement {place}" for place, actions in places.items()
    )
    return (
        f"add {told} of {role.resource} in {TEMPLATE}; in another policy: {statement(denied, need, settings)}"
    )


def statement(denied: Sequence[Denied], need: Need, settings: Settings) -> str:
    """The statement that a policy lacks. Arguments as of `mended`."""

    def arn(one: Denied) -> str:
        if one.resource.startswith("arn:"):
            return one.resource
        # S3 answers some calls with a status and no more.
        name = {On.BUCKET: "", On.OBJECTS: "/*"}.get(need.on)
        return "*" if name is None else f"arn:aws:s3:::{name_of(need.on, settings)}{name}"

    actions = sorted({one.action for one in denied})
    resources = sorted({arn(one) for one in denied})
    return json.dumps({"Effect": "Allow", "Action": actions, "Resource": resources})


def not_tried(role: Role) -> Iterator[Check]:
    """The actions of a role that nobody can try without changing something."""
    found = [(action, need) for need in role.needs for action in need.actions if action in NOT_TRIED]
    if not found:
        return
    by_action: dict[str, list[str]] = {}
    for action, need in found:
        by_action.setdefault(action, []).append(need.statement)
    told = "; ".join(
        f"{action} ({', '.join(statements)}), which {NOT_TRIED[action]}"
        for action, statements in sorted(by_action.items())
    )
    yield skipped(
        "permissions: what trying would change",
        told,
        f"compare the role's policy with these statements of {role.resource} in {TEMPLATE}",
    )


def _short(actions: Sequence[str]) -> list[str]:
    """Actions with their service named once."""
    service = actions[0].partition(":")[0] if actions else ""
    return [*actions[:1], *(action.removeprefix(f"{service}:") for action in actions[1:])]
