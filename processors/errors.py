"""Errors, named by how to recover from them: set aside, try again, or stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from pydantic import ValidationError
from pydantic_core.core_schema import ErrorType

REASONS = (
    "document_too_large",
    "invalid_data",
    "invalid_envelope",
    "killed_worker",
    "newer_schema",
    "not_json",
    "plugin_failed",
    "plugin_nonsense",
    "plugin_suspended",
    "plugin_timeout",
    "processing_failed",
    "too_large",
    "too_many_items",
    "unknown_emr",
    "unknown_tenant",
)
"""Every reason for which something is set aside: a fixed list, since reasons are labels of metrics."""


class Reject(ValueError):  # noqa: N818 - named by the recovery, as are the two below
    """Set aside: this input will never be right, so it goes to the dead letters with its reason.

    Args:
        reason: a short, fixed word for metrics and filters, such as ``invalid_envelope``.
        detail: which field is wrong and why, for a person. It never holds a value of the input, since details
            are logged and stored where patient data may not be.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Retry(RuntimeError):  # noqa: N818
    """Try again later: the input is fine, a store or the stream could not take it now."""


class Fatal(RuntimeError):  # noqa: N818
    """Stop the process: its state is not known any more, and going on could lose data."""


SAID = {
    "dict_type": "must be an object",
    "extra_forbidden": "there is no such name here",
    "missing": "is required",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "string_type": "must be a text",
    "tuple_type": "must be a list",
}
"""Words for people, for pydantic's types of errors that speak of Python."""


_PYDANTICS = frozenset(get_args(ErrorType))
"""All types that are pydantic's; a validator may raise errors of types of its own."""
_MAY_QUOTE = frozenset({"assertion_error", "union_tag_invalid", "value_error"})
"""Pydantic's types of errors whose words are a validator's own, or hold what was given."""


def explain(
    error: ValidationError, within: str = "", *, ours: bool = True, said: Mapping[str, str] = SAID
) -> str:
    """One line for a pydantic error: each wrong field with what is wrong, without the input's values.

    Args:
        error: of a validation.
        within: the field that was validated, as ``data``; in front of each name.
        ours: whether the model is of this project, whose validators do not quote; a plugin's may.
        said: words for pydantic's types of errors.
    """
    parts = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]:
        field = ".".join([*([within] if within else []), *(str(part) for part in problem["loc"])])
        words = said.get(problem["type"]) or problem["msg"].removeprefix("Value error, ")
        if not ours and (problem["type"] in _MAY_QUOTE or problem["type"] not in _PYDANTICS):
            words = "is not accepted"
        parts.append(f"{field}: {words}" if field else words)
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
