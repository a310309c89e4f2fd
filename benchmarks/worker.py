"""The product's supervisor and daemon with another child: `python -m benchmarks.worker MODULE`.

So all sides have the same Java process, the same properties and the same metrics; only the child's command differs.
"""

from __future__ import annotations

import sys

from kcl_app import logs
from kcl_app.settings import load
from kcl_app.worker import supervisor
from kcl_app.worker.errors import WorkerError
from kcl_app.worker.log_stream import log_stream


def main(module: str) -> int:
    """Run a worker whose shards each run a module, until a signal ends it."""
    settings = load()
    logs.configure(settings.log, log_stream(sys.stderr))
    logs.log_uncaught()
    try:
        supervisor.run(settings, child_command=(sys.executable, "-m", module), announce=_announce)
    except WorkerError as error:
        logs.get_logger().error("the worker ended", why=str(error))
        return error.status
    return 0


def _announce(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
