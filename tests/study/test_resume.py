"""Stopping and going on: by count, by Ctrl-C and by kill -9, alone and with others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from nasplat import Study

WriteStudy = Callable[..., Study]
Told = Callable[[Study], list[tuple[Any, ...]]]
SAMPLERS = {
    "random": 'name = "random"',
    "tpe": 'name = "tpe"',
    "nsga2": 'name = "nsga2"\npopulation_size = 8',
    "regularized_evolution": 'name = "regularized_evolution"\npopulation_size = 8\nsample_size = 3',
    "predictor": 'name = "predictor"\npredictor = "ridge"\nstartup = 8\npool = 40',
}
TWO = '[[objective]]\nmetric = "toy.py:cost"\ndirection = "minimize"'
BOUND = '[[constraint]]\nmetric = "toy.py:cost"\nmax = 30'


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("rest", [TWO, BOUND], ids=["two objectives", "one with a bound"])
def test_25_and_25_trials_equal_50_in_one_go(
    write_study: WriteStudy, told: Told, sampler: str, rest: str
) -> None:
    halves = write_study(rest, folder="halves", sampler=SAMPLERS[sampler])
    assert halves.run(25).new == 25
    assert halves.run(50).new == 25
    whole = write_study(rest, folder="whole", sampler=SAMPLERS[sampler])
    whole.run(50)
    assert told(halves) == told(whole)
    assert len({row[2] for row in told(whole)}) == len(told(whole)) >= 50


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_interrupted_trial_runs_again_under_its_own_number(
    write_study: WriteStudy, told: Told, sampler: str
) -> None:
    objective = 'metric = "toy.py:interrupted"\ndirection = "maximize"'
    stopped = write_study(TWO, folder="stopped", sampler=SAMPLERS[sampler], objective=objective)
    (stopped.folder / "interrupt.txt").write_text("10")
    with pytest.raises(KeyboardInterrupt):
        stopped.run(20)
    assert stopped.frame["state"].tolist() == ["complete"] * 9 + ["waiting"]
    assert stopped.run(20).new == 11
    calls = (stopped.folder / "calls.txt").read_text().split()
    assert calls[9] == calls[10]  # the same architecture again
    whole = write_study(TWO, folder="whole", sampler=SAMPLERS[sampler], objective=objective)
    whole.run(20)
    assert told(stopped) == told(whole)


def test_killed_worker_loses_no_finished_trial_and_repeats_no_finished_evaluation(
    write_study: WriteStudy, told: Told
) -> None:
    objective = 'metric = "toy.py:counted"\ndirection = "maximize"'
    study = write_study(objective=objective)
    worker = start(study, pause=0.15)
    calls = study.folder / "calls.txt"
    wait_for(lambda: calls.exists() and len(calls.read_text().splitlines()) >= 5)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    finished = [row for row in told(study) if row[1] == "complete"]
    assert 4 <= len(finished) < 12
    assert study.run().new == 12 - len(finished)
    assert told(study)[: len(finished)] == finished
    assert study.frame["state"].tolist() == ["complete"] * 12
    times = Counter(line.split()[0] for line in calls.read_text().splitlines())
    assert all(times[row[2]] == 1 for row in finished)
    whole = write_study(objective=objective, folder="whole")
    whole.run()
    assert told(study) == told(whole)


def test_two_workers_share_a_study_and_measure_no_architecture_twice(write_study: WriteStudy) -> None:
    study = write_study(study="trials = 16", objective='metric = "toy.py:counted"\ndirection = "maximize"')
    workers = [start(study, pause=0.4) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    for worker in workers:
        worker.communicate()
    assert study.frame["state"].tolist() == ["complete"] * 16
    lines = (study.folder / "calls.txt").read_text().splitlines()
    keys, processes = zip(*(line.split() for line in lines), strict=True)
    assert sorted(keys) == sorted(study.frame["arch_key"])
    assert len(set(processes)) == 2


def test_evaluation_that_was_known_before_the_kill_is_not_repeated(write_study: WriteStudy) -> None:
    """The first of two metrics is slow: stored at once, so the rerun of the trial looks it up."""
    objective = 'metric = "toy.py:counted"\ndirection = "maximize"'
    study = write_study('[[objective]]\nmetric = "toy.py:slow"\ndirection = "maximize"', objective=objective)
    worker = start(study, pause=1.1)
    wait_for(lambda: (study.folder / "slow.txt").exists())
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert study.frame["state"].tolist() == ["running"]
    study.run(1)
    assert len((study.folder / "calls.txt").read_text().splitlines()) == 1


def start(study: Study, pause: float) -> subprocess.Popen[bytes]:
    """A worker in a process of its own."""
    command = [sys.executable, "-c", "from nasplat.cli import main; main()", "run", str(study.path)]
    environment = {**os.environ, "PAUSE": str(pause), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)
