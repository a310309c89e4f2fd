"""The `standard` format: for partners without a format of their own, and for what another feed lacks.

Events of its six types are understood under every `emr`, so that hours or days off can come from the partner or an
administrator where the EMR's own feed has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from processors.errors import explain
from processors.items import BODIES

from .api import API_VERSION, Availability, Context, Event, ItemChange, Reject, StandardEnginePlugin

RESERVED_TYPES = frozenset(BODIES)
"""Event types that mean the standard format whatever `emr` says."""

_Id = Annotated[str, Field(min_length=1, max_length=256)]


class _Header(BaseModel):
    """What every message of the format has besides the fields of its body."""

    model_config = ConfigDict(strict=True, hide_input_in_errors=True, extra="ignore")

    id: _Id | None = None
    provider_id: _Id | None = None
    version: Annotated[int, Field(ge=0)] = 0


class StandardPlugin(StandardEnginePlugin):
    """Decodes `working_hours`, `date_override`, `time_off`, `appointment`, `slot` and `availability`."""

    name = "standard"
    api_version = API_VERSION

    def decode(self, event: Event, context: Context) -> Iterable[ItemChange]:
        """One item for each event."""
        if event.type not in RESERVED_TYPES:
            raise Reject("invalid_data", f"type: must be one of {', '.join(sorted(RESERVED_TYPES))}")
        data = event.payload()
        if not isinstance(data, dict):
            raise Reject("invalid_data", "data: must be a JSON object")
        header = _validated(_Header, data)
        body = _validated(BODIES[event.type], data)
        provider = header.provider_id
        if provider is None and (body.counts or isinstance(body, Availability)):
            provider = event.subject
            if provider is None:
                raise Reject("invalid_data", "data.provider_id: is required where the event has no subject")
        item_id = header.id
        if isinstance(body, Availability):
            item_id = f"{provider}/{body.date.isoformat()}"
        elif item_id is None:
            raise Reject("invalid_data", "data.id: is required")
        assert item_id is not None  # one of the two branches above set it
        return [ItemChange(item_id, body, () if provider is None else (provider,), header.version)]


def _validated(model: type[Any], data: dict[str, Any]) -> Any:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise Reject("invalid_data", explain(error, "data")) from None
