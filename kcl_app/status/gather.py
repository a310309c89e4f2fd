"""Asks workers, stream, lease table and tables; what does not answer is named, and nothing waits long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from botocore.exceptions import BotoCoreError

from kcl_app import wiring
from kcl_app.errors import PreflightError
from kcl_app.scrape import Samples, scrape
from kcl_app.settings import Settings
from kcl_app.status.facts import LETTERS, STALE, Count, Facts, Scraped, StreamShard
from kcl_app.status.questions import behind, letters_in, list_shards, readiness, stale_in
from kcl_app.status.workers import shards_seen
from kcl_app.stream.leases import Lease, Renewals, leases
from kcl_app.worker import leadership, preflight
from processors.errors import Fatal, Retry

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PROBED = 64
"""Shards whose distance is asked of the stream itself, at most: each costs one of its five reads a second."""

Value = TypeVar("Value")


def base_url(given: str) -> str:
    """A worker's address as a person gives it, without a path.

    Args:
        given: a host with a port, or a URL, with or without ``/metrics``.
    """
    url = given if "://" in given else f"http://{given}"
    return url.rstrip("/").removesuffix("/metrics").rstrip("/")


@dataclass
class Seen:
    """What was seen so far.

    Attributes:
        shards: of the stream.
        leases: of the application.
        letters: dead letters.
        stale: provider-days.
        behind: by shard, from the stream.
        missing: by what was asked, why there is no answer.
    """

    shards: list[StreamShard] | None = None
    leases: list[Lease] | None = None
    letters: Count | None = None
    stale: Count | None = None
    behind: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Gatherer:
    """Asks, each as often as is wanted. One thread at a time asks the same thing.

    Args:
        settings: names, region, endpoint, and where a worker of this machine answers.
        urls: of the workers, without a path.
        count_seconds: how long dead letters and stale days are counted; 0: the letters in the first page of theirs.
        monotonic: a clock for durations, in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        urls: Sequence[str],
        count_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count_seconds = count_seconds
        self._settings = leadership.quick(settings)
        self._urls = tuple(dict.fromkeys(urls))
        self._monotonic = monotonic
        self._clock = wiring.clock(settings)
        self._seen = Seen()
        self._scraped: dict[str, tuple[float, Samples]] = {}
        self.renewals = Renewals(settings.stream.failover_milliseconds / 1000)

    def scrape(self) -> list[Scraped]:
        """Ask the workers, all at once; rates are since the last time."""
        answers = together([partial(self._ask, url) for url in self._urls])
        found = dict(zip(self._urls, answers, strict=True))
        for url, one in found.items():
            if one.now is None:
                self._seen.missing[url] = f"{url}/metrics: no worker answers"
            else:
                self._seen.missing.pop(url, None)
        return list(found.values())

    def _ask(self, url: str) -> Scraped:
        try:
            now = scrape(f"{url}/metrics")
        except ValueError:  # something else answers
            now = None
        at = self._monotonic()
        if now is None:
            self._scraped.pop(url, None)
            return Scraped(url, None)
        then, before = self._scraped.get(url, (at, None))
        self._scraped[url] = (at, now)
        unready, refused = readiness(url)
        return Scraped(url, now, before, at - then, unready, refused)

    def stream(self) -> None:
        """Ask the stream for its shards."""
        self._seen.shards = self._try(
            "the stream",
            lambda: list_shards(self._kinesis(), self._settings.stream.name),
            f"stream {self._settings.stream.name}",
        )

    def leases(self) -> None:
        """Read the lease table."""
        application = self._settings.stream.application
        client = partial(wiring.kcl_dynamodb, self._settings)
        found = self._try("leases", lambda: leases(client(), application), f"table {application}")
        self._seen.leases = found
        if found is not None:
            self.renewals.look(found, self._monotonic())

    def count(self) -> None:
        """Count dead letters and stale provider-days, as far as that goes in the time there is.

        The dead letters of a system that is well fit into one page. Stale days do not: they are among all days of all
        providers, so their table is read only if a person wants that.
        """
        end = self._monotonic() + self._count_seconds
        dynamodb, of = wiring.dynamodb(self._settings), self._settings.tables

        def left() -> bool:
            return self._monotonic() < end

        def letters() -> Count:
            return letters_in(dynamodb, of.dead_letters, self._clock.seconds(), left)

        def stale() -> Count:
            return stale_in(dynamodb, of.spans, self._clock.seconds(), left)

        counts = [partial(self._try, LETTERS, letters, f"table {of.dead_letters}")]
        if self._count_seconds > 0:
            counts.append(partial(self._try, STALE, stale, f"table {of.spans}"))
        self._seen.letters, *rest = together(counts)
        self._seen.stale = rest[0] if rest else None

    def probe(self, scraped: Sequence[Scraped]) -> None:
        """Ask the stream how far behind the checkpoints are that no worker speaks of.

        Args:
            scraped: what the workers say.
        """
        told = {shard.shard for one in scraped for shard in shards_seen(one) if shard.lag_seconds is not None}
        wanted = [lease for lease in self._seen.leases or () if not lease.ended and lease.shard not in told]
        listed = {shard.id for shard in self._seen.shards or ()}
        self._seen.behind = {}
        for lease in wanted[:PROBED]:
            if lease.shard in listed:
                name = self._settings.stream.name
                call = partial(behind, self._kinesis(), name, lease, self._clock.seconds())
                found = self._try("lag", call, f"stream {name}")
                if found is None:
                    return
                self._seen.behind[lease.shard] = found

    def facts(self, scraped: Sequence[Scraped]) -> Facts:
        """All that is known now, with what the workers have just said."""
        seen = self._seen
        return Facts(
            at=self._clock.seconds(),
            stream=self._settings.stream.name,
            application=self._settings.stream.application,
            shards=None if seen.shards is None else tuple(seen.shards),
            leases=None if seen.leases is None else tuple(seen.leases),
            silent=frozenset(self.renewals.silent(self._monotonic())),
            workers=tuple(scraped),
            behind=dict(seen.behind),
            letters=seen.letters,
            stale=seen.stale,
            missing=tuple(dict.fromkeys(seen.missing.values())),
        )

    def unsure(self, scraped: Sequence[Scraped]) -> set[str]:
        """Shards of which it is not known yet whether their owner lives."""
        told = {shard.shard for one in scraped for shard in shards_seen(one)}
        return self.renewals.unsure(self._monotonic()) - told

    def _kinesis(self) -> KinesisClient:
        return wiring.kinesis(self._settings)

    def _try(self, what: str, call: Callable[[], Value], on: str = "") -> Value | None:
        """What a call gives; None, and a line in `missing`, where it fails. `on` is what is called, if not `what`."""
        try:
            found = preflight.ask(self._settings, on or what, call)
        except PreflightError as error:
            if error.kind == "denied":
                told = f"not allowed: {error.wrong}; kcl-app doctor --role operator says what to add"
                self._seen.missing[what] = f"{what}: {told}"
            else:
                self._seen.missing[what] = f"{what}: {error}"
        except (Retry, Fatal, BotoCoreError, OSError) as error:
            self._seen.missing[what] = f"{what}: {error}"
        except Exception as error:  # whatever it is, the rest is shown
            self._seen.missing[what] = f"{what}: {type(error).__name__}"
        else:
            self._seen.missing.pop(what, None)
            return found
        return None


def together(calls: Sequence[Callable[[], Value]]) -> list[Value]:
    """Make calls at the same time, each in a thread; their answers in the same order.

    Args:
        calls: none of them raises.
    """
    found: dict[int, Value] = {}

    def run(place: int, call: Callable[[], Value]) -> None:
        found[place] = call()

    threads = [
        threading.Thread(target=run, args=(place, call), daemon=True) for place, call in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[place] for place in range(len(calls))]
