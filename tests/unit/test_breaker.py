"""Who is suspended, when, for how long, and how it ends: with a clock and jitter that the test holds."""

from __future__ import annotations

import pytest

from emr_plugins.breaker import LEAK, MAX_BREAKERS, Breakers, Call, Policy, Scope
from emr_plugins.time_limit import TICKS

POLICY = Policy(call_seconds=5, failures=20, timeouts=2, pause_seconds=30, longest_pause_seconds=200)


def call(provider: str = "p1", tenant: str = "t", method: str = "spans", plugin: str = "acme") -> Call:
    return Call(plugin, method, tenant, provider)


class World:
    """Breakers, what they tell, and their clock. Without jitter a pause has its full length."""

    def __init__(self, policy: Policy = POLICY, jitter: float = 1.0) -> None:
        self.now = 1000.0
        self.told: list[tuple[Scope, int, bool]] = []
        self.breakers = Breakers(policy, lambda: self.now, lambda: jitter, self._tell)

    def _tell(self, call: Call, scope: Scope, number: int, begins: bool) -> None:
        self.told.append((scope, number, begins))

    def make(self, one: Call, outcome: str, spent: float = 0.0) -> bool:
        """A call that ends so, taking that part of its limit; False if it was refused."""
        if self.breakers.refusal(one) is not None:
            return False
        spent = 1.0 if outcome == "hang" else spent
        self.now += spent * POLICY.call_seconds
        told = {"ok": self.breakers.succeeded, "reject": self.breakers.rejected}
        told.get(outcome, self.breakers.failed)(one, int(spent * TICKS) / TICKS)
        return True


def test_a_plugin_that_fails_for_one_provider_after_the_other_is_suspended_for_their_tenant() -> None:
    world = World()
    for number in range(POLICY.failures):
        assert world.make(call(f"p{number}"), "raise")
    assert world.breakers.refusal(call("another")) == "tenant"
    assert world.breakers.refusal(call("p1", "another tenant")) is None
    assert world.breakers.refusal(call(method="decode")) is None
    assert world.breakers.refusal(call(plugin="other")) is None
    assert world.told == [("tenant", 1, True)]


def test_one_provider_that_fails_on_all_its_days_suspends_nobody() -> None:
    world = World()
    assert all(world.make(call("bad"), "raise") for _ in range(500))
    assert world.told == []


def test_a_success_in_between_begins_the_count_anew() -> None:
    world = World()
    for _ in range(5):
        for number in range(POLICY.failures - 1):
            assert world.make(call(f"p{number}"), "raise")
        assert world.make(call("good"), "ok")
    assert world.told == []
    assert not world.breakers._breakers, "nothing is kept of who is well"


def test_what_a_plugin_rejects_is_no_success_and_no_failure() -> None:
    world = World()
    for number in range(POLICY.failures - 1):
        world.make(call(f"p{number}"), "raise")
        world.make(call(f"q{number}"), "reject")
    assert world.told == []
    world.make(call("last"), "raise")
    assert world.told == [("tenant", 1, True)]


def test_a_plugin_that_fails_for_every_tenant_is_suspended_for_all() -> None:
    world = World()
    for number in range(POLICY.failures):
        world.make(call("p", f"t{number}"), "raise")
    assert world.breakers.refusal(call("p", "never seen")) == "all"


def test_a_provider_that_hangs_is_suspended_alone() -> None:
    world = World()
    for _ in range(POLICY.timeouts):
        assert world.make(call("bad"), "hang")
        assert world.make(call("good"), "ok")
    assert world.breakers.refusal(call("bad")) == "provider"
    assert world.breakers.refusal(call("good")) is None


@pytest.mark.parametrize("tenants", [1, 2, 50])
@pytest.mark.parametrize("days", [1, 90])
def test_a_plugin_that_hangs_altogether_costs_a_shard_little_until_it_is_suspended(
    tenants: int, days: int
) -> None:
    """At most four calls of five seconds, however many tenants, providers and days there are."""
    world = World()
    made = 0
    for number in range(200):
        for _ in range(days):
            made += world.make(call(f"p{number}", f"t{number % tenants}"), "hang")
    assert made <= 4
    assert world.now - 1000 <= 20


def test_a_plugin_that_hangs_now_and_then_costs_a_twelfth_of_the_time_in_the_long_run() -> None:
    """Successes in between do not help: one call in fifty hangs, each for another provider."""
    world = World()
    hung = made = 0
    while world.now < 1000 + 36_000:
        made += 1
        bad = made % 50 == 0
        world.now += 0.2
        if world.make(call(f"p{made}", f"t{made % 7}"), "hang" if bad else "ok"):
            hung += bad
    burst = 6 * POLICY.timeouts
    assert hung * POLICY.call_seconds <= burst * POLICY.call_seconds + 36_000 / LEAK
    assert hung > burst, "it is tried again"


def test_one_call_is_let_through_after_the_pause_and_closes_it() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    world.now += POLICY.pause_seconds - 0.01
    assert not world.make(call("bad"), "ok")
    world.now += 0.02
    assert world.make(call("bad"), "ok")
    assert world.make(call("bad"), "ok")
    assert world.told == [("provider", 1, True), ("provider", 0, False)]


def test_pauses_double_while_it_fails_up_to_the_longest() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    pauses = []
    for _ in range(5):
        start = world.now
        while world.breakers.refusal(call("bad")) is not None:
            world.now += 1
        pauses.append(round(world.now - start))
        assert world.make(call("bad"), "hang")
        assert not world.make(call("bad"), "hang"), "one call is a try, not two"
    assert pauses == [30, 60, 120, 200, 200]
    assert world.told == [("provider", 1, True)], "it never worked again"


def test_jitter_shortens_a_pause_by_up_to_half() -> None:
    for jitter, first in ((0.0, 15), (0.5, 22.5), (1.0, 30)):
        world = World(jitter=jitter)
        for _ in range(2):
            world.make(call("bad"), "hang")
        world.now += first - 0.1
        assert world.breakers.refusal(call("bad")) == "provider"
        world.now += 0.2
        assert world.breakers.refusal(call("bad")) is None


def test_a_try_that_ends_with_a_reject_leaves_the_next_call_to_be_the_try() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    world.now += 31
    assert world.make(call("bad"), "reject")
    assert world.make(call("bad"), "ok")
    assert world.told[-1] == ("provider", 0, False)


def test_after_it_closed_one_more_that_hangs_opens_it_again() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    world.now += 31
    assert world.make(call("bad"), "ok")
    assert world.make(call("bad"), "hang")
    assert world.breakers.refusal(call("bad")) == "provider"
    world.now += 31
    assert world.breakers.refusal(call("bad")) == "provider", "and for longer"


def test_what_hung_is_forgotten_with_time() -> None:
    world = World()
    for _ in range(5):
        assert world.make(call("bad"), "hang")
        assert world.make(call("good"), "ok")
        world.now += 2 * LEAK * POLICY.call_seconds
    assert world.told == []


def test_a_suspension_for_all_ends_with_any_tenants_success() -> None:
    world = World()
    for number in range(POLICY.failures):
        world.make(call("p", f"t{number}"), "raise")
    world.now += 31
    assert world.make(call("p", "t3"), "ok")
    assert world.make(call("p", "t4"), "ok")
    assert world.told == [("all", 1, True), ("all", 0, False)]


def test_breakers_of_whatever_events_say_do_not_pile_up() -> None:
    world = World(Policy(timeouts=1, failures=10**9))
    for number in range(MAX_BREAKERS + 100):
        world.breakers.failed(call(f"p{number}", f"t{number}"), 0.0)
    assert len(world.breakers._breakers) == MAX_BREAKERS
    assert world.told == []
    world.breakers.failed(call("bad", "one"), 1.0)
    opened = [(scope, 1, True) for scope in ("all", "tenant", "provider")]
    assert world.told == opened
    for number in range(2 * MAX_BREAKERS):
        world.breakers.failed(call(f"p{number}", f"u{number}"), 0.0)
    assert world.told == opened, "closed ones are dropped before those that are open"
    assert len(world.breakers._breakers) == MAX_BREAKERS


def test_where_all_are_open_the_oldest_is_dropped_and_shown_as_closed_but_never_that_of_all() -> None:
    world = World(Policy(timeouts=1, failures=2))
    for number in range(MAX_BREAKERS):
        world.breakers.failed(call(f"p{number}", f"t{number % 3}"), 1.0)
    assert world.breakers.refusal(call("any", "never seen")) == "all"
    assert len(world.breakers._breakers) == MAX_BREAKERS
    closed = [told for told in world.told if not told[2]]
    assert closed, "one that is dropped is not shown as open for ever"
    assert all(scope != "all" for scope, _, _ in closed)
    shown = {scope: number for scope, number, _ in world.told}
    assert sum(shown.values()) == sum(one.open for one in world.breakers._breakers.values())


# Calls that are slow, however they end ------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["ok", "reject", "raise"])
@pytest.mark.parametrize("spent", [0.5, 0.85, 0.99])
def test_a_call_that_took_half_of_its_limit_counts_as_one_that_hung_whatever_it_answered(
    outcome: str, spent: float
) -> None:
    world = World()
    made = sum(world.make(call(f"p{number}"), outcome, spent) for number in range(40))
    assert made <= 6
    assert world.breakers.refusal(call("another")) == "tenant"
    assert world.breakers.refusal(call("another", "another tenant")) is None


@pytest.mark.parametrize("spent", [0.1, 0.2, 0.4, 0.5, 0.9])
@pytest.mark.parametrize("outcome", ["ok", "reject"])
def test_calls_that_are_not_quick_cost_a_twelfth_of_the_time_in_the_long_run(
    spent: float, outcome: str
) -> None:
    """A plugin that is slow on everything, and whose every answer is right, among the calls of others."""
    world = World()
    cost = made = 0.0
    while world.now < 1000 + 36_000:
        made += 1
        world.now += 0.2
        if world.make(call(f"p{made % 50}", f"t{made % 7}"), outcome, spent):
            cost += spent * POLICY.call_seconds
    assert cost <= 6 * POLICY.timeouts * POLICY.call_seconds + 36_000 / LEAK
    assert cost > 6 * POLICY.timeouts * POLICY.call_seconds, "it is tried again"


def test_a_provider_whose_every_day_takes_two_seconds_of_five_costs_some_calls_and_not_its_92_days() -> None:
    world = World()
    assert sum(world.make(call("slow"), "ok", 0.4) for _ in range(92)) <= 4
    assert world.breakers.refusal(call("slow")) == "provider"
    assert world.breakers.refusal(call("good")) is None


def test_a_busy_plugin_whose_calls_are_quick_is_never_suspended() -> None:
    world = World()
    assert all(world.make(call("p1"), "ok", 0.09) for _ in range(100_000))
    assert world.told == []
    assert not world.breakers._breakers


def test_now_and_then_a_slow_call_suspends_nobody() -> None:
    world = World()
    for number in range(10_000):
        assert world.make(call("p1"), "ok", 0.2 if number % 50 == 0 else 0.08)
    assert world.told == []


def test_a_try_that_answers_too_late_is_none_that_succeeded() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    for pause in (30, 60):
        world.now += pause + 1
        assert world.make(call("bad"), "ok", 0.6)
        assert world.breakers.refusal(call("bad")) == "provider"
    assert world.told == [("provider", 1, True)]
    world.now += 121
    assert world.make(call("bad"), "ok", 0.05)
    assert world.told[-1] == ("provider", 0, False)


def test_slow_rejects_do_not_get_past_an_open_breaker_for_ever() -> None:
    world = World()
    for _ in range(2):
        world.make(call("bad"), "hang")
    world.now += 31
    assert sum(world.make(call("bad"), "reject", 0.3) for _ in range(100)) <= 2


def test_what_was_answered_late_is_an_answer_to_those_who_count_failures_in_a_row() -> None:
    world = World()
    for number in range(POLICY.failures - 1):
        world.make(call(f"p{number}"), "raise")
    world.make(call("slow"), "ok", 0.9)
    for number in range(POLICY.failures - 1):
        assert world.make(call(f"q{number}"), "raise")
    assert world.told == []
