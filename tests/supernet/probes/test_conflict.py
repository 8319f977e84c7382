"""The conflict of gradients is found where it was planted, and nowhere else."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nasplat.data import CLASSIFICATION, Dataset, Split
from nasplat.errors import NasplatError
from nasplat.space import Arch, Space, categorical, ordinal
from nasplat.supernet.probes import Look, look, make_probe
from nasplat.supernet.probes.conflict import GradientConflict, distances, open_choices, options

FACTORS = {"plain": 1.0, "double": 2.0, "flip": -1.0}


class Planted(nn.Module):
    """Two linear layers; between them an option that may negate, and a mild one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8, bias=False), nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        factor = FACTORS[str(arch["op1"])] * (1.5 if arch["mild2_1"] else 1.0)
        out: Tensor = self.last(factor * self.first(x))
        return out


SPACE = Space("planted", [categorical("op1", list(FACTORS)), categorical("mild2_1", [False, True])])


def planted(loss: object = None) -> Look:
    """Look at the planted network; a loss that is linear in the outputs makes the conflict exact."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x = torch.randn(32, 4, generator=rng)
    split = Split(x, torch.randint(0, 3, (32,), generator=rng))
    task = CLASSIFICATION if loss is None else replace(CLASSIFICATION, loss=loss)
    return Look(Planted(), SPACE, Dataset("x", split, split, split, task=task, classes=3), 1)


def test_option_that_negates_its_input_is_found_exactly() -> None:
    at = planted(lambda outputs, targets: (outputs * (1.0 + targets[:, None])).mean())
    probe = GradientConflict()
    op, mild = (probe.matrix(at, choice) for choice in SPACE.choices)
    torch.testing.assert_close(op, torch.tensor([[0.0, 0, 2], [0, 0, 2], [2, 2, 0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(mild, torch.zeros(2, 2), atol=1e-5, rtol=0)


def test_option_that_negates_its_input_conflicts_most_in_a_classification() -> None:
    told = look(planted(), make_probe("gradient_conflict"))
    pairs = {
        (c, a, b): d for c, rows in told.items() for a, row in rows.items() for b, d in row.items() if a < b
    }
    worst = sorted(pairs, key=pairs.__getitem__)[-2:]
    assert sorted(worst) == [("op1", "double", "flip"), ("op1", "flip", "plain")]
    assert min(pairs[pair] for pair in worst) > 1 > max(d for pair, d in pairs.items() if pair not in worst)


def test_weights_outside_of_a_slice_are_no_conflict() -> None:
    narrow, wide = torch.tensor([1.0, 2, 0, 0]), torch.tensor([2.0, 4, 5, 7])
    orthogonal = torch.tensor([2.0, -1, 0, 1])
    found = distances([[narrow, None], [wide, torch.ones(3)], [orthogonal, None]])
    assert found[0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert found.equal(found.T)


def test_options_that_share_nothing_have_no_distance() -> None:
    found = distances([[torch.ones(2), None], [None, torch.ones(2)]])
    assert math.isnan(found[0, 1])


def test_options_differ_in_nothing_but_the_choice_which_is_active() -> None:
    choices = [
        ordinal("depth1", [1, 2, 3]),
        categorical("op1_2", ["a", "b"], {"depth1": [2, 3]}),
        ordinal("kernel1_2", [1, 3, 5], {"op1_2": ["b"]}),
    ]
    space, rng = Space("nested", choices), np.random.default_rng(0)
    for _ in range(20):
        archs = options(space, choices[2], rng)
        assert [arch["kernel1_2"] for arch in archs] == [1, 3, 5]
        assert len({(arch["depth1"], arch["op1_2"]) for arch in archs}) == 1


def test_a_restricted_space_is_asked_for_what_it_still_has() -> None:
    choices = [ordinal("depth1", [1, 2, 3]), categorical("op1_2", ["a", "b"], {"depth1": [2, 3]})]
    space, rng = Space("nested", choices), np.random.default_rng(0)
    shallow, middle = space.restrict({"depth1": [1]}), space.restrict({"depth1": [1, 2]})
    assert open_choices(shallow) == []
    assert [choice.name for choice in open_choices(middle)] == ["depth1", "op1_2"]
    archs = [arch for _ in range(10) for arch in options(middle, middle.choices[1], rng)]
    assert {(arch["depth1"], arch["op1_2"]) for arch in archs} == {(2, "a"), (2, "b")}


def test_one_kind_is_looked_at_alone_and_an_unknown_one_is_told() -> None:
    assert list(look(planted(), make_probe("gradient_conflict:mild"))) == ["mild2_1"]
    with pytest.raises(NasplatError, match="no choice of the kind 'mlid'; did you mean 'mild'"):
        look(planted(), make_probe("gradient_conflict:mlid"))
