"""Idioms of the wild, one between two layers: a permutation changes nothing, or is not allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import pytest
import torch
from torch import nn

from nasplat.channels.permutation import permute_state, random_permutation

from .architectures import Entry
from .conftest import Traced, traced_once
from .nets.idioms import FREE, IDIOMS, OPAQUE
from .test_architectures import returned, with_state

TIED = dict.fromkeys(
    ("places_gated", "pooled_by_weights"), "a gate that all channels share ties them into one"
)
"""Where less is allowed than could be."""


def known(names: Iterable[str], failing: Mapping[str, str]) -> list[object]:
    """Names to try; those that fail are expected to, for their reason."""
    return [
        pytest.param(n, marks=[pytest.mark.xfail(reason=failing[n], strict=True)] if n in failing else [])
        for n in names
    ]


@cache
def idiom(name: str) -> Traced:
    inputs = ((2, 3, 4, 4),) if isinstance(IDIOMS[name]().get_submodule("stem"), nn.Conv2d) else ((2, 5, 3),)
    entry = Entry(IDIOMS[name], inputs, ())
    return traced_once(entry.network(), entry.example())


@pytest.mark.parametrize("name", IDIOMS)
def test_every_permutation_that_is_allowed_keeps_the_function(name: str) -> None:
    one = idiom(name)
    wanted = one.network(*one.example)
    for seed in range(5):
        permutation = random_permutation(one.spec, torch.Generator().manual_seed(seed))
        permuted = with_state(one.network, permute_state(one.spec, one.graph.tensors, permutation))
        torch.testing.assert_close(permuted(*one.example), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", IDIOMS)
def test_features_and_edges_hold_every_tensor(name: str) -> None:
    tensors = idiom(name).graph.tensors
    back = returned(idiom(name).graph)
    assert [key for key in tensors if not torch.equal(back[key], tensors[key])] == []


@pytest.mark.parametrize("name", known(FREE, TIED))
def test_channels_whose_order_has_no_meaning_are_free(name: str) -> None:
    spec = idiom(name).spec
    (slot,) = (s for s in spec.slots if s.parameter == "stem.weight" and s.axis == 0)
    held = slot.channels[0].tolist()
    (space,) = (s for s in spec.spaces if s.start <= held[0] < s.stop)
    assert space.kind == "hidden"
    assert sorted(held) == list(range(space.start, space.stop))
    assert space.size == 8


@pytest.mark.parametrize("name", OPAQUE)
def test_what_is_not_understood_is_frozen_and_listed(name: str) -> None:
    spec = idiom(name).spec
    assert spec.frozen
    assert {space.kind for space in spec.spaces} == {"input", "frozen", "output"}
