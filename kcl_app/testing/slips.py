"""Faults of ours: the engine itself fails half-way, as it takes in an item that it has just written."""

from __future__ import annotations

from collections.abc import Callable

from kcl_app.engine.providers import Providers, ProviderState
from processors.calendars import DayIndex, Name
from processors.items import Item
from processors.keys import ProviderKey

REASON = "processing_failed"
"""What the dead letter of a record says on which the engine itself failed."""


class _SlippingIndex(DayIndex):
    """An index that an item may fail to get into.

    Args:
        index: what it starts with.
        slips: whether the next one does not.
    """

    def __init__(self, index: DayIndex, slips: Callable[[], bool]) -> None:
        self.__dict__.update(index.__dict__)
        self._slips = slips

    def replace(self, name: Name, old: Item | None, new: Item | None) -> None:
        """Bring a change in.

        Raises:
            RuntimeError: it slips, and nothing has changed.
        """
        if new is not None and self._slips():
            raise RuntimeError("a fault of ours")
        super().replace(name, old, new)


def let_slip(providers: Providers, slips: Callable[[], bool]) -> None:
    """Have a process's memory fail half-way now and then, in an item that is in the tables already.

    Args:
        providers: what the process knows.
        slips: whether it fails now.
    """
    load = providers._load

    def slipping(key: ProviderKey) -> ProviderState:
        state = load(key)
        state.calendar = _SlippingIndex(state.calendar, slips)
        return state

    providers._load = slipping  # type: ignore[method-assign]
