"""Probes of a study: what a page names is looked at, once for each epoch, also by a training that was stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from nasplat import Study
from nasplat.store import ObservationRecord
from nasplat.study import method
from nasplat.study.frames import probe_frame
from nasplat.study.status import status_of
from nasplat.supernet import Settings
from nasplat.supernet.probes import kendall

WriteStudy = Callable[..., Study]
SPACE = 'name = "elastic_convnet"\nstages = 1\ndepth = [1, 2]\nwidth = [2, 4]\nkernel = [1, 3]'
PARTS = {"space": SPACE, "objective": 'metric = "accuracy"', "study": "trials = 1"}
REST = '[data]\nname = "toy.py:images"\n[supernet]\nepochs = 5\nbatch_size = 48\n'
PROBES = 'probes = ["rank_correlation", "load", "full_net_dip"]\n'


class Stopping:
    """A watcher that presses Ctrl-C once, when so many steps are done."""

    def __init__(self, at: int) -> None:
        self.at = at

    def say(self, line: str) -> None: ...

    def training(self, done: int, total: int, figures: object) -> None:
        if done == self.at:
            os.kill(os.getpid(), signal.SIGINT)

    def trial(self, done: int, total: int, line: str) -> None: ...


@pytest.fixture(autouse=True)
def _pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told at every step, so that a test may stop at a given one."""
    monkeypatch.setattr(method, "Settings", partial(Settings, pulse=0))


def test_training_is_looked_at_every_so_many_epochs_and_at_its_end(write_study: WriteStudy) -> None:
    study = write_study(REST + PROBES + "probe_every = 2", **PARTS)
    study.train()
    frame = study.probes()
    assert list(frame.columns) == ["supernet", "probe", "epoch", "name", "value", "unit"]
    epochs = frame.groupby("probe")["epoch"].unique()
    assert {name: sorted(e) for name, e in epochs.items()} == {
        "full_net_dip": [2, 4, 5],
        "load": [2, 4, 5],
        "rank_correlation": [2, 4, 5],
    }
    assert {path.stem.removeprefix("supernet-") for path in study.folder.rglob("supernet-*")} == set(
        frame["supernet"]
    )
    assert status_of(study)["observations"] == {"rank_correlation": 3, "load": 3, "full_net_dip": 3}
    visits = frame[(frame["probe"] == "load") & (frame["name"] == "architectures")]
    assert visits["value"].tolist() == [16, 16, 8]  # two steps an epoch, four architectures each


def test_tau_of_a_look_is_that_of_its_scores_and_those_of_the_look_before(write_study: WriteStudy) -> None:
    study = write_study(REST + PROBES, **PARTS)
    study.train()
    rows = study.probes().query("probe == 'rank_correlation'")
    scores = rows[rows["name"].str.startswith("score.")].pivot(index="name", columns="epoch", values="value")
    taus = rows[rows["name"] == "tau"].set_index("epoch")["value"]
    assert np.isnan(taus[1])
    by_hand = [kendall(scores[e].to_dict(), scores[e - 1].to_dict()) for e in range(2, 6)]
    assert taus.loc[2:].tolist() == pytest.approx(by_hand, nan_ok=True)


def test_training_that_was_stopped_sees_what_an_uninterrupted_one_sees(write_study: WriteStudy) -> None:
    whole = write_study(REST + PROBES, **PARTS, folder="whole")
    whole.train()
    stopped = write_study(REST + PROBES, **PARTS, folder="stopped")
    with pytest.raises(KeyboardInterrupt):
        stopped.train(watcher=Stopping(at=5))
    assert list(stopped.folder.rglob("*.checkpoint"))
    stopped.train()
    assert stopped.probes().equals(whole.probes())
    assert set(stopped.probes()["epoch"]) == {1, 2, 3, 4, 5}


def test_probes_change_no_weight_and_may_come_and_go(write_study: WriteStudy) -> None:
    plain, seen = write_study(REST, **PARTS, folder="plain"), write_study(REST + PROBES, **PARTS)
    with pytest.raises(KeyboardInterrupt):
        seen.train(watcher=Stopping(at=5))
    unseen = write_study(REST, **PARTS)
    ours, theirs = unseen.train(), plain.train()
    assert ours is not None
    assert theirs is not None
    assert ours.content_hash == theirs.content_hash
    assert plain.probes().empty


def test_nested_numbers_are_rows_named_by_their_path() -> None:
    seen = ObservationRecord("p", 2, {"a": {"b": 1, "c": [0.5, None]}, "d": 2}, "ms", "0123456789abcdef")
    frame = probe_frame([seen])
    assert frame["name"].tolist() == ["a.b", "a.c.0", "a.c.1", "d"]
    assert frame["value"].tolist() == pytest.approx([1, 0.5, float("nan"), 2], nan_ok=True)
    assert frame.iloc[0][["supernet", "probe", "epoch", "unit"]].tolist() == ["0123456789ab", "p", 2, "ms"]
