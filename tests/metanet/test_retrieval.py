"""Nearest networks."""

from __future__ import annotations

import numpy as np

from nasplat.metanet.retrieval import nearest


def test_the_nearest_are_those_of_a_loop_over_all() -> None:
    rng = np.random.default_rng(0)
    codes, queries = rng.normal(size=(30, 5)) * [1, 10, 100, 1, 1], rng.normal(size=(4, 5))
    places, distances = nearest(codes, queries, 3)
    for query, found, far in zip(queries, places, distances, strict=True):
        each = [np.sqrt(np.mean(((query - code) / codes.std(0)) ** 2)) for code in codes]
        assert found.tolist() == np.argsort(each)[:3].tolist()
        np.testing.assert_allclose(far, np.sort(each)[:3])


def test_a_network_is_closest_to_itself_and_units_of_columns_do_not_matter() -> None:
    codes = np.random.default_rng(1).normal(size=(10, 4))
    places, distances = nearest(codes, codes, 1)
    assert places[:, 0].tolist() == list(range(10))
    np.testing.assert_allclose(distances, 0, atol=1e-6)
    scaled = codes * [1, 1000, 0.001, 1]
    assert np.array_equal(nearest(scaled, scaled, 5)[0], nearest(codes, codes, 5)[0])


def test_columns_that_never_differ_say_nothing() -> None:
    codes = np.random.default_rng(2).normal(size=(8, 3))
    constant = np.concatenate([codes, np.full((8, 1), 3.0)], 1)
    np.testing.assert_allclose(nearest(constant, constant, 8)[1], nearest(codes, codes, 8)[1])
    assert nearest(codes, codes[:0], 3)[0].shape == (0, 3)
