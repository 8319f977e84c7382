"""Statistics of weights: quantiles as torch has them, the same for permuted networks, columns for any architecture."""

from __future__ import annotations

import pytest
import torch

from nasplat.metanet.statistics import STATISTICS, by_row, by_tensor, flat_weights, statistics

from .by_hand import CNN, DEPTHWISE, MLP, filled, permuted, structure


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_the_seven_statistics_are_those_of_torch(n: int) -> None:
    values = torch.randn(3, n, dtype=torch.float64)
    points = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    expected = [values.mean(1), values.var(1, correction=0), *values.quantile(points, 1)]
    torch.testing.assert_close(statistics(values), torch.stack(expected, 1))


@pytest.mark.parametrize("said", [by_tensor, by_row])
def test_permuted_networks_have_equal_statistics(said: object) -> None:
    assert callable(said)
    plain = filled(structure(CNN, norms=True), batch=(2,))
    moved, _ = permuted(plain, seed=3)
    torch.testing.assert_close(said(moved), said(plain))
    assert not torch.equal(flat_weights(moved), flat_weights(plain))


def test_by_tensor_has_seven_columns_for_each_tensor() -> None:
    form = structure(CNN, norms=True)
    found = by_tensor(filled(form, batch=(4,)))
    assert found.shape == (4, len(STATISTICS) * len(form.shapes))
    alone = filled(form, batch=(4,)).tensors["l1.weight"].flatten(1)
    column = 7 * list(form.shapes).index("l1.weight")
    torch.testing.assert_close(found[:, column], alone.mean(1))


def test_by_row_has_the_same_columns_for_any_architecture() -> None:
    forms = [structure(CNN, norms=True), structure(MLP), structure(DEPTHWISE, norms=True)]
    rows = [by_row(filled(form)) for form in forms]
    assert len({row.shape for row in rows}) == 1
    weights = 4 * len(STATISTICS) + 1
    assert [row[weights - 1].item() for row in rows] == [3, 3, 4]  # rows that weights lead to
    scales = 2 * weights
    assert [row[scales + weights - 1].item() for row in rows] == [2, 0, 3]  # rows with a norm
    assert not rows[1][scales : scales + weights].any()


def test_flat_weights_are_all_numbers_in_order() -> None:
    graph = filled(structure(MLP))
    expected = torch.cat([tensor.flatten() for tensor in graph.tensors.values()])
    assert torch.equal(flat_weights(graph), expected)
