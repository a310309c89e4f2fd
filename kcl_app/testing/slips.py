"""Faults of ours: the engine itself fails half-way, as it takes in an item that it has just written."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kcl_app.engine.providers import Providers, ProviderState
from processors.calendars import Calendar
from processors.items import Item
from processors.keys import ProviderKey

REASON = "processing_failed"
"""What the dead letter of a record says on which the engine itself failed."""


class _SlippingCalendar(Calendar):
    """A calendar that an item may fail to get into.

    Args:
        items: what it starts with; these do get in.
        slips: whether the next one does not.
    """

    def __init__(self, items: Iterable[Item], slips: Callable[[], bool]) -> None:
        super().__init__(items)
        self._slips: Callable[[], bool] | None = slips

    def put(self, item: Item, name: tuple[str, str] | None = None) -> None:
        """Add an item or replace it.

        Raises:
            RuntimeError: it slips, and nothing has changed.
        """
        slips = getattr(self, "_slips", None)  # there is none while it is filled
        if slips is not None and slips():
            raise RuntimeError("a fault of ours")
        super().put(item, name)


def let_slip(providers: Providers, slips: Callable[[], bool]) -> None:
    """Have a process's memory fail half-way now and then, in an item that is in the tables already.

    Args:
        providers: what the process knows.
        slips: whether it fails now.
    """
    load = providers._load

    def slipping(key: ProviderKey) -> ProviderState:
        state = load(key)
        state.calendar = _SlippingCalendar((one.item for one in state.copies.values() if one.live), slips)
        return state

    providers._load = slipping  # type: ignore[method-assign]
