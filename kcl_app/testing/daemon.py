"""`FakeDaemon`: a stream, tables and the real record processor in one process, for the tests of EMR plugins."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from emr_plugins.api import EmrPlugin
from emr_plugins.host import PluginHost, Tenant
from emr_plugins.registry import Registry, discover
from emr_plugins.standard import StandardPlugin
from emr_plugins.time_limit import TimeLimit
from kcl_app.engine.queries import Answer, spans
from kcl_app.engine.reading_letters import Selection, find
from kcl_app.stores.memory import MemoryStore
from kcl_app.testing.checks import History
from kcl_app.testing.clocks import VirtualClock, VirtualTime
from kcl_app.testing.faults import EVERYTHING, Faults
from kcl_app.testing.simulation import Simulation, SimulationError, quiet_and_seeded
from kcl_app.testing.stream import FakeStream
from processors.envelope import Limits, Record, read_event
from processors.errors import Reject
from processors.keys import ProviderKey

TODAY = date(2026, 3, 9)
"""A Monday, the day after New York's clocks went forward."""
TENANT = "test"
TRACE_LINES = 60
"""Of a run that failed, shown at its end."""


@dataclass(frozen=True)
class DeadLetter:
    """What was set aside.

    Attributes:
        reason: the short word.
        detail: what is wrong, for a person.
        event_id: of the event, where that could be read.
        provider: whose days it leaves stale, or None.
        days: the local dates that it leaves stale.
    """

    reason: str
    detail: str
    event_id: str | None
    provider: str | None
    days: tuple[str, ...]


class FakeDaemon:
    """Sends events through the real record processor, and tells what became of them.

    Args:
        plugins: the plugins that run, besides the built-in `standard`; those installed if None.
        today: the date in every time zone at noon of UTC; from it on there are documents.
        time_zone: the tenant's.
        settings: the tenant's settings by plugin name.
        horizon_days: days ahead, today the first.
        call_seconds: how long a call into a plugin may take, as `plugins.call_seconds`; in the main thread only, as in
            a worker. Nobody is suspended.

    Raises:
        ValueError: a plugin is refused, or its settings are wrong; says why.
    """

    def __init__(
        self,
        plugins: Sequence[EmrPlugin] | None = None,
        *,
        today: date = TODAY,
        time_zone: str = "UTC",
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        horizon_days: int = 7,
        call_seconds: float = 5,
    ) -> None:
        self._registry = _registry(plugins)
        tenant = Tenant(time_zone, settings or {})
        self._host = PluginHost(self._registry, lambda name: tenant, limit=TimeLimit(call_seconds))
        self._host.check_settings([TENANT])
        self._noon = datetime.combine(today, time(12), UTC)
        self._horizon_days = horizon_days
        self._accepted: list[bytes] = []
        self._stream = FakeStream(random.Random(0), 1, self._noon.timestamp())
        self._history = self._played(self._stream, [])
        self._simulation = Simulation(self._history, Faults(), seed=0, recovery=0)

    def _played(self, stream: FakeStream, accepted: Iterable[bytes]) -> History:
        records = [Record(data, str(number), 0, "") for number, data in enumerate(accepted, start=1)]
        return History(self._host, stream, records, self._noon, horizon_days=self._horizon_days)

    def event(self, event: Mapping[str, Any] | bytes | str) -> bytes:
        """An event as ingress would put it on the stream.

        Args:
            event: the envelope as a mapping, of which only `type` and `data` must be given: what is missing is made up,
                and `emr` is the one plugin's that runs besides the built-in ones. Bytes and text stay as they are.
        """
        number = len(self._accepted) + 1
        if isinstance(event, bytes):
            return event
        if isinstance(event, str):
            return event.encode()
        tenant = event.get("tenant", TENANT)
        made_up = {
            "specversion": "1.0",
            "id": f"event-{number}",
            "source": f"/tenants/{tenant}",
            "time": (self._noon - timedelta(days=1) + timedelta(seconds=number)).isoformat(),
            "tenant": tenant,
            "emr": self._only_plugin(),
            "sequence": f"{number:020d}",
        }
        return json.dumps({**made_up, **event}).encode()

    def _only_plugin(self) -> str:
        names = [name for name in self._registry.plugins if name not in ("standard", "fhir_r4", "hl7v2")]
        return names[0] if len(names) == 1 else "standard"

    def send(self, *events: Mapping[str, Any] | bytes | str) -> None:
        """Put events on the stream, and let the record processor have them until all are checkpointed.

        Raises:
            SimulationError: the record processor broke the protocol, or something was lost; never for what a plugin
                does, which shows in stale days and dead letters.
        """
        (shard,) = self._stream.open_shards()
        for event in events:
            data = self.event(event)
            self._accepted.append(data)
            self._stream.put(shard, data)
            self._history.accepted.append(Record(data, str(len(self._accepted)), 0, ""))
        self._simulation.deliver()

    def day(self, provider: str, day: date | str, *, emr: str | None = None, tenant: str = TENANT) -> Answer:
        """The document of a provider-day.

        Raises:
            LookupError: there is none; it names the providers known.
        """
        key = ProviderKey(tenant, emr or self._only_plugin(), provider)
        wanted = date.fromisoformat(day) if isinstance(day, str) else day
        for answer in spans(self._simulation.store, key, wanted, wanted, self._simulation.clock.seconds()):
            return answer
        raise LookupError(
            f"no document for {key.pk()} on {wanted}; there are: {', '.join(self.providers()) or 'none'}"
        )

    def spans(
        self, provider: str, day: date | str, *, emr: str | None = None, tenant: str = TENANT
    ) -> list[dict[str, Any]]:
        """The spans of a provider-day, as they are published.

        Raises:
            LookupError: there is no document for it.
            AssertionError: the day is stale; it says why.
        """
        found = self.day(provider, day, emr=emr, tenant=tenant)
        assert found.status == "fresh", f"{provider} on {day} is stale: {found.reason}"
        return found.spans

    def providers(self) -> list[str]:
        """The providers known, as `tenant#emr#provider`."""
        return sorted(self._simulation.checks.known())

    def dead_letters(self) -> list[DeadLetter]:
        """What was set aside so far, oldest first."""
        return [
            DeadLetter(
                one.reason,
                one.detail,
                one.event_id,
                one.provider.provider if one.provider else None,
                one.days,
            )
            for one in find(self._simulation.store, Selection(), self._simulation.clock.seconds())
        ]

    def assert_same_answer(
        self, events: Iterable[Mapping[str, Any] | bytes | str], seeds: Collection[int] = range(20)
    ) -> None:
        """Whatever happens, the tables end as one clean pass over the events leaves them.

        Each seed plays the events with workers that crash, are thrown off their shards and fail to write, with late and
        doubled events; nothing of what was sent before counts. Before that they are played once as they are, where
        calls into plugins are limited in time; in what follows, played in threads, they are not.

        Args:
            events: samples, as for `send`; every event with a revision of its own, as the plugin gives it.
            seeds: which runs; each is the same every time.

        Raises:
            AssertionError: a run differed; it names the seed, and tells what happened in it. Or a call took too long.
        """
        before, self._accepted = self._accepted, []
        try:
            for event in events:
                self._accepted.append(self.event(event))
            self._play_in_time()
            for seed in seeds:
                self._play(seed)
        finally:
            self._accepted = before

    def _play_in_time(self) -> None:
        """Fail for what would hang the runs that follow."""
        store = MemoryStore()
        history = self._played(FakeStream(random.Random(0), 1, self._noon.timestamp()), self._accepted)
        with quiet_and_seeded(0):
            clock = VirtualClock(VirtualTime(self._noon))
            history.engine(store, clock).run(history.accepted, "in time")
        for letter in find(store, Selection(), clock.seconds()):
            if letter.reason == "plugin_timeout":
                whose = f"event {letter.event_id}" if letter.event_id else f"provider {letter.provider}"
                raise AssertionError(f"{letter.detail}: {whose}")

    def _play(self, seed: int) -> None:
        rng = random.Random(f"samples {seed}")
        stream = FakeStream(rng, 2, self._noon.timestamp())
        shards = stream.open_shards()
        delivered = _disordered(self._accepted, rng)
        for data in delivered:
            for number in self._shards_of(data):
                stream.put(shards[number], data, joins=rng.random() < 0.1)
        try:
            Simulation(self._played(stream, self._accepted), EVERYTHING, seed).run()
        except SimulationError as error:
            told = "\n".join(str(error.trace).splitlines()[-TRACE_LINES:])
            raise AssertionError(
                f"{error}\nPlay it alone with assert_same_answer(events, seeds=[{seed}]). What happened last:\n{told}"
            ) from error

    def _shards_of(self, data: bytes) -> list[int]:
        """Where an event travels: on the shards of the providers that it names, as ingress splits it."""
        try:
            changes = self._host.decode(read_event(data, Limits()))
        except Reject:
            return [0]
        named = {provider for change in changes for provider in change.providers}
        return sorted({zlib.crc32(provider.encode()) % 2 for provider in named}) or [0]


def _registry(plugins: Sequence[EmrPlugin] | None) -> Registry:
    if plugins is None:
        registry = discover()
    else:
        registry = Registry()
        for plugin in (StandardPlugin(), *plugins):
            registry.add(plugin, "tests", "0")
    if registry.refused:
        raise ValueError("; ".join(f"plugin {one.name} is refused: {one.reason}" for one in registry.refused))
    return registry


def _disordered(datas: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Some come late, some twice."""
    found = list(datas)
    for index in range(len(found)):
        if rng.random() < 0.2:
            other = min(len(found) - 1, index + rng.randint(1, 6))
            found[index], found[other] = found[other], found[index]
    for data in list(found):
        if rng.random() < 0.1:
            found.insert(rng.randint(found.index(data) + 1, len(found)), data)
    return found
