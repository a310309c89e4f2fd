"""One look, with a little time between its beginning and its end, for rates and for who renews their leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from kcl_app.settings import Settings
from kcl_app.status.gather import Gatherer, together
from kcl_app.status.verdict import Status, status

STEP_SECONDS = 0.5


def look(
    settings: Settings,
    urls: Sequence[str],
    seconds: float,
    sleep: Callable[[float], None],
    count_seconds: float = 0.0,
) -> Status:
    """Look once.

    Args:
        settings: names, region, endpoint.
        urls: of the workers, without a path.
        seconds: to watch for rates. Where no worker speaks of a shard its lease is watched besides, for one failover
            time at most, to see whether its owner lives.
        sleep: waits, in seconds.
        count_seconds: as of `Gatherer`.
    """
    gatherer = Gatherer(settings, urls, count_seconds)
    begin = time.monotonic()
    together([lambda: gatherer.scrape() and None, gatherer.stream, gatherer.leases, gatherer.count])
    sleep(max(0.0, seconds - (time.monotonic() - begin)))
    scraped = gatherer.scrape()
    gatherer.leases()
    while gatherer.unsure(scraped):
        sleep(STEP_SECONDS)
        gatherer.leases()
    gatherer.probe(scraped)
    return status(gatherer.facts(scraped))
