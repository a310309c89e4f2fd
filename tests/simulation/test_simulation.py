"""Whatever happens, the tables end as a clean pass leaves them, and no checkpoint is ahead of what is durable.

A seed that fails says with which command it is played again, and that prints all that happened.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from histories import make
from recipes import RECIPES, recipe_of
from replay import COMMAND, play

from kcl_app.settings import PROJECT_ROOT
from kcl_app.testing.simulation import Simulation, SimulationError

SEEDS = 2400
AT_ONCE = 60


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_whatever_happens_the_answer_is_that_of_a_clean_pass(first: int) -> None:
    """Every seed: a history, the faults of its recipe, and all that must hold."""
    for seed in range(first, first + AT_ONCE):
        try:
            play(seed)
        except SimulationError as error:
            pytest.fail(f"{recipe_of(seed).name}: {error}\nplay it again: {COMMAND} {seed}", pytrace=False)


def test_a_replay_is_the_same_in_another_process() -> None:
    """The command that a failing seed names plays exactly that run, whatever the order of Python's sets."""
    seed = 7
    command = [sys.executable, *COMMAND.split()[1:], str(seed)]
    done = [
        subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env={"PYTHONHASHSEED": hashed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hashed in ("1", "2")
    ]
    assert done[0] == done[1]
    assert done[0].startswith(str(play(seed).trace)[:2000])
    assert done[0].splitlines()[-1].endswith("everything held")


def test_the_runs_hold_what_they_should() -> None:
    """Every kind of fault happens, in some run at least; a fault that never comes proves nothing."""
    seen = Counter[str]()
    for seed in range(10 * len(RECIPES)):
        recipe = recipe_of(seed)
        history = make(recipe, seed)
        simulation = Simulation(history, recipe.faults, seed)
        simulation.run()
        seen.update({word for word in WORDS if word in str(simulation.trace)})
        seen["split"] += any(len(shard.parents) == 1 for shard in history.stream.shards.values())
        seen["merge"] += any(len(shard.parents) == 2 for shard in history.stream.shards.values())
        seen["aggregated"] += any(
            record.sub_sequence_number for shard in history.stream.shards.values() for record in shard.records
        )
    assert not [word for word in (*WORDS, "split", "merge", "aggregated") if not seen[word]], seen


WORDS = (
    "dies before the first document",
    "dies before the checkpoint",
    "dies after the checkpoint",
    "dies before the query",
    "dies after the call",
    "dies between two writes",
    "throttled",
    "throttled after some writes",
    "answer lost",
    "a late write comes in",
    "loses the lease and does not know",
    "learns that the lease is lost",
    "is asked to stop",
    "is told that the shard ended",
    "stands still",
    "its clock jumps to",
    "checkpoint",
    "ThrottlingException",
    "ShutdownException",
    "InvalidStateException",
    "KinesisClientLibDependencyException",
    "the child ends 70",
    "job/",
    "if all died now",
    "CONFLICT",
    "dead letters are redriven",
    "TOO_LARGE",
    "the engine fails on an item that is written",
)
