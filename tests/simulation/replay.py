"""Play seeds again: `.venv/bin/python tests/simulation/replay.py SEED` prints all that happens in that run.

With `--to SEED` it plays a range and prints the seeds that fail, and how long a run takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from histories import make
from recipes import recipe_of

from kcl_app.testing.simulation import Simulation, SimulationError

COMMAND = ".venv/bin/python tests/simulation/replay.py"


def play(seed: int) -> Simulation:
    """Play one seed.

    Raises:
        SimulationError: something did not hold.
    """
    recipe = recipe_of(seed)
    simulation = Simulation(make(recipe, seed), recipe.faults, seed)
    simulation.run()
    return simulation


def main() -> int:
    """Play what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--to", type=int, help="play all seeds up to this one, without their traces")
    arguments = parser.parse_args()
    if arguments.to is None:
        return _one(arguments.seed)
    start, failed = time.perf_counter(), Counter[str]()
    for seed in range(arguments.seed, arguments.to):
        try:
            play(seed)
        except SimulationError as error:
            failed[recipe_of(seed).name] += 1
            print(f"{error.seed} ({recipe_of(seed).name}): {error.why.splitlines()[0][:300]}")
    runs = arguments.to - arguments.seed
    each = (time.perf_counter() - start) / runs * 1000
    print(f"{runs} seeds, {failed.total()} failed {dict(failed)}, {each:.1f} ms each")
    return 1 if failed else 0


def _one(seed: int) -> int:
    try:
        trace = play(seed).trace
    except SimulationError as error:
        print(error.trace)
        print(f"seed {seed} ({recipe_of(seed).name}) fails: {error.why}")
        return 1
    print(trace)
    print(f"seed {seed} ({recipe_of(seed).name}): everything held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
