"""The built-in plugin `fhir_r4`: HL7 FHIR R4 scheduling resources."""

from .plugin import FhirR4Plugin, FhirR4Settings

__all__ = ["FhirR4Plugin", "FhirR4Settings"]
