from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest

from nasplat.errors import NasplatError
from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import Mirror, SpaceExhausted, freeze, make_pruner, make_sampler, trial_seed
from nasplat.space import Arch, Space, categorical, ordinal

SPACE = Space(
    "stages",
    [
        ordinal("depth", (1, 2, 3)),
        categorical("op", ("conv", "pool", "skip")),
        ordinal("width", (8, 16, 24, 32)),
        ordinal("kernel1", (3, 5, 9)),
        ordinal("kernel2", (3, 5, 9), when={"depth": (2, 3)}),
        categorical("act", ("relu", "gelu"), when={"depth": (3,), "op": ("conv",)}),
    ],
)
TINY = Space("tiny", [ordinal("a", (1, 2, 3)), categorical("b", ("x", "y"), when={"a": (2, 3)})])

Row = dict[str, Any]


def measure(arch: Arch, n: int) -> list[float]:
    code = SPACE.encode(arch)
    return [float(np.sin(code @ np.arange(len(code)))), float(code.sum())][:n]


class Run:
    """A loop as the study's: rows are the record, the mirror is made from them again at every start."""

    def __init__(self, sampler: str, directions: Sequence[str], **arguments: Any) -> None:
        self.directions = directions
        self.sampler_for = lambda seed: make_sampler(
            sampler, arguments, seed=seed, space=SPACE, surrogates=make_surrogate
        )
        self.rows: list[Row] = []
        self.attrs: Row = {}

    def trials(self, n: int) -> None:
        self.rows, self.attrs = json.loads(json.dumps([self.rows, self.attrs]))
        mirror = Mirror(self.directions, self.sampler_for, SPACE, seed=5)
        mirror.set_study_attrs(self.attrs)
        for row in self.rows:
            mirror.put(frozen(row))
        for number in range(len(self.rows), len(self.rows) + n):
            proposal = mirror.propose(number)
            values = measure(proposal.arch, len(self.directions))
            row = {"number": number, "params": proposal.params, "values": values, "state": "complete"}
            row |= {"constraints": {"size": values[-1] - 3.0}, "system_attrs": proposal.system_attrs}
            self.attrs |= proposal.study_attrs
            self.rows.append(row)
            mirror.put(frozen(row))


def frozen(row: Row, space: Space = SPACE) -> optuna.trial.FrozenTrial:
    return freeze(distributions=space.distributions(), **row)


def trial(
    number: int, params: Mapping[str, Any], state: str = "complete", **more: Any
) -> optuna.trial.FrozenTrial:
    values = [1.0] if state == "complete" else None
    return frozen({"number": number, "params": params, "state": state, "values": values, **more}, TINY)


def random_mirror(space: Space, seed: int = 0, **kwargs: Any) -> Mirror:
    return Mirror(
        ["minimize"], lambda s: make_sampler("random", {}, seed=s, space=space), space, seed, **kwargs
    )


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
@pytest.mark.parametrize(
    ("sampler", "arguments"),
    [
        ("random", {}),
        ("tpe", {"n_startup_trials": 8}),
        ("nsga2", {"population_size": 6}),
        ("regularized_evolution", {"population_size": 8, "sample_size": 3}),
        ("nsga3", {"population_size": 6}),
        ("qmc", {}),
        ("predictor", {"predictor": "ridge", "startup": 8, "pool": 40}),
    ],
)
def test_a_resumed_search_equals_an_uninterrupted_one(
    sampler: str, arguments: dict[str, Any], directions: list[str]
) -> None:
    whole, halves = Run(sampler, directions, **arguments), Run(sampler, directions, **arguments)
    whole.trials(50)
    halves.trials(25)
    halves.trials(25)
    assert whole.rows == halves.rows
    assert whole.attrs == halves.attrs
    keys = [SPACE.from_params(row["params"]).key for row in whole.rows]
    assert len(set(keys)) == 50
    other = Run(sampler, directions, **arguments)
    if sampler != "random":
        return
    other.sampler_for = lambda seed: make_sampler("random", {}, seed=seed + 1, space=SPACE)
    other.trials(5)
    assert other.rows != whole.rows[:5]


def test_gaussian_processes_resume_too() -> None:
    whole, halves = Run("gp", ["maximize"], n_startup_trials=4), Run("gp", ["maximize"], n_startup_trials=4)
    whole.trials(8)
    halves.trials(6)
    halves.trials(2)
    assert whole.rows == halves.rows


def test_genetic_search_goes_through_generations_and_keeps_its_parents_as_attributes() -> None:
    run = Run("nsga2", ["maximize", "minimize"], population_size=5)
    run.trials(20)
    generations = [row["system_attrs"]["NSGAIISampler:generation"] for row in run.rows]
    assert generations == sorted(generations)
    assert max(generations) == 3
    assert len(run.attrs["NSGAIISampler:parent:3"]) == 5


def test_a_study_visits_every_architecture_once_and_then_says_that_it_is_done() -> None:
    mirror = random_mirror(TINY)
    found = []
    for number in range(TINY.size):
        found.append(mirror.propose(number).arch)
        mirror.put(trial(number, TINY.params(found[-1])))
    assert set(found) == set(TINY.enumerate())
    with pytest.raises(SpaceExhausted, match="all 5 architectures of 'tiny'"):
        mirror.propose(TINY.size)


@pytest.mark.parametrize("state", ["waiting", "running", "complete", "pruned", "dropped", "failed"])
def test_an_architecture_is_taken_in_every_state(state: str) -> None:
    mirror = random_mirror(TINY)
    archs = list(TINY.enumerate())
    for number, arch in enumerate(archs[:-1]):
        mirror.put(trial(number, TINY.params(arch), state))
    assert mirror.propose(len(archs) - 1).arch == archs[-1]


def test_a_sampler_that_repeats_itself_is_led_to_a_neighbour() -> None:
    class Stubborn(optuna.samplers.RandomSampler):
        def sample_independent(self, *args: Any) -> Any:
            drawn = args[-1]
            return drawn.low if hasattr(drawn, "low") else drawn.choices[0]

    asked: list[int] = []

    def stubborn(seed: int) -> Stubborn:
        asked.append(seed)
        return Stubborn(seed)

    mirror = Mirror(["minimize"], stubborn, SPACE, 0)
    first, second = mirror.propose(0).arch, mirror.propose(1).arch
    assert first == SPACE.smallest()
    assert second in SPACE.neighbours(first)
    assert asked == [trial_seed(0, 0)] + [trial_seed(0, 1, attempt) for attempt in range(4)]


def test_only_the_accepted_proposal_stays_and_it_can_be_proposed_again() -> None:
    mirror = random_mirror(TINY)
    first = mirror.propose(0)
    assert mirror.propose(0) == first
    assert [t.state.name for t in mirror.study.get_trials()] == ["RUNNING"]
    other = next(a for a in TINY.enumerate() if a != first.arch)
    mirror.put(trial(0, TINY.params(other)))  # another worker was quicker
    assert [t.params for t in mirror.study.get_trials()] == [TINY.params(other)]
    left = {mirror.propose(number).arch for number in range(1, TINY.size)}
    assert left == set(TINY.enumerate()) - {other}


def test_numbers_come_without_gaps() -> None:
    mirror = random_mirror(TINY)
    with pytest.raises(ValueError, match="trial 1 came after 0 trials"):
        mirror.put(trial(1, TINY.params(TINY.smallest())))
    with pytest.raises(ValueError, match="trial 2 cannot be proposed: the next one is 0"):
        mirror.propose(2)


def test_a_frozen_trial_is_what_optuna_would_have_made() -> None:
    params = {"a": 2, "b": "y"}
    made = trial(3, params, constraints={"size": -1.0}, intermediate={"1": 0.5}, system_attrs={"note": [1]})
    reference = optuna.trial.create_trial(
        params=params,
        distributions=TINY.distributions(),
        value=1.0,
        constraints={"size": -1.0},
        intermediate_values={1: 0.5},
        system_attrs={"note": [1]},
    )
    made._validate()
    for name in (
        "state",
        "params",
        "distributions",
        "values",
        "constraints",
        "intermediate_values",
        "system_attrs",
    ):
        assert getattr(made, name) == getattr(reference, name)


def test_ten_thousand_trials_are_as_quick_to_ask_as_none() -> None:
    choices = [ordinal(f"x{i}", (1, 2, 3, 4)) for i in range(20)]
    space = Space("twenty", choices)
    rng = np.random.default_rng(0)
    distributions = space.distributions()
    rows = [space.params(space.sample(rng)) for _ in range(10_000)]
    mirror = random_mirror(space)

    def seconds_to_ask() -> float:
        start = time.process_time()
        for _ in range(20):
            mirror.propose(len(mirror) - (mirror._proposed is not None))
        return time.process_time() - start

    early = seconds_to_ask()
    for number, params in enumerate(rows):
        mirror.put(
            freeze(number=number, state="complete", params=params, distributions=distributions, values=[1.0])
        )
    assert seconds_to_ask() < 5 * early + 0.1


def test_nothing_is_said_and_optuna_is_not_silenced(capfd: pytest.CaptureFixture[str]) -> None:
    code = """
import optuna
from nasplat.prediction.surrogate import make_surrogate
from nasplat.search import Mirror, make_sampler
from nasplat.space import Space, ordinal
space = Space("tiny", [ordinal("a", (1, 2, 3))])
for name in ("random", "tpe", "nsga2", "qmc"):
    Mirror(["minimize"], lambda seed: make_sampler(name, {}, seed=seed, space=space), space, 0).propose(0)
assert optuna.logging.get_verbosity() == optuna.logging.INFO
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert capfd.readouterr() == ("", "")


def test_a_bad_trial_is_pruned_and_a_good_one_is_not() -> None:
    mirror = random_mirror(TINY, pruner=make_pruner("median", {"n_startup_trials": 2}))
    archs = list(TINY.enumerate())
    for number, arch in enumerate(archs[:3]):
        mirror.put(trial(number, TINY.params(arch), intermediate={0: 1.0, 1: 0.5}))
    mirror.propose(3)
    assert not mirror.should_prune(3, {0: 1.0, 1: 0.4})
    assert mirror.should_prune(3, {0: 1.0, 1: 0.9})
    assert not random_mirror(TINY).should_prune(0, {0: 1.0})


def test_halving_remembers_its_rungs_through_the_attributes_of_trials() -> None:
    def judge(rows: list[Row], values: Mapping[int, float]) -> tuple[list[bool], Row]:
        mirror = random_mirror(TINY, pruner=make_pruner("successive_halving", {"min_resource": 1}))
        for row in json.loads(json.dumps(rows)):
            mirror.put(frozen(row, TINY))
        mirror.propose(len(rows))
        verdicts = [
            mirror.should_prune(len(rows), {s: v for s, v in values.items() if s <= step}) for step in values
        ]
        return verdicts, mirror.system_attrs(len(rows))

    rows: list[Row] = []
    for number, arch in enumerate(list(TINY.enumerate())[:4]):
        _, attrs = judge(rows, {1: float(number)})
        assert attrs == {"completed_rung_0": float(number)}
        row = {"number": number, "params": TINY.params(arch), "state": "complete", "values": [1.0]}
        rows.append(row | {"intermediate": {1: float(number)}, "system_attrs": attrs})
    assert judge(rows, {1: 9.0})[0] == [True]
    assert judge(rows, {1: -1.0})[0] == [False]


def test_a_pruner_is_refused_with_two_objectives() -> None:
    with pytest.raises(NasplatError, match="a pruner needs one objective, but there are 2"):
        Mirror(
            ["minimize", "minimize"],
            lambda s: optuna.samplers.RandomSampler(s),
            TINY,
            0,
            make_pruner("median", {}),
        )


def test_seeds_of_trials_are_stable_and_differ() -> None:
    assert trial_seed(0, 0) == 1421166345  # written down: a stored study depends on it
    seeds = {trial_seed(s, n, a) for s in range(5) for n in range(20) for a in range(3)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**32 for seed in seeds)
