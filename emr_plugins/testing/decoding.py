"""Checks of `decode`: what it understands."""

from __future__ import annotations

from fnmatch import fnmatch

from .failures import Broken, NotApplicable
from .subject import Subject

_RULE = "every sample is understood, and changes something"


def decodes_every_sample(subject: Subject) -> None:
    """Each sample gives items, unless it is said to change nothing."""
    if not subject.own_samples:
        raise NotApplicable('there are no samples: name some, as samples = "samples/*.json"')
    for sample in subject.own_samples:
        outcome = subject.decode(sample.event)
        if outcome.reject is not None:
            did = f"rejects it: {outcome.reject.detail} ({outcome.reject.reason})"
            mend = "read what this message says; if it is right to reject it, move it to the rejects"
            raise Broken(_RULE, did, f"sample {sample.name}", mend)
        if outcome.failure is not None:
            mend = "raise Reject for what cannot be understood, and return ItemChanges for what can"
            raise Broken(_RULE, outcome.failure, f"sample {sample.name}", mend)
        # Names of samples in lists hold brackets, which mean something else in a pattern.
        may_be_none = any(
            sample.name == pattern or fnmatch(sample.name, pattern)
            for pattern in subject.options.changes_nothing
        )
        if not outcome.value and not may_be_none:
            raise Broken(
                _RULE,
                "decodes it to no item",
                f"sample {sample.name}",
                f'read what it changes; if it is right that it changes nothing: changes_nothing = ("{sample.name}",)',
            )
