"""The real child of a shard, with tables in memory and a leaky plugin; at its end it writes down what it stored.

`python child_in_memory.py FILE`: everything stored and the metrics go to FILE.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(file: Path) -> int:
    """Serve one shard as `kcl_app.worker.child` does."""
    from canaries import everything_stored, raw_records
    from leaky import LeakyPlugin
    from prometheus_client import REGISTRY, generate_latest

    from emr_plugins.registry import Registry, discover
    from kcl_app import wiring
    from kcl_app.stores.memory import MemoryBlobs, MemoryStore
    from kcl_app.worker import child

    store, blobs = MemoryStore(), MemoryBlobs()

    def with_leaky(*_given: object, **_more: object) -> Registry:
        registry = discover()
        registry.add(LeakyPlugin(), "leaky", "1")
        return registry

    wiring.store = lambda *_args, **_more: store
    wiring.blobs = lambda *_args, **_more: blobs
    wiring.discover = with_leaky  # type: ignore[attr-defined]
    try:
        return child.main()
    finally:
        file.write_text(
            everything_stored(store, blobs) + generate_latest(REGISTRY).decode(), encoding="utf-8"
        )
        file.with_suffix(".raw").write_text(raw_records(store, blobs), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
