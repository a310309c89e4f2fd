"""Numbers as people read them at a glance."""

from __future__ import annotations

from kcl_app.status.facts import Count


def counted(count: Count, what: str) -> str:
    """A number of things, and whether there may be more."""
    number = f"{count.number:,} {what}{'' if count.number == 1 else 's'}"
    by = ", ".join(
        f"{number:,} {reason}" for reason, number in sorted(count.by.items(), key=lambda one: -one[1])[:4]
    )
    whole = number if count.complete else f"at least {number} (of the first {count.looked_at:,} rows)"
    return f"{whole} ({by})" if by and count.number else whole


STEADY = 0.02
"""Seconds of lag a second that do not count."""


def trend(value: float) -> str:
    """How lag changes: ``+0.8 s/s`` is falling behind; +1 is standing still while events come."""
    return (
        "steady" if abs(value) < STEADY else f"{value:+.1f} s/s" if abs(value) >= 0.1 else f"{value:+.2f} s/s"
    )


def label(shard: str) -> str:
    """A shard for people: ``shard 3``."""
    return f"shard {short(shard)}"


def short(shard: str) -> str:
    """A shard's number, where its id is Kinesis' own."""
    number = shard.removeprefix("shardId-")
    return str(int(number)) if number.isdigit() else shard


def seconds(value: float) -> str:
    """A duration to read at a glance."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:.0f} h" if value < 172_800 else f"{value / 86_400:.0f} d"


def share(value: float) -> str:
    """A share that is not rounded up to all."""
    return "100 %" if value >= 1 else f"{min(value * 100, 99.99):.2f} %"
