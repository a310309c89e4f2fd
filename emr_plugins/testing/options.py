"""What an author may tell the kit besides the plugin and its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Options:
    """The optional attributes of `EmrPluginConformance`, and the optional arguments of `check`.

    Attributes:
        settings: the tenant's settings for the plugin, as they would stand under ``tenants.NAME.plugins.PLUGIN``.
        time_zone: the tenant's.
        changes_nothing: names of samples, as patterns of file names, that may decode to no item at all.
        patient_fields: names of the message's fields that hold a patient's data, besides those that the kit knows.
        not_patient_fields: names that the kit takes for a patient's and that are none in this format.
        decode_per_second: how many messages a core must decode in a second, at the least.
        spans_per_second: how many provider-days' spans a core must compute in a second, at the least.
        call_seconds: how long one call may take, as the worker's `plugins.call_seconds`.
        runs: how many random histories are played; more find more.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    time_zone: str = "America/New_York"
    changes_nothing: tuple[str, ...] = ()
    patient_fields: tuple[str, ...] = ()
    not_patient_fields: tuple[str, ...] = ()
    decode_per_second: float = 500
    spans_per_second: float = 200
    call_seconds: float = 5
    runs: int = 30

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Options by name.

        Raises:
            ValueError: there is no option of a name.
        """
        known = {one.name for one in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ValueError(
                f"no option of the kit is called {unknown[0]}; there are: {', '.join(sorted(known))}"
            )
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        return cls(**plain)


NAMES = tuple(one.name for one in fields(Options))
