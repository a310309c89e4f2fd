"""How a check ends that does not pass: what the rule is, what the plugin did, where, and how to mend it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

SHOWN = 300
"""Characters of a value that a message shows."""


class Broken(AssertionError):  # noqa: N818 - named for what the plugin did
    """The plugin breaks a rule.

    Args:
        rule: what must hold.
        did: what the plugin did.
        where: on which sample, day or change.
        mend: what to do.
    """

    def __init__(self, rule: str, did: str, where: str, mend: str) -> None:
        super().__init__(f"The rule: {rule}\nThe plugin: {did}\nWhere: {where}\nTo mend it: {mend}")
        self.rule = rule
        self.did = did
        self.where = where
        self.mend = mend


class NotApplicable(Exception):  # noqa: N818 - no error: it says why a check has nothing to look at
    """A check has nothing to look at; the message says why, and what would give it something."""


def shown(value: Any) -> str:
    """A value as a message shows it: whole if it is short."""
    try:
        text = value.isoformat() if isinstance(value, datetime) else repr(value)
    except Exception as error:  # a plugin's value may raise when it is looked at
        text = f"a value whose repr raises {type(error).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
