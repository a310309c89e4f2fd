"""The simulation has teeth: it finds each rule that is broken on purpose, within a few runs."""

from __future__ import annotations

import pytest
from histories import make
from mutations import MUTATIONS, NETS, Mutation, Patch
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


@pytest.mark.parametrize("patch", NETS, ids=lambda patch: patch.__name__)
def test_of_two_nets_one_is_enough(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why no history shows these broken alone: the runs that show both of them broken hold."""
    both = next(one for one in MUTATIONS if one.name == "neither forgets")
    recipe = next(one for one in RECIPES if one.name == both.recipe)
    patch(monkeypatch)
    for seed in range(both.first - 10, both.first + 20):
        Simulation(make(recipe, seed), recipe.faults, seed).run()


def test_every_mutation_is_another_one() -> None:
    """No rule is named twice, and each is said in words."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert all(mutation.patch.__doc__ for mutation in MUTATIONS)
