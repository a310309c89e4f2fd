"""The built-in plugin `hl7v2`: HL7 version 2 scheduling messages (SIU)."""

from .plugin import Hl7V2Plugin, Hl7V2Settings

__all__ = ["Hl7V2Plugin", "Hl7V2Settings"]
