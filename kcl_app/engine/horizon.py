"""The horizon moves by itself: as the date rolls over, a new last day is computed, and past days age out by TTL."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from kcl_app.engine.batch import BatchEngine
from kcl_app.engine.dead_letters import Letter
from kcl_app.logs import get_logger
from processors.errors import Fatal, Reject, Retry
from processors.keys import ProviderKey


@dataclass
class Advanced:
    """What a run of the job came to.

    Attributes:
        providers: looked at.
        advanced: for which days were computed.
        failed: for which a store could not be used, or something else went wrong; the next run tries them again.
        left_alone: kept by a newer version of the application.
    """

    providers: int = 0
    advanced: int = 0
    failed: int = 0
    left_alone: int = 0


def advance(engine: BatchEngine, keys: Sequence[ProviderKey], progress: Callable[[], None]) -> Advanced:
    """Advance providers to the horizon of today, each in its own zone.

    Args:
        engine: on the same stores as the workers.
        keys: which.
        progress: called after each.
    """
    result = Advanced()
    for key in keys:
        result.providers += 1
        try:
            result.advanced += engine.settler.advance(key)
        except Retry as error:
            result.failed += 1
            get_logger().warning("a provider could not be advanced", tenant=key.tenant, why=str(error))
        except Reject as reject:
            result.left_alone += 1
            get_logger().warning("a provider is left alone", tenant=key.tenant, why=str(reject))
        except Fatal:
            raise
        except Exception as error:  # one provider must not keep the others from being advanced
            result.failed += 1
            get_logger().error("a provider could not be advanced", tenant=key.tenant, exc_info=True)
            why = f"the engine raised {type(error).__name__}"
            letter = Letter("processing_failed", why, "advance-horizon", provider=key.pk())
            with suppress(Retry):  # the next run says it again
                engine.dead_letters.send([letter])
        engine.providers.forget(key)
        progress()
    return result
