"""HL7 FHIR R4 (4.0.1) → items: Slot, Schedule, Appointment and PractitionerRole, one at a time or in a Bundle.

Only the parts of a resource that availability needs are read, into the small models below; the rest, whatever names
a patient included, is never looked at. A property that is null counts as left out. References are understood as
``Type/id``, as an absolute URL that ends so, and with a ``/_history/<version>`` behind.

What each resource becomes, and which provider it is about:

- Slot → slot. Provider: the event's subject, else the id of its Schedule, since a bookable resource need not be a
  person. Service types: the codes of all codings of `serviceType`, whatever their system; one with text only has none.
- Schedule → working hours without any hours: its provider becomes known and, by the timezone extension, gets its zone
  (without one, the tenant's). Provider: the subject, else its own id. An inactive one is a cancelled carrier of the
  zone and no more: its slots say for themselves whether they are free.
- Appointment → appointment. Providers: the actors of the types in the settings that did not decline, else the subject.
  If all of them declined it is as good as cancelled.
- PractitionerRole → working hours. Provider: the id of its `practitioner`, else the subject. Hours have a location if
  the role has exactly one, and no service types: FHIR's specialties and healthcare services are not service types.

An event whose type ends in ``delete`` or ``deleted`` withdraws the resource, and so does a Bundle's DELETE; only type,
id and version are read then.
"""

from __future__ import annotations

from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    TypeAdapter,
    ValidationError,
)

from emr_plugins.api import (
    API_VERSION,
    Context,
    Event,
    ItemChange,
    Reject,
    StandardEnginePlugin,
)
from processors.errors import explain

from .datatypes import FhirElement, Many, named_in, wrong
from .resources import READERS, Actor

_OBJECT = TypeAdapter(dict[str, Any])


class FhirR4Settings(BaseModel):
    """A tenant's settings.

    Attributes:
        actors: the types of Appointment participants that are providers. The provider id of a Practitioner or
            PractitionerRole is its bare id, as in a partner's other events; of another type the reference
            (``Location/1``), so that a room never has the calendar of a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    actors: tuple[Actor, ...] = ("Practitioner", "PractitionerRole")


class FhirR4Plugin(StandardEnginePlugin):
    """Understands HL7 FHIR R4 scheduling resources as JSON."""

    name = "fhir_r4"
    api_version = API_VERSION
    Settings = FhirR4Settings

    def decode(self, event: Event, context: Context) -> list[ItemChange]:
        """One change for a resource; for a Bundle, one for each item in it, other resource types ignored.

        A Bundle may hold the resources of several providers and be split into one event for each, and the copies must
        decode alike, so the subject is not looked at there: every entry names its provider itself.

        Raises:
            Reject: not one of these resources, or a field of it is wrong; says which and why.
        """
        resource = event.payload()
        if isinstance(resource, str | bytes):
            try:
                resource = _OBJECT.validate_json(resource)
            except ValueError:  # also text that is not Unicode
                resource = None
        if not isinstance(resource, dict):
            raise wrong("data", "must be a FHIR resource as a JSON object")
        deleted = event.type.lower().endswith(("delete", "deleted"))
        if resource.get("resourceType") != "Bundle":
            return [_change(resource, event.subject, deleted, context)]

        try:
            entries = _Bundle.model_validate(resource).entry
        except ValidationError as error:
            raise Reject("invalid_data", explain(error)) from None
        latest: dict[str, ItemChange] = {}
        for index, entry in enumerate(entries):
            found, entry_deleted = entry.content()
            kind = found.get("resourceType")
            if not found or (isinstance(kind, str) and kind not in READERS):
                continue
            try:
                change = _change(found, None, deleted or entry_deleted, context)
            except Reject as error:
                raise wrong(f"entry.{index}.resource", error.detail) from None
            # A history Bundle holds one resource several times, the newest first.
            if change.id not in latest or change.version > latest[change.id].version:
                latest[change.id] = change
        return list(latest.values())


class _Request(FhirElement):
    method: str = ""
    url: str = ""


class _Entry(FhirElement):
    resource: dict[str, Any] = {}
    request: _Request = _Request()

    def content(self) -> tuple[dict[str, Any], bool]:
        """The resource, and whether it is a deletion, which has a URL only; empty if there is neither."""
        named = named_in(self.request.url) if self.request.method == "DELETE" else None
        if self.resource or named is None:
            return self.resource, False
        return {"resourceType": named[0], "id": named[1]}, True


class _Bundle(FhirElement):
    entry: Many[_Entry] = []


def _change(resource: dict[str, Any], subject: str | None, deleted: bool, context: Context) -> ItemChange:
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in READERS:
        raise wrong("resourceType", f"must be {', '.join(READERS)} or Bundle")
    if deleted:
        kept = {key: resource.get(key) for key in ("id", "meta")}
        resource = {**kept, "status": "entered-in-error", "active": False}
    try:
        read = READERS[kind].model_validate(resource)
        body, providers = read.content(subject, context)
    except ValidationError as error:
        raise Reject("invalid_data", explain(error)) from None
    if not providers and body.counts:
        raise wrong(read.PROVIDER, "names no provider, and the event has no subject")
    return ItemChange(f"{kind}/{read.id}", body, providers, read.version)
