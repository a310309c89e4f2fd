"""Reading a worker's /metrics from outside: for status, top, the demo, and tests."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


class Samples:
    """The samples of one scrape.

    Args:
        text: in the Prometheus text format.
    """

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append((dict(sample.labels), float(sample.value)))

    def all(self, name: str) -> list[tuple[Labels, float]]:
        """All samples of a name, with their labels."""
        return self._samples.get(name, [])

    def sum(self, name: str, **labels: str) -> float:
        """The sum over the samples that have these labels."""
        return sum(self._values(name, labels))

    def max(self, name: str, **labels: str) -> float:
        """The greatest of the samples that have these labels; 0 where there is none."""
        return max(self._values(name, labels), default=0.0)

    def _values(self, name: str, labels: Labels) -> list[float]:
        return [value for found, value in self.all(name) if labels.items() <= found.items()]


def fetch(url: str, timeout: float = 5) -> str | None:
    """The body at a URL; None where nothing answers, or the answer is an error.

    Args:
        url: http.
        timeout: in seconds.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            body: bytes = answer.read()
    except (urllib.error.URLError, OSError):
        return None
    return body.decode()


def scrape(url: str, get: Callable[[str], str | None] = fetch) -> Samples | None:
    """The samples at a URL; None where nothing answers."""
    text = get(url)
    return None if text is None else Samples(text)
