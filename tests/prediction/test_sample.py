"""Samples: their graphs are those of the notation, or of the networks themselves."""

from __future__ import annotations

from functools import partial

import pytest
from torch import nn

from nasplat.errors import NasplatError
from nasplat.prediction import describe, traced
from nasplat.space import Arch, ArchGraph, Notation, Space, ordinal

CHAIN = ArchGraph(("input", "cell", "output"), ((0, 1), (1, 2)))


def linear(arch: Arch) -> nn.Module:
    return nn.Sequential(nn.Linear(4, int(str(arch["width"]))), nn.ReLU())


def space(**more: object) -> Space:
    return Space("line", [ordinal("width", (2, 3, 4))], build=linear, **more)  # type: ignore[arg-type]


def test_a_space_without_words_for_graphs_may_give_those_of_its_networks() -> None:
    bare = space(input_shape=(4,))
    archs = list(bare.enumerate())
    assert describe(bare, archs)[0].graph is None
    found = describe(bare, archs, graphs=partial(traced, bare))
    assert [s.graph.operations for s in found if s.graph] == [("input", "linear", "relu", "output")] * 3


def test_the_graph_of_a_notation_goes_before() -> None:
    known = space(notation=Notation(graph=lambda arch: CHAIN))
    assert describe(known, list(known.enumerate()), graphs=partial(traced, known))[0].graph is CHAIN


def test_tracing_without_the_shape_of_inputs_is_refused() -> None:
    bare = space()
    with pytest.raises(NasplatError, match="says no input_shape"):
        traced(bare, next(iter(bare.enumerate())))
