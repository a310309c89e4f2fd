"""The simulation has teeth: it finds each rule that is broken on purpose, within a few runs."""

from __future__ import annotations

import pytest
from histories import make
from mutations import MUTATIONS, Mutation
from recipes import RECIPES

from kcl_app.testing.simulation import Simulation, SimulationError


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_rule_is_found(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check finds it, not an error that the change itself raises; unbroken, the same runs hold."""
    recipe = next(one for one in RECIPES if one.name == mutation.recipe)
    seeds = range(mutation.first, mutation.first + mutation.runs)
    with monkeypatch.context() as broken:
        mutation.patch(broken)
        found = None
        for seed in seeds:
            try:
                Simulation(make(recipe, seed), recipe.faults, seed).run()
            except SimulationError as error:
                if not error.found:
                    raise
                found = seed
                break
    assert found is not None, f"{mutation.runs} runs of {recipe.name} do not show that {mutation.rule}"
    Simulation(make(recipe, found), recipe.faults, found).run()


def test_every_mutation_is_another_one() -> None:
    """No rule is named twice, and each is said in words."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert all(mutation.patch.__doc__ for mutation in MUTATIONS)
