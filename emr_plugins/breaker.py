"""Breakers: a plugin that keeps failing is suspended for a while, so that others keep their speed, and then tried
again.

What fails may be the plugin altogether, or one tenant's data, or one provider's. So each call counts with three
breakers, for each method by itself, and is refused while any of them is open:

- its *provider's* (for `decode`: the provider that the event travels with) opens only when calls hang;
- its *tenant's* opens when several providers in a row fail and none succeeds in between, or when calls hang too often;
- that of *all* opens when several tenants in a row fail and none succeeds in between, or when calls hang too often.

A breaker that is open lets one call through after a pause. If that succeeds it closes; if it fails the next pause is
longer. What a plugin rejects is no failure of the plugin, and no success either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Scope = Literal["provider", "tenant", "all"]

HANGS: dict[Scope, int] = {"provider": 1, "tenant": 3, "all": 6}
"""How many times `Policy.timeouts` calls may hang, by breaker: one bad provider must not suspend its tenant, nor one
tenant the plugin."""

LEAK = 12
"""A call that hung is forgotten after this many times the limit of a call: so in the long run a plugin that hangs now
and then costs a twelfth of a shard's time, and no more."""

MAX_BREAKERS = 10_000
"""Breakers kept; only those that have seen a failure are. Tenants and providers may be whatever events say."""


@dataclass(frozen=True)
class Policy:
    """When a plugin is suspended, and for how long.

    Attributes:
        call_seconds: how long a call may take. One that fails after half of it counts as one that hung.
        failures: providers (or tenants) that fail in a row until their tenant (or all) is suspended.
        timeouts: calls of one provider that hang until it is suspended. One that hangs counts as `failures / timeouts`
            providers in a row.
        pause_seconds: until a call is let through, the first time; each further pause is twice as long.
        longest_pause_seconds: the longest.
    """

    call_seconds: float = 5
    failures: int = 20
    timeouts: int = 2
    pause_seconds: float = 30
    longest_pause_seconds: float = 600


class Call(NamedTuple):
    """Whose call it is.

    Attributes:
        plugin: its name.
        method: `decode`, `impact` or `spans`.
        tenant: whose data.
        provider: what of it: a provider, or for an event that names none something that tells it from others.
    """

    plugin: str
    method: str
    tenant: str
    provider: str


Key = tuple[str, ...]
Opened = Callable[[Call, Scope, int, bool], None]
"""Told when a breaker opens (True) or closes: the call, the scope, how many of plugin, method and scope are open
now."""


@dataclass
class Breaker:
    """One breaker.

    Attributes:
        scope: whose.
        call: the last call that failed.
        hangs: calls that hung and are not forgotten yet.
        run: who failed since the last success, and how much each counts.
        open: whether calls are refused.
        until: when the next is let through, if it is open.
        pause: how long the last pause was meant to be, in seconds.
        seen: when `hangs` was right.
    """

    scope: Scope
    call: Call
    hangs: float = 0
    run: dict[str, int] = field(default_factory=dict)
    open: bool = False
    until: float = 0
    pause: float = 0
    seen: float = 0


class Breakers:
    """The breakers of all plugins of a process. Not for several threads.

    Args:
        policy: when they open.
        monotonic: a clock for durations, in seconds.
        random: a number from 0 to 1: pauses differ, so that the shards of a worker do not all try at once.
        opened: told when one opens or closes.
    """

    def __init__(
        self,
        policy: Policy,
        monotonic: Callable[[], float],
        random: Callable[[], float],
        opened: Opened | None = None,
    ) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._random = random
        self._opened: Opened = opened or (lambda call, scope, number, is_open: None)
        self._breakers: dict[Key, Breaker] = {}
        self._open: Counter[Key] = Counter()

    def refusal(self, call: Call) -> Scope | None:
        """Whose breaker refuses a call; None if it may be made, and then how it ended must be told."""
        if not self._breakers:
            return None
        now = self._monotonic()
        for scope, key in _keys(call):
            breaker = self._breakers.get(key)
            if breaker is not None and breaker.open and now < breaker.until:
                return scope
        return None

    def succeeded(self, call: Call) -> None:
        """A call returned what makes sense."""
        if not self._breakers:
            return
        now = self._monotonic()
        for _, key in _keys(call):
            breaker = self._breakers.get(key)
            if breaker is None:
                continue
            self._leak(breaker, now)
            breaker.run.clear()
            if breaker.open:
                # One more that hangs opens it again: a plugin that hangs now and then must not begin anew each time.
                breaker.hangs = min(breaker.hangs, self._most(breaker.scope) - 1)
                self._turn(breaker, call, False)
            if not breaker.hangs:
                del self._breakers[key]

    def failed(self, call: Call, hung: bool) -> None:
        """A call raised, returned nonsense, or hung."""
        now = self._monotonic()
        for scope, key in _keys(call):
            breaker = self._breakers.get(key)
            if breaker is None:
                if scope == "provider" and not hung:
                    continue  # who fails at once costs no more than who is refused
                breaker = self._new(key, scope, call, now)
            self._leak(breaker, now)
            breaker.call = call
            breaker.hangs += hung
            if scope != "provider":
                who = call.provider if scope == "tenant" else call.tenant
                weight = max(1, -(-self._policy.failures // self._policy.timeouts)) if hung else 1
                breaker.run[who] = max(weight, breaker.run.get(who, 0))
            if breaker.open or self._is_enough(breaker):
                self._suspend(breaker, call, now)

    def _is_enough(self, breaker: Breaker) -> bool:
        return breaker.hangs > self._most(breaker.scope) - 1 or (
            sum(breaker.run.values()) >= self._policy.failures
        )

    def _most(self, scope: Scope) -> int:
        return HANGS[scope] * self._policy.timeouts

    def _suspend(self, breaker: Breaker, call: Call, now: float) -> None:
        breaker.hangs = min(breaker.hangs, self._most(breaker.scope))
        breaker.run.clear()
        longer = 2 * breaker.pause if breaker.pause else self._policy.pause_seconds
        breaker.pause = min(longer, self._policy.longest_pause_seconds)
        breaker.until = now + breaker.pause * (0.5 + self._random() / 2)
        if not breaker.open:
            self._turn(breaker, call, True)

    def _turn(self, breaker: Breaker, call: Call, is_open: bool) -> None:
        breaker.open = is_open
        kind = (call.plugin, call.method, breaker.scope)
        self._open[kind] += 1 if is_open else -1
        self._opened(call, breaker.scope, self._open[kind], is_open)

    def _leak(self, breaker: Breaker, now: float) -> None:
        forgotten = (now - breaker.seen) / (LEAK * self._policy.call_seconds)
        breaker.hangs = max(0.0, breaker.hangs - forgotten)
        breaker.seen = now

    def _new(self, key: Key, scope: Scope, call: Call, now: float) -> Breaker:
        if len(self._breakers) >= MAX_BREAKERS:
            oldest = self._breakers.pop(next(iter(self._breakers)))
            if oldest.open:
                self._turn(oldest, oldest.call, False)
        breaker = self._breakers[key] = Breaker(scope, call, seen=now)
        return breaker


def _keys(call: Call) -> Iterator[tuple[Scope, Key]]:
    """The breakers of a call, the widest first."""
    yield "all", call[:2]
    yield "tenant", call[:3]
    yield "provider", call
