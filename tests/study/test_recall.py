"""What is known is not measured again, and what follows from it sees the same network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nasplat import NasplatError, Study
from nasplat.metric import Candidate
from nasplat.store import Proposal
from nasplat.study.assembly import assemble
from nasplat.study.shelf import Shelf

WriteStudy = Callable[..., Study]
DATA = '[data]\nname = "toy.py:parity"\nn = 96\n'
TRAINED = 'metric = "accuracy"\nepochs = 2\nbatch_size = 16'
OWN = DATA + '[[objective]]\nmetric = "weights.py:size"\ndirection = "minimize"\n'
METRIC = """
def size(candidate):
    "Tells trained weights from fresh ones."
    return float(sum(p.detach().abs().sum() for p in candidate.network.parameters()))
"""


def test_own_metric_after_a_recalled_training_sees_the_trained_network(write_study: WriteStudy) -> None:
    study = write_study(OWN, objective=TRAINED)
    (study.folder / "weights.py").write_text(METRIC)
    study.run(2)
    page = study.path.read_text()
    # The same networks in another study, which recalls their accuracy, but whose own metric is new.
    (study.folder / "weights.py").write_text(METRIC + "\n# edited\n")
    study.path.write_text(page.replace('name = "toy"', 'name = "again"'))
    again = Study(study.path)
    again.run(2)
    assert again.frame["weights.py:size"].tolist() == study.frame["weights.py:size"].tolist()


def test_own_metrics_of_two_recipes_are_two_numbers(write_study: WriteStudy) -> None:
    study = write_study(OWN, objective=TRAINED)
    (study.folder / "weights.py").write_text(METRIC)
    study.run(2)
    page = study.path.read_text().replace('name = "toy"', 'name = "longer"')
    study.path.write_text(page.replace("epochs = 2", "epochs = 3"))
    longer = Study(study.path)
    longer.run(2)
    sizes = zip(longer.frame["weights.py:size"], study.frame["weights.py:size"], strict=True)
    assert all(a != b for a, b in sizes)


def test_training_whose_weights_are_gone_is_done_again(write_study: WriteStudy) -> None:
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    (weights,) = (study.folder / "artefacts").rglob("network-*.safetensors")
    content = weights.read_bytes()
    weights.unlink()
    study.path.write_text(study.path.read_text().replace('name = "toy"', 'name = "again"'))
    Study(study.path).run(1)
    (weights,) = (study.folder / "artefacts" / "again").glob("network-*.safetensors")
    assert weights.read_bytes() == content


def test_one_metric_with_two_sets_of_arguments_is_refused(write_study: WriteStudy) -> None:
    bound = '[[constraint]]\nmetric = "latency"\nbatch = 2\nmax = 100\n'
    study = write_study(DATA + bound, objective='metric = "latency"\nthreads = 1')
    with pytest.raises(NasplatError, match="'latency' is asked for with two sets of arguments"):
        study.run(1)


def test_summary_counts_the_trial_that_ended_the_run(write_study: WriteStudy) -> None:
    summary = write_study(study='target = { "toy.py:gain" = -1000.0 }').run(20)
    assert summary.states == {"complete": 1}


def test_trial_of_a_worker_that_dies_meanwhile_is_taken_over(write_study: WriteStudy) -> None:
    study = write_study()
    study.run(3)
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    worker = f"{os.uname().nodename}:{dead.stdout.strip()}:x"
    space = study.store.find_study(study.name).space  # type: ignore[union-attr]
    assert space is not None
    toy = assemble(study).bench.space
    arch = next(a for a in toy.enumerate() if a.key not in set(study.frame["arch_key"]))

    class DiesLate:
        """Another worker takes the fourth trial and dies as soon as this one has nothing to ask."""

        def say(self, line: str) -> None:
            with study.store.asking(study.record.id, worker, lease_seconds=300) as turn:
                turn.create(Proposal(toy.params(arch), arch.to_json(), arch.key))

        def training(self, *_: object) -> None: ...

        def trial(self, *_: object) -> None: ...

    study.run(4, watcher=DiesLate())
    assert study.frame["state"].tolist() == ["complete"] * 4
    assert study.frame["arch_key"].iloc[-1] == arch.key


def test_export_does_not_train_a_lost_supernet(write_study: WriteStudy, tmp_path: Path) -> None:
    space = 'name = "elastic_convnet"\nstages = 1\ndepth = [1, 2]\nwidth = [2, 4]\nkernel = [1, 3]'
    rest = '[data]\nname = "toy.py:images"\n[supernet]\nepochs = 1\nbatch_size = 32\n'
    study = write_study(rest, space=space, objective='metric = "accuracy"')
    study.run(1)
    (weights,) = (study.folder / "artefacts").rglob("supernet-*.safetensors")
    weights.unlink()
    with pytest.raises(NasplatError, match="weights of the supernet are gone"):
        study.export(0, tmp_path / "out")
    assert not weights.exists()


def test_training_that_was_killed_before_its_number_was_stored_is_done_again(write_study: WriteStudy) -> None:
    """Whatever weights come out then: on some devices they are others."""
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    bench = assemble(study, "cpu").bench
    shelf = Shelf(study.store, study.record.id, study.folder, study.name)
    arch = next(a for a in bench.space.enumerate() if a.key not in set(study.frame["arch_key"]))
    for seed in (1, 2):
        candidate = Candidate(arch, bench)
        candidate.restore(bench.space.build(arch, seed))
        shelf.keep_trained(candidate, {"recipe": "any"})
        kept = shelf.trained(bench.space, arch, {"recipe": "any"})
        assert kept is not None
        torch.testing.assert_close(kept.state_dict(), candidate.network.state_dict())


def test_lost_supernet_that_comes_out_otherwise_is_refused(write_study: WriteStudy) -> None:
    study = write_study(DATA, objective=TRAINED)
    study.run(1)
    shelf = Shelf(study.store, study.record.id, study.folder, study.name)
    shelf.keep_supernet("supernet-x.safetensors", torch.nn.Linear(2, 2), {"recipe": "any"})
    with pytest.raises(NasplatError, match="the supernet of study 'toy' was lost"):
        shelf.keep_supernet("supernet-x.safetensors", torch.nn.Linear(2, 2), {"recipe": "any"})
