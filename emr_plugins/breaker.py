"""Breakers: a plugin that keeps failing is suspended for a while, so that others keep their speed, and then tried
again.

What fails may be the plugin altogether, or one tenant's data, or one provider's. So each call counts with three
breakers, for each method by itself, and is refused while any of them is open:

- its *provider's* (for `decode`: the provider that the event travels with) opens only when calls take too long;
- its *tenant's* opens when several providers in a row fail and none succeeds in between, or calls take too long;
- that of *all* opens when several tenants in a row fail and none succeeds in between, or calls take too long.

Calls take too long one by one or in sum, and however they end: one that takes half of its limit or more counts as one
that hung, and a shorter one as the part of its limit that it took, up to the next tenth. One of less than a tenth is
quick, and counts as nothing: a plugin that is asked often may work much.

A breaker that is open lets one call through after a pause. If that succeeds it closes; if it fails or takes half of its
limit the next pause is longer. What a plugin rejects is no failure of the plugin, and no success either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .time_limit import TICKS

Scope = Literal["provider", "tenant", "all"]

HANGS: dict[Scope, int] = {"provider": 1, "tenant": 3, "all": 6}
"""How many times `Policy.timeouts` calls may hang, by breaker: one bad provider must not suspend its tenant, nor one
tenant the plugin."""

LEAK = 12
"""A call that hung is forgotten after this many times the limit of a call: so in the long run the calls of a plugin
that are not quick cost a twelfth of a shard's time, and no more."""

HUNG = 0.5
"""A call that takes this much of its limit counts as one that hung."""

MAX_BREAKERS = 10_000
"""Breakers kept; only those that have seen a failure are. Tenants and providers may be whatever events say."""


@dataclass(frozen=True)
class Policy:
    """When a plugin is suspended, and for how long.

    Attributes:
        call_seconds: how long a call may take. One that takes half of it counts as one that hung, whatever it
            answers; a shorter one as the part that it took, up to the next tenth; less than a tenth as nothing.
        failures: providers (or tenants) that fail in a row until their tenant (or all) is suspended.
        timeouts: calls of one provider that hang until it is suspended. One that hangs and does not answer counts as
            `failures / timeouts` providers in a row.
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
        method: `decode`, `impact`, `spans`, or `settings` for the validation of the tenant's.
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
        call: the one for which it was made, or that opened it last.
        hangs: calls that hung and are not forgotten yet; slow ones are fractions.
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

    def succeeded(self, call: Call, spent: float) -> None:
        """A call returned what makes sense.

        Args:
            call: whose.
            spent: how much of its limit it took, from 0 to 1.
        """
        slow = _slow(spent)
        if not self._breakers and not slow:
            return
        now = self._monotonic()
        for breaker, key in self._taking(call, slow, now):
            breaker.run.clear()
            if breaker.open and slow < 1:  # too slow a try is none that succeeded
                # One more that hangs opens it again: a plugin that hangs now and then must not begin anew each time.
                breaker.hangs = min(breaker.hangs, self._most(breaker.scope) - 1)
                self._turn(breaker, call, False)
            self._judge(breaker, call, slow, now)
            if not breaker.hangs:
                del self._breakers[key]

    def rejected(self, call: Call, spent: float) -> None:
        """A plugin rejected its input; what that took counts, and nothing else.

        Args:
            call: whose.
            spent: how much of its limit it took, from 0 to 1.
        """
        if slow := _slow(spent):
            now = self._monotonic()
            for breaker, _ in self._taking(call, slow, now):
                self._judge(breaker, call, slow, now)

    def failed(self, call: Call, spent: float) -> None:
        """A call raised, returned nonsense, or was interrupted.

        Args:
            call: whose.
            spent: how much of its limit it took, from 0 to 1; 1 if it was interrupted.
        """
        now, slow, policy = self._monotonic(), _slow(spent), self._policy
        for scope, key in _keys(call):
            if scope == "provider" and not slow and key not in self._breakers:
                continue  # who fails at once costs no more than who is refused
            breaker = self._taken(key, scope, call, slow, now)
            if scope != "provider":
                who = call.provider if scope == "tenant" else call.tenant
                weight = max(1, -(-policy.failures // policy.timeouts)) if slow >= 1 else 1
                breaker.run[who] = max(weight, breaker.run.get(who, 0))
            if breaker.open:
                self._suspend(breaker, call, now)
            else:
                self._judge(breaker, call, slow, now)

    def _taking(self, call: Call, slow: float, now: float) -> Iterator[tuple[Breaker, Key]]:
        """The breakers of a call with the time that it took; without any, only those that there are."""
        for scope, key in _keys(call):
            if slow or key in self._breakers:
                yield self._taken(key, scope, call, slow, now), key

    def _taken(self, key: Key, scope: Scope, call: Call, slow: float, now: float) -> Breaker:
        breaker = self._breakers.get(key) or self._new(key, scope, call, now)
        forgotten = (now - breaker.seen) / (LEAK * self._policy.call_seconds)
        breaker.hangs = max(0.0, breaker.hangs - forgotten) + slow
        breaker.seen = now
        return breaker

    def _judge(self, breaker: Breaker, call: Call, slow: float, now: float) -> None:
        """Open a breaker if it is time to, or for longer if a try took too long."""
        # Half a call less: what is forgotten between two that hang must not make it three.
        too_long = slow and breaker.hangs >= self._most(breaker.scope) - 0.5
        too_slow_a_try = breaker.open and slow >= 1
        if too_long or too_slow_a_try or sum(breaker.run.values()) >= self._policy.failures:
            self._suspend(breaker, call, now)

    def _most(self, scope: Scope) -> int:
        return HANGS[scope] * self._policy.timeouts

    def _suspend(self, breaker: Breaker, call: Call, now: float) -> None:
        breaker.call = call
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

    def _new(self, key: Key, scope: Scope, call: Call, now: float) -> Breaker:
        if len(self._breakers) >= MAX_BREAKERS:
            self._drop_one()
        breaker = self._breakers[key] = Breaker(scope, call, seen=now)
        return breaker

    def _drop_one(self) -> None:
        """Drop the oldest that is closed; an open one only where all are; never one of `all`, of which there are
        few."""
        narrow = (key for key, one in self._breakers.items() if one.scope != "all")
        closed = (key for key, one in self._breakers.items() if one.scope != "all" and not one.open)
        key = next(closed, None) or next(narrow)
        breaker = self._breakers.pop(key)
        if breaker.open:
            self._turn(breaker, breaker.call, False)


def _slow(spent: float) -> float:
    """As how many that hung a call counts: for what it took up to the next tick, but not at all before the first."""
    ticks = int(spent * TICKS + 1e-9)
    return 1.0 if spent >= HUNG else (ticks + 1) / TICKS if ticks else 0.0


def _keys(call: Call) -> Iterator[tuple[Scope, Key]]:
    """The breakers of a call, the widest first."""
    yield "all", call[:2]
    yield "tenant", call[:3]
    yield "provider", call
