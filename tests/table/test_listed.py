"""A space of rows: only listed architectures, whatever is drawn."""

from __future__ import annotations

import numpy as np
import optuna
import pytest

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.search import Mirror, SpaceExhausted
from nasplat.search.samplers import make_sampler
from nasplat.search.trials import freeze
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.table import Listed

WHOLE = Space(
    "toy", [ordinal("depth", (1, 2, 3, 4)), categorical("act", ("relu", "gelu")), ordinal("width", (1, 2))]
)
ARCHS = [
    WHOLE.arch({"depth": d, "act": a, "width": w})
    for d, a, w in [(1, "relu", 1), (4, "gelu", 2), (4, "relu", 1)]
]
SPACE = Listed(WHOLE, ARCHS)


def distance(a: Arch, b: Arch) -> float:
    return float(np.linalg.norm(WHOLE.encode(a) - WHOLE.encode(b)))


def test_what_is_drawn_becomes_the_nearest_row() -> None:
    for drawn in WHOLE.enumerate():
        nearest = SPACE.from_params(WHOLE.params(drawn))
        assert nearest in ARCHS
        assert distance(drawn, nearest) == min(distance(drawn, row) for row in ARCHS)


def test_every_row_is_found_by_its_own_parameters_and_keeps_its_key() -> None:
    for arch in ARCHS:
        assert SPACE.from_params(SPACE.params(arch)) == arch
        assert SPACE.arch(arch.to_json()).key == WHOLE.arch(arch.to_json()).key


def test_an_architecture_beside_the_rows_is_none_of_the_space() -> None:
    with pytest.raises(InvalidArchitecture, match="is not among the 3 listed architectures"):
        SPACE.arch({"depth": 2, "act": "relu", "width": 1})


def test_random_rows_come_alike() -> None:
    rng = np.random.default_rng(0)
    drawn = [SPACE.sample(rng) for _ in range(3000)]
    assert all(abs(drawn.count(arch) - 1000) < 150 for arch in ARCHS)


def test_moves_stay_among_the_rows() -> None:
    rng = np.random.default_rng(0)
    for a in ARCHS:
        assert SPACE.mutate(a, rng) in set(ARCHS) - {a}
        assert SPACE.cross(a, ARCHS[0], rng) in ARCHS
        near = list(SPACE.neighbours(a))
        assert sorted(near, key=lambda b: distance(a, b)) == near
        assert set(near) == set(ARCHS) - {a}


@pytest.mark.parametrize("sampler", ["random", "tpe", "regularized_evolution"])
def test_a_search_visits_every_row_once_and_ends(sampler: str) -> None:
    mirror = Mirror(["minimize"], lambda seed: make_sampler(sampler, {}, seed=seed, space=SPACE), SPACE, 0)
    found = []
    for number in range(SPACE.size):
        proposal = mirror.propose(number)
        found.append(proposal.arch)
        drawn, values = SPACE.distributions(), [float(number)]
        mirror.put(
            freeze(
                number=number, state="complete", params=proposal.params, distributions=drawn, values=values
            )
        )
    assert set(found) == set(ARCHS)
    with pytest.raises(SpaceExhausted, match="all 3 architectures"):
        mirror.propose(SPACE.size)


def test_rows_of_other_tables_are_other_spaces_and_their_order_does_not_matter() -> None:
    assert Listed(WHOLE, ARCHS[::-1]).hash == SPACE.hash
    assert len({SPACE.hash, WHOLE.hash, Listed(WHOLE, ARCHS[:2]).hash}) == 3


def test_a_restricted_list_keeps_the_rows_with_these_values() -> None:
    assert list(SPACE.restrict({"depth": [4]}).enumerate()) == ARCHS[1:]
    assert SPACE.restrict({"depth": [4]}).size == 2
    with pytest.raises(NasplatError, match="without an architecture"):
        SPACE.restrict({"depth": [2]})


def test_optuna_draws_every_choice_as_before() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    assert SPACE.suggest(trial) in ARCHS
    assert list(trial.params) == list(WHOLE.distributions())
