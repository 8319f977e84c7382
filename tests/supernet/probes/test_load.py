"""What was trained how often: counted from what policies asked for, across resumptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.data import Dataset
from nasplat.elastic import ElasticLinear, ElasticSpace, Key, keyed
from nasplat.measure import count_macs
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.supernet import Fixed, Phase, Recipe, Sandwich, Schedule, Settings, Uniform, label_loss, train
from nasplat.supernet.policy import Judge
from nasplat.supernet.probes import Look, Tally, look, make_probe
from nasplat.supernet.probes.load import Load, atoms

OPTIONS = [ordinal("depth", [1, 2, 3]), categorical("op", ["a", "b"], {"depth": [2, 3]})]
SPACE = Space("options", OPTIONS)


def nobody(arch: Arch) -> Tensor:
    raise AssertionError("these policies ask nobody")


def test_values_are_counted_as_often_as_policies_asked_for_them(make_look: Callable[..., Look]) -> None:
    policy, tally = Sandwich(SPACE, 3, seed=2), Tally(SPACE)
    loss = label_loss(F.cross_entropy)
    phases = (Phase(0.5, Fixed((SPACE.smallest(),)), loss), Phase(1.0, policy, loss))
    watched = tally.watch(Schedule(phases))
    asked = [arch for step in range(10) for arch in watched.at(step, 10).policy.ask(step, nobody)]
    by_hand = [SPACE.smallest()] * 5 + [a for step in range(5, 10) for a in policy.ask(step, nobody)]
    assert asked == by_hand
    told = look(make_look(space=SPACE, asked=tally.take()), make_probe("load"))
    assert told["architectures"] == 5 + 5 * 5
    assert told["choices"]["depth"] == {str(d): sum(a["depth"] == d for a in by_hand) for d in (1, 2, 3)}
    assert told["choices"]["op"] == {op: sum(a.get("op") == op for a in by_hand) for op in "ab"}
    assert tally.take() == []


def test_bins_hold_the_multiply_adds_that_are_counted_on_the_networks(make_look: Callable[..., Look]) -> None:
    space = make_look().space
    archs = [arch for times, arch in enumerate(space.enumerate()) for _ in range(times)]
    told = look(make_look(asked=archs), Load(bins=3))["macs"]
    counted = [count_macs(space.build(arch), torch.zeros(1, 1, 6, 6)) for arch in archs]
    all_of_them = [count_macs(space.build(arch), torch.zeros(1, 1, 6, 6)) for arch in space.enumerate()]
    low, high = min(all_of_them), max(all_of_them)
    edges = [low + (high + 1 - low) * i // 3 for i in range(4)]
    by_hand, _ = np.histogram(counted, bins=[*edges[:-1], high])
    assert told == {str(edge): n for edge, n in zip(edges, by_hand.tolist(), strict=False)}


class Keyed(nn.Module):
    def __init__(self, key: Key) -> None:
        super().__init__()
        self.first = ElasticLinear(4, 4, source=keyed(key))
        self.same, self.plain = ElasticLinear(4, 4, source=keyed(key)), ElasticLinear(4, 3)


def test_atoms_are_counted_once_for_each_key() -> None:
    net = Keyed(Key(("depth",), 4, lambda arch: int(str(arch["depth"]))))
    visits = Counter([SPACE.smallest(), SPACE.smallest(), SPACE.largest()])
    assert atoms(net, visits) == {"first.source": {"0": 0, "1": 2, "2": 0, "3": 1}}


@dataclass
class Learning:
    """A policy that counts how often it was told, and is resumed with the count."""

    policy: Uniform
    told: Tensor = field(default_factory=lambda: torch.zeros(()))

    def ask(self, step: int, judge: Judge) -> list[Arch]:
        return self.policy.ask(step, judge)

    def tell(self, archs: Sequence[Arch], losses: Sequence[Tensor]) -> None:
        self.told = self.told + 1

    def state(self) -> dict[str, Tensor]:
        return {"told": self.told}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        assert set(state) == {"told"}
        self.told = state["told"]


@pytest.mark.parametrize("learns", [True, False])
def test_resumed_training_counts_what_it_did_before(
    space: ElasticSpace, data: Dataset, tmp_path: Path, learns: bool
) -> None:
    recipe = Recipe(epochs=2, batch_size=10)  # four steps an epoch

    def run(stop_at: int | None, checkpoint: Path) -> list[list[Arch]]:
        policy, tally, looks = Uniform(space, 3, seed=0), Tally(space), []
        learning = Learning(policy)
        phases = tuple(
            Phase(u, learning if learns else policy, label_loss(F.cross_entropy)) for u in (0.5, 1.0)
        )

        def progress(done: int, total: int, figures: object) -> None:
            if done == stop_at:
                raise KeyboardInterrupt

        settings = Settings(checkpoint=checkpoint, save_every=0, pulse=0, progress=progress)
        after = lambda epoch: looks.append(tally.take())  # noqa: E731
        schedule = tally.watch(Schedule(phases))
        train(space.supernet(), data, schedule, recipe, settings, after_epoch=after)
        assert not learns or learning.told == 8
        return looks

    whole = run(None, tmp_path / "whole")
    assert [len(archs) for archs in whole] == [12, 12]
    with pytest.raises(KeyboardInterrupt):
        run(7, tmp_path / "halves")
    assert run(None, tmp_path / "halves") == [whole[1]]


def test_who_does_not_record_still_resumes_a_training_that_did(space: ElasticSpace) -> None:
    recording, silent = Tally(space), Tally(space, recording=False)
    policy = Uniform(space, 2)
    phases = (Phase(1.0, policy, label_loss(F.cross_entropy)),)
    ours, theirs = (t.watch(Schedule(phases)).phases[0].policy for t in (recording, silent))
    ours.ask(0, nobody)
    state = ours.state()  # type: ignore[attr-defined]
    theirs.restore(state)  # type: ignore[attr-defined]
    theirs.ask(1, nobody)
    assert theirs.state() == {}  # type: ignore[attr-defined]
    again = Tally(space)
    again.watch(Schedule(phases)).phases[0].policy.restore(state)  # type: ignore[attr-defined]
    assert again.take() == recording.take()


def test_a_tally_of_several_phases_is_kept_once() -> None:
    tally = Tally(SPACE)
    phases = [
        Phase(until, Uniform(SPACE, 2, seed), label_loss(F.cross_entropy))
        for seed, until in enumerate((0.3, 0.6, 1.0))
    ]
    watched = tally.watch(Schedule(tuple(phases)))
    asked = [arch for step in range(9) for arch in watched.at(step, 9).policy.ask(step, nobody)]
    states = {name: state for name, part in watched.stateful.items() if (state := part.state())}
    assert list(states) == ["0.policy"]
    again = Tally(SPACE)
    again.watch(Schedule(tuple(phases))).stateful["0.policy"].restore(states["0.policy"])
    assert again.take() == asked
