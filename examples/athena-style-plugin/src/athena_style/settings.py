"""What a tenant says of its departments; the messages do not."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from emr_plugins.api import ZoneName


class AthenaStyleSettings(BaseModel):
    """A tenant's settings, under ``tenants.NAME.plugins.athena_style``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    departments: dict[str, ZoneName] = Field(
        default_factory=dict, description="IANA time zone of each department, by department id."
    )
    other_departments: Literal["reject", "tenant"] = Field(
        "reject",
        description="What becomes of messages of a department that is not listed: `reject` sets them aside until it "
        "is, `tenant` reads them in the tenant's time zone.",
    )
    service_types: dict[str, str] = Field(
        default_factory=dict,
        description="Service type of each appointment type, by appointment type id; the id itself if not listed.",
    )
