"""What a study can expect, told before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from nasplat import Study, count_params
from nasplat.study.assembly import assemble

WriteStudy = Callable[..., Study]
PARAMS = '[[constraint]]\nmetric = "params"\nmax = {}\n'


def met(line: str) -> tuple[int, int]:
    found = re.search(r"(\d+) of (\d+) sampled", line)
    assert found, line
    return int(found[1]), int(found[2])


def test_share_that_meets_a_bound_is_near_the_share_of_the_whole_space(write_study: WriteStudy) -> None:
    study = write_study(PARAMS.format(1000))
    space = assemble(study).bench.space
    rng = np.random.default_rng(5)
    drawn = [count_params(space.build(space.sample(rng))) <= 1000 for _ in range(300)]
    told = study.profile(samples=200)["constraints"]["params <= 1000"]
    kept, of = met(told)
    assert of == 202  # with the smallest and the largest
    assert kept / of == pytest.approx(np.mean(drawn), abs=0.1)


def test_sizes_of_the_smallest_and_the_largest_are_those_counted(write_study: WriteStudy) -> None:
    study = write_study()
    space = assemble(study).bench.space
    smallest, median, largest = study.profile(samples=5)["smallest, median, largest"]["params"]
    assert smallest == count_params(space.build(space.smallest()))
    assert largest == count_params(space.build(space.largest()))
    assert smallest <= median <= largest


def test_bound_that_nothing_meets_is_called_so_with_what_there_is(write_study: WriteStudy) -> None:
    told = write_study(PARAMS.format(10)).profile(samples=8)["constraints"]["params <= 10"]
    assert told == "is met by none of 10 sampled architectures; they have 674 to 1794"


def test_bound_on_what_is_known_after_training_only_says_that(write_study: WriteStudy) -> None:
    rest = '[data]\nname = "toy.py:parity"\n[[constraint]]\nmetric = "accuracy"\nmin = 0.9\n'
    told = write_study(rest).profile(samples=2)
    assert told["constraints"] == {"0.9 <= accuracy": "is known only after training"}
    assert told["time (estimate)"]["not counted"] == "toy.py:gain"  # who knows what a function does


def test_nothing_is_stored_by_a_profile(write_study: WriteStudy) -> None:
    study = write_study()
    study.profile(samples=2)
    assert not (study.folder / "study.db").exists()
    assert study.profile(samples=2)["constraints"] == {"none": "every architecture may be reported"}


def test_bound_on_a_function_or_a_score_is_known_only_in_a_run(write_study: WriteStudy) -> None:
    rest = '[data]\nname = "toy.py:parity"\n[[constraint]]\nmetric = "toy.py:gain"\nmin = 1\n'
    rest += '[[constraint]]\nmetric = "score:nwot"\nmin = 1\n'
    told = write_study(rest).profile(samples=2)["constraints"]
    assert set(told.values()) == {"is known only in a run"}


def test_latency_is_that_of_the_studys_own_metric_and_its_row_says_so(write_study: WriteStudy) -> None:
    study = write_study(objective='metric = "latency"\nbatch = 3')
    (metric,) = assemble(study).plan.objectives
    told = study.profile(samples=1)["smallest, median, largest"]
    assert f"latency on {metric.origin['machine']['name']}, batch 3 (ms)" in told
    assert any(
        label.endswith("batch 1 (ms)") for label in write_study().profile(1)["smallest, median, largest"]
    )


def test_forecast_of_a_split_smaller_than_a_batch_counts_one_step_an_epoch(write_study: WriteStudy) -> None:
    rest = '[data]\nname = "toy.py:parity"\nn = 8\n'
    study = write_study(rest, objective='metric = "accuracy"\nepochs = 3\nbatch_size = 64')
    assert not study.profile(samples=3)["time (estimate)"]["one trial"].startswith("0 ")


def test_a_space_without_networks_shows_what_its_tables_say(write_study: WriteStudy) -> None:
    study = write_study(
        space='name = "toy.py:BARE"', objective='metric = "table:own.csv/loss"\ndirection = "minimize"'
    )
    rows = [f"{a},{b},{a * b}" for a in range(1, 7) for b in range(1, 7)]
    (study.folder / "own.csv").write_text("\n".join(["a,b,loss", *rows]))
    found = study.profile(200)
    assert found["least, median, most"]["table:own.csv/loss"][::2] == [1.0, 36.0]
    assert "smallest, median, largest" not in found


def test_a_bound_on_a_table_that_no_sampled_architecture_is_in_cannot_be_told(
    write_study: WriteStudy,
) -> None:
    study = write_study(
        '[[constraint]]\nmetric = "table:own.csv/loss"\nmax = 3\n',
        space='name = "toy.py:BARE"',
        objective='metric = "table:own.csv/gain"\ndirection = "maximize"',
    )
    (study.folder / "own.csv").write_text("a,b,loss,gain\n3,3,,1\n")
    told = study.profile(samples=3)["constraints"]
    assert told == {"table:own.csv/loss <= 3": "cannot be told: no sampled architecture has a value"}
