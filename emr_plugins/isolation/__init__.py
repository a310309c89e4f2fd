"""Plugins that are not trusted run in a process of their own, one for each process that calls them.

    worker's child ── asks ──▶ a plugin's process
                   ◀─ answers ─

It has a limit of memory, ends with whoever started it, and is started again at the next call where it has ended: so a
plugin may exit, crash or take all the memory it can get, and loses no more than the call. Whatever it answers is read
as JSON and checked as any plugin's answer is. It is no wall against a plugin that means harm: it has the same user.
"""

from .plugin import isolated
from .process import DEFAULT_MEMORY_MB, CannotStart

__all__ = ["DEFAULT_MEMORY_MB", "CannotStart", "isolated"]
