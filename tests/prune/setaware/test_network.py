"""The metanetwork: what it reads, and that the order of channels does not matter."""

from __future__ import annotations

import pytest
import torch

from nasplat.channels import permute_state, random_permutation
from nasplat.errors import NasplatError
from nasplat.prune.meta.data_models import DataModel
from nasplat.prune.setaware import Body, Lesson, SetAwareNetwork, Units, correlations, taylor_features
from nasplat.prune.setaware.lessons import masked_graph
from nasplat.prune.setaware.network import worth_of
from nasplat.prune.setaware.objective import pairs

from .tiny import BODY, EXAMPLE, lessons, loss, model


def network(body: Body = BODY) -> SetAwareNetwork:
    torch.manual_seed(0)
    found = SetAwareNetwork(body)
    rises = torch.cat([lesson.masks.rises.flatten() for lesson in lessons()])
    found.learn((lesson.model.graph for lesson in lessons()), rises[rises.isfinite()])
    return found.eval()


def said(one: DataModel, kept: torch.Tensor, body: Body = BODY) -> torch.Tensor:
    """Of one mask, by unit."""
    units = Units.of(one.spec)
    graph, there = masked_graph(one, kept[None].numpy())
    features = taylor_features(one, units, kept.numpy(), loss)[None]
    with torch.no_grad():
        made = network(body)
        found: torch.Tensor = made(graph, made.marks_of(there, features), units)[0]
    return found


@pytest.mark.parametrize("backbone", ["edge_gated", "pna"])
def test_a_permuted_network_has_permuted_rises(backbone: str) -> None:
    body = Body(backbone=backbone, width=8, layers=2)  # type: ignore[arg-type]
    one = model()
    units = Units.of(one.spec)
    order = random_permutation(one.spec, torch.Generator().manual_seed(2))
    other = model()
    other.module.load_state_dict(permute_state(one.spec, one.module.state_dict(), order))
    kept = torch.from_numpy(units.without(units.whole(), 3))
    first = said(one, kept, body)
    second = said(other, kept[torch.from_numpy(order)], body)
    place = {int(channels[0]): unit for unit, channels in enumerate(units.members)}
    index = [place[int(order[channels[0]])] for channels in units.members]
    torch.testing.assert_close(second, first[index], rtol=1e-4, atol=1e-4)


def test_the_mask_is_read_beside_weights_that_are_zero() -> None:
    made, lesson = network(), lessons()[0]
    rows = torch.tensor([1])
    graph, there = masked_graph(lesson.model, lesson.masks.kept[rows].numpy())
    features = lesson.masks.features[rows]
    with torch.no_grad():
        first = made(graph, made.marks_of(there, features), lesson.units)
        blind = made(graph, made.marks_of(torch.ones_like(there), features), lesson.units)
    assert float((first - blind).abs().max()) > 1e-4


def test_what_is_gone_changes_what_the_rest_is_worth() -> None:
    one = model()
    units = Units.of(one.spec)
    body = Body(width=8, layers=2, taylor=False)
    whole = said(one, torch.from_numpy(units.whole()), body)
    rest = said(one, torch.from_numpy(units.without(units.whole(), 0)), body)
    assert float((whole - rest)[1:].abs().max()) > 1e-4


def test_masks_side_by_side_are_read_as_masks_alone() -> None:
    made, lesson = network(), lessons()[1]
    with torch.no_grad():
        together = lesson.predicted(made, torch.tensor([0, 2, 4]))
        alone = torch.cat([lesson.predicted(made, torch.tensor([row])) for row in (0, 2, 4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_worth_is_above_zero_and_rises_with_the_rise() -> None:
    made = network()
    rises = torch.tensor([-1.0, -1e-3, 0.0, 1e-3, 0.1, 1.0], dtype=torch.float64)
    worth = worth_of(rises, made.scale)
    assert bool((worth > 0).all())
    assert bool((worth.diff() > 0).all())
    torch.testing.assert_close(worth[-2:], 2 * rises[-2:], rtol=0.1, atol=0)
    torch.testing.assert_close(
        made.worth(made.targets(rises))[2:], worth[2:].float(), rtol=0.02, atol=1e-4, check_dtype=False
    )


def test_pairs_in_the_right_order_cost_less() -> None:
    wanted = torch.tensor([[0.0, 1.0, 2.0, float("nan")]])
    right, wrong = torch.tensor([[0.0, 5.0, 9.0, 0.0]]), torch.tensor([[9.0, 5.0, 0.0, 0.0]])
    assert float(pairs(right, wanted)) < 0.1 < float(pairs(wrong, wanted))


def test_correlations_are_those_of_ranks() -> None:
    from scipy.stats import spearmanr

    first, second = torch.randn(2, 12).round(decimals=1), torch.randn(2, 12).round(decimals=1)
    found = correlations(first, second)
    for row in range(2):
        assert float(found[row]) == pytest.approx(float(spearmanr(first[row], second[row]).statistic))


@pytest.mark.parametrize("wrong", [{"backbone": "transformer"}, {"width": 6}, {"layers": 0}])
def test_strange_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NasplatError):
        Body(**wrong)  # type: ignore[arg-type]


def test_a_lesson_has_the_units_of_its_network() -> None:
    lesson = Lesson.of(model(), lessons()[0].masks)
    assert lesson.masks.rises.shape[1] == len(lesson.units)
    assert EXAMPLE.shape[1] == 1
