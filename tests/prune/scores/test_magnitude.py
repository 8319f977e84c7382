"""Norms of members: by hand, and against torch-pruning."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

from nasplat.errors import NasplatError
from nasplat.prune.scores import SCORES, Magnitude

from .networks import PLAIN, evidence, theirs, traced

NORMALISERS = {
    "none": None,
    "mean": "mean",
    "max": "max",
    "sum": "sum",
    "standardise": "standarization",
    "gaussian": "gaussian",
    "lamp": "lamp",
}
"""Our word to torch-pruning's."""


def small() -> nn.Sequential:
    """Input channels 0 and 1, hidden 2 to 4, output 5."""
    network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1, 2], [-3, 0], [0, 0]]))
        network[0].bias.fill_(7)
        network[1].weight.copy_(torch.tensor([1, 2, -1]))
        network[2].weight.copy_(torch.tensor([[2, -1, 4]]))
    return network


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (Magnitude(2, "sum", "none", ("weight",)), [1 + 4 + 4, 9 + 1, 16]),
        (Magnitude(1, "mean", "none", ("weight",)), [(3 + 2) / 2, (3 + 1) / 2, 4 / 2]),
        (Magnitude(1, "mean", "none"), [(3 + 2 + 1) / 3, (3 + 1 + 2) / 3, (4 + 1) / 3]),
        (Magnitude(1, "max", "none", ("weight",)), [3, 3, 4]),
        (Magnitude(1, "prod", "none", ("weight",)), [3 * 2, 3 * 1, 0]),
        (Magnitude(1, "first", "max", ("weight",)), [1, 1, 0]),
        (Magnitude(1, "sum", "none", ("bias",)), [7, 7, 7]),
        (Magnitude(1, "sum", "sum", ("scale",)), [0.25, 0.5, 0.25]),
        (Magnitude(1, "sum", "standardise", ("scale",)), [0, 1, 0]),
        (Magnitude(1, "sum", "lamp", ("scale",)), [0.25, 1, 0.25]),
        (SCORES["bn_scale"], [1, 2, 1]),
    ],
)
def test_members_are_reduced_and_normalised_as_counted_by_hand(
    score: Magnitude, expected: list[float]
) -> None:
    found = score(traced(small(), torch.randn(4, 2).double()))
    torch.testing.assert_close(found[2:5], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.parametrize("name", PLAIN)
def test_normalised_norms_are_those_of_torch_pruning(name: str, normaliser: str) -> None:
    one = evidence(name, single=True)
    found = Magnitude(2, "mean", normaliser)(one)
    for channels, expected in theirs(
        one, tp.importance.GroupMagnitudeImportance(2, "mean", NORMALISERS[normaliser])
    ):
        torch.testing.assert_close(found[channels], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        *((name, reduction) for name in PLAIN for reduction in ("mean", "sum")),
        ("resnet8", "prod"),
        ("vgg11", "prod"),
        ("vgg11", "first"),
        ("lenet", "first"),
    ],
)
def test_reduced_norms_with_biases_are_those_of_torch_pruning(name: str, reduction: str, p: int) -> None:
    """Its product keeps one place of a flattened channel, and its first member of a stream is some layer's."""
    one = evidence(name, single=True)
    found = Magnitude(p, reduction, "none", ("weight", "scale", "bias"))(one)
    for channels, expected in theirs(
        one, tp.importance.GroupMagnitudeImportance(p, reduction, None, bias=True)
    ):
        torch.testing.assert_close(found[channels], expected, rtol=1e-4, atol=1e-6)


def test_scales_and_layer_adaptive_norms_are_those_of_torch_pruning() -> None:
    one = evidence("resnet8", single=True)
    for channels, expected in theirs(one, tp.importance.BNScaleImportance(normalizer=None)):
        torch.testing.assert_close(SCORES["bn_scale"](one)[channels], expected)
    for channels, expected in theirs(one, tp.importance.LAMPImportance()):
        torch.testing.assert_close(SCORES["lamp"](one)[channels], expected, rtol=1e-5, atol=1e-6)


def test_channels_of_which_a_score_knows_nothing_stay_and_those_in_no_tensor_count_nothing() -> None:
    one = evidence("lenet")
    found = SCORES["bn_scale"](one)
    assert bool(found.isinf().all())
    blocks = evidence("resnext")
    found, parents = SCORES["l2"](blocks), {space.parent for space in blocks.spec.spaces} - {None}
    for number, space in enumerate(blocks.spec.spaces):
        own = found[space.start : space.stop]
        assert bool((own == 0).all() if number in parents else (own > 0).all())


def test_words_that_are_none_and_weights_that_are_no_numbers_are_told() -> None:
    with pytest.raises(NasplatError, match="no normaliser 'maximum'; did you mean 'max'"):
        Magnitude(normaliser="maximum")
    with pytest.raises(NasplatError, match="no reduction 'gate'; known: mean, sum"):
        Magnitude(reduction="gate")
    with pytest.raises(NasplatError, match="no kind of member 'norm'"):
        Magnitude(kinds=("norm",))
    network = small()
    network[0].weight.data[0, 0] = torch.nan
    with pytest.raises(NasplatError, match="not finite"):
        SCORES["l1"](traced(network, torch.randn(4, 2).double()))
