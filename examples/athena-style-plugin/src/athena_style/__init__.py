"""An EMR plugin for a slot-based feed: wall-clock times, departments with zones of their own, one-letter statuses."""

from .plugin import AthenaStylePlugin
from .settings import AthenaStyleSettings

__all__ = ["AthenaStylePlugin", "AthenaStyleSettings"]
