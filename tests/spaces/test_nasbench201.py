"""NAS-Bench-201: published counts over all architectures, keys against running networks, the networks themselves."""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx

from nasplat import open_study
from nasplat.conformance import check_space
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.measure import count_macs, count_params
from nasplat.plugins import load, load_object
from nasplat.space import Arch

nasbench201 = load("spaces", "nasbench201")
OPERATIONS, Plan, is_dead, macs, params, unique_string = (
    load_object(f"nasplat.spaces.nasbench201:{name}")
    for name in ("OPERATIONS", "Plan", "is_dead", "macs", "params", "unique_string")
)
SPACE = nasbench201()
TINY: dict[str, Any] = {"channels": 2, "cells": 1, "input_shape": (1, 8, 8), "classes": 3}
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
ROUTES = (((0, 3),), ((0, 1), (1, 3)), ((0, 2), (2, 3)), ((0, 1), (1, 2), (2, 3)))
CONVOLUTIONS = ("nor_conv_1x1", "nor_conv_3x3")
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"


@cache
def archs() -> list[Arch]:
    return list(SPACE.enumerate())


@cache
def keys() -> list[str]:
    return [SPACE.notation.function_key(arch) for arch in archs()]


def cell(chosen: str) -> Arch:
    """Of a letter for each of EDGES: "0" none, "s" skip, "1" and "3" convolutions, "p" pooling."""
    words = dict(zip("0s13p", OPERATIONS, strict=True))
    values = {f"edge{a}{b}": words[letter] for (a, b), letter in zip(EDGES, chosen, strict=True)}
    arch: Arch = SPACE.arch(values)
    return arch


def on_edges(arch: Arch) -> dict[tuple[int, int], str]:
    return {(a, b): str(arch[f"edge{a}{b}"]) for a, b in EDGES}


def live_routes(arch: Arch) -> list[tuple[tuple[int, int], ...]]:
    chosen = on_edges(arch)
    return [route for route in ROUTES if all(chosen[edge] != "none" for edge in route)]


def live_convolutions(arch: Arch) -> dict[str, list[tuple[int, int]]]:
    chosen, live = on_edges(arch), {edge for route in live_routes(arch) for edge in route}
    return {kind: [edge for edge in EDGES if edge in live and chosen[edge] == kind] for kind in CONVOLUTIONS}


def test_every_row_of_the_benchmark_is_an_architecture_with_its_parameters_and_macs(real_data: Path) -> None:
    with gzip.open(real_data / "nb201" / "nb201_accuracy.csv.gz", "rt") as file:
        rows = [(row["arch_str"], int(row["params"]), int(row["macs"])) for row in csv.DictReader(file)]
    told = [(SPACE.notation.spell(arch), params(arch), macs(arch)) for arch in archs()]
    assert len(told) == len(set(told)) == 15_625
    assert sorted(told) == sorted(rows)


@pytest.mark.parametrize("plan", [{}, {"channels": 3, "cells": 2, "input_shape": (1, 12, 20), "classes": 7}])
def test_networks_have_the_parameters_and_macs_of_the_closed_form(plan: dict[str, Any]) -> None:
    space = nasbench201(**plan)
    for arch in [cell("0s3p13"), cell("313s00")]:
        with torch.device("meta"):
            module = space.build(arch)
        sizes = count_params(module), count_macs(module, torch.empty(1, *space.input_shape, device="meta"))
        assert sizes == (params(arch, Plan(**plan)), macs(arch, Plan(**plan)))


def test_the_best_architecture_has_its_published_size_and_graph() -> None:
    """94.37 % on CIFAR-10 after 200 epochs with 1.073 M parameters and 153.27 M multiply-adds, as its authors list."""
    arch = SPACE.arch(SPACE.notation.read(BEST))
    assert (round(params(arch) / 1e6, 3), round(macs(arch) / 1e6, 2)) == (1.073, 153.27)
    assert SPACE.notation.spell(arch) == BEST
    graph = SPACE.notation.graph(arch)
    assert graph.operations == ("input", *on_edges(arch).values(), "output")
    assert set(graph.edges) == {
        (0, 1),
        (0, 2),
        (0, 4),
        (1, 3),
        (1, 5),
        (2, 6),
        (3, 6),
        (4, 7),
        (5, 7),
        (6, 7),
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "best",
        BEST + "\n",
        BEST.replace("~2", "~1"),
        BEST.replace("nor_conv_1x1", "nor_conv_5x5"),
        BEST.replace("|skip_connect~0", ""),
        BEST.replace("|+|", "|"),
        f" {BEST}",
    ],
)
def test_a_text_that_is_no_cell_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(
        InvalidArchitecture, match=r"is no cell of NAS-Bench-201: expected \|op~0\|\+"
    ) as error:
        SPACE.notation.read(text)
    assert "\n" not in str(error.value)


def test_341_architectures_have_no_path_and_they_are_one_function() -> None:
    dead = [not live_routes(arch) for arch in archs()]
    assert [is_dead(arch) for arch in archs()] == dead == [key == "dead" for key in keys()]
    assert sum(dead) == 341
    assert SPACE.notation.graph(cell("s0000s")).operations == ("input", "output")
    assert SPACE.notation.graph(cell("s0000s")).edges == ()


def test_the_isomorphism_string_has_6466_values_and_578_of_them_mix_parameter_counts() -> None:
    counts = defaultdict(set)
    for arch in archs():
        counts[unique_string(arch)].add(params(arch))
    assert len(counts) == 6466
    assert sum(len(seen) > 1 for seen in counts.values()) == 578


def test_paths_of_the_graph_are_the_routes_through_the_cell() -> None:
    from nasplat.prediction.paths import path_counts

    for arch in archs()[::29]:
        words = Counter(tuple(on_edges(arch)[edge] for edge in route) for route in live_routes(arch))
        graph = SPACE.notation.graph(arch)
        assert path_counts(graph, transparent=()) == words
        assert len(graph.operations) == 2 + len({edge for route in live_routes(arch) for edge in route})


Vectors = NDArray[np.float64]  # (..., 3), what flows through a cell in place of images


def _toy_operations(rng: np.random.Generator) -> Callable[[Vectors, int], Vectors]:
    """The five operations on vectors, with the weights of an instance: (..., 3) -> (5, ..., 3).

    Pooling is a linear map; a convolution is a random function that keeps zero and is linear in no other way.
    """
    pooling, inner, outer = (
        rng.normal(size=(3, 3)) / 2,
        rng.normal(size=(2, 6, 5, 3)),
        rng.normal(size=(2, 6, 3, 5)) / 2,
    )

    def apply(x: Vectors, instance: int) -> Vectors:
        hidden = [np.tanh(x @ inner[kind, instance].T + 0.5) - np.tanh(0.5) for kind in (0, 1)]
        convolved = [h @ outer[kind, instance].T for kind, h in enumerate(hidden)]
        return np.stack([np.zeros_like(x), x, *convolved, x @ pooling.T])

    return apply


def _toy_outputs(instances: tuple[int, ...], x: Vectors, apply: Callable[[Vectors, int], Vectors]) -> Vectors:
    """Outputs of all cells, in the order of `archs`, where the weights of each edge are those of an instance."""
    e01, e02, e12, e03, e13, e23 = instances
    first = apply(x, e01)  # o01
    second = apply(x, e02)[None, :, None] + apply(first, e12).swapaxes(0, 1)[:, None]  # o01, o02, o12
    third = apply(x, e03)[:, None, None] + apply(first, e13).swapaxes(0, 1)[:, None, None, None, :, None]
    return (third + np.moveaxis(apply(second, e23), 0, 3)[:, :, :, None, None]).reshape(-1, 3)


def test_function_keys_part_all_architectures_as_random_functions_do() -> None:
    """For each cell the mean, over all ways to give its edges one of six sets of weights, of a number of its output:
    it only depends on the function that the cell is up to a renaming of instances, and is another for another."""
    rng = np.random.default_rng(0)
    apply, x, look = _toy_operations(rng), rng.normal(size=3), rng.normal(size=3)
    numbers = np.mean([np.cos(_toy_outputs(p, x, apply) @ look) for p in permutations(range(6))], axis=0)
    by_key: dict[str, list[float]] = defaultdict(list)
    for key, number in zip(keys(), numbers, strict=True):
        by_key[key].append(number)
    assert len(by_key) == 5044
    assert max(max(same) - min(same) for same in by_key.values()) < 1e-12
    assert np.diff(np.sort([same[0] for same in by_key.values()])).min() > 1e-10


EQUAL = [
    ("3000s0", "000300", "a skip is its input"),
    ("1003s0", "3001s0", "a sum has no order"),
    ("3ss00p", "300pp0", "a pooled sum is the sum of the pooled"),
    ("s0s0pp", "sss00p", "twice the pooled input, or the pooled double"),
    ("330300", "000300", "what leads nowhere"),
    ("000330", "000300", "what comes from nowhere"),
]
DIFFERENT = [
    ("30s0ss", "3003s0", "twice one convolution, or two"),
    ("s00ss0", "000s00", "twice the input, or once"),
    ("p000p0", "000p00", "pooled twice, or once"),
    ("100030", "300010", "which comes first"),
    ("000100", "000300", "the size of the kernel"),
    ("33003s", "33s03s", "one path more"),
]


@pytest.mark.parametrize(("one", "other", "why"), EQUAL)
def test_cells_of_one_key_compute_the_same_with_the_same_weights(one: str, other: str, why: str) -> None:
    assert same_key(cell(one), cell(other)), why
    assert same_function(cell(one), cell(other)), why


@pytest.mark.parametrize(("one", "other", "why"), DIFFERENT)
def test_cells_of_different_keys_compute_something_else(one: str, other: str, why: str) -> None:
    assert not same_key(cell(one), cell(other)), why
    assert not same_function(cell(one), cell(other)), why


def test_networks_drawn_at_random_agree_with_their_keys() -> None:
    """Pairs with as many live convolutions, half of them of one key, run with all pairings of their weights."""
    rng = np.random.default_rng(1)
    some = [arch for arch in archs() if max(map(len, live_convolutions(arch).values())) <= 2]
    by_key, by_counts = defaultdict(list), defaultdict(list)
    for arch in some:
        kinds = live_convolutions(arch)
        by_counts[tuple(map(len, kinds.values()))].append(arch)
        by_key[SPACE.notation.function_key(arch)].append(arch)
    groups = [group for group in by_key.values() if len(group) > 1]
    for group in [groups[i] for i in rng.choice(len(groups), 8)]:
        one, other = (group[i] for i in rng.choice(len(group), 2, replace=False))
        assert same_function(one, other), (one, other)
    for group in [list(by_counts.values())[i] for i in rng.choice(len(by_counts), 8)]:
        one, other = (group[i] for i in rng.choice(len(group), 2, replace=False))
        assert same_function(one, other) == same_key(one, other), (one, other)


def same_key(one: Arch, other: Arch) -> bool:
    return bool(SPACE.notation.function_key(one) == SPACE.notation.function_key(other))


def same_function(one: Arch, other: Arch) -> bool:
    """Whether some pairing of their live convolutions makes two networks compute the same."""
    expected = output(one, next(labels(one)))
    return any(torch.allclose(output(other, named), expected, rtol=1e-9) for named in labels(other))


def labels(arch: Arch) -> Iterator[dict[str, str]]:
    """All ways to number the live convolutions of a kind, by the names of their edges."""
    kinds = live_convolutions(arch)
    for orders in product(*map(permutations, kinds.values())):
        named = zip(kinds, orders, strict=True)
        yield {f"edge{a}{b}": f"{kind}#{i}" for kind, order in named for i, (a, b) in enumerate(order)}


@torch.no_grad()
def output(arch: Arch, named: dict[str, str]) -> Tensor:
    """Logits, where all weights and statistics are drawn by the labels of their convolutions.

    A convolution without a label is dead; it gives zero where nothing comes in, as in a fresh network.
    """
    module = nasbench201(**TINY).build(arch).double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            label = ".".join(named.get(part, part) for part in name.split("."))
            rng = np.random.default_rng(list(label.encode()))
            positive = name.endswith(("norm.weight", "running_var"))
            values = rng.uniform(0.5, 1.5, tensor.shape) if positive else rng.normal(0, 0.5, tensor.shape)
            shifts = "edge" in label and name.endswith(("bias", "running_mean"))
            tensor.copy_(torch.from_numpy(values) * (not shifts))
    logits: Tensor = module(images().double())
    return logits


def images() -> Tensor:
    return torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chosen", ["31psp3", "p30s1p", "0000pp", "ssssss"])
def test_a_cell_sums_what_its_edges_bring(chosen: str) -> None:
    arch = cell(chosen)
    part = nasbench201(**TINY).build(arch).eval().get_submodule("stage1.0")
    x = images().expand(6, 2, 8, 8)
    inside = 9 * F.avg_pool2d(torch.ones_like(x), 3, 1, 1)
    nodes = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
    for (source, target), operation in on_edges(arch).items():
        y = nodes[source]
        if operation in CONVOLUTIONS:
            weight = part.get_parameter(f"edge{source}{target}.conv.weight")
            y = F.conv2d(y.relu(), weight, padding="same") * (1 + 1e-5) ** -0.5
        if operation == "avg_pool_3x3":
            y = 9 * F.avg_pool2d(y, 3, 1, 1) / inside
        nodes[target] = nodes[target] + y * (operation != "none")
    with torch.no_grad():
        torch.testing.assert_close(part(x), nodes[3])


@pytest.mark.parametrize(("chosen", "dead"), [("330010", "edge02"), ("300013", "edge23")])
def test_a_step_of_training_moves_live_convolutions_and_no_dead_ones(chosen: str, dead: str) -> None:
    module, labels = nasbench201(**TINY).build(cell(chosen)), torch.tensor([0, 1, 2] * 2)
    before = {name: weight.clone() for name, weight in module.named_parameters() if "conv.weight" in name}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        losses.append(F.cross_entropy(module(images()), labels))
        optimizer.zero_grad()
        torch.autograd.backward(losses[-1])
        optimizer.step()
    assert losses[1] < losses[0]
    still = {name for name, weight in before.items() if torch.equal(module.get_parameter(name), weight)}
    assert still == {f"stage{stage}.0.{dead}.conv.weight" for stage in (1, 2, 3)}


@pytest.mark.parametrize("chosen", ["31psp3", "000000"])
def test_networks_trace_and_are_plain_torch_layers(chosen: str) -> None:
    module = nasbench201(**TINY).build(cell(chosen)).eval()
    assert torch.equal(fx.symbolic_trace(module)(images()), module(images()))
    own = {type(layer) for layer in module.modules() if not type(layer).__module__.startswith("torch.")}
    holders = [layer for layer in module.modules() if list(layer.parameters(recurse=False))]
    assert own.isdisjoint(map(type, holders))


def test_the_space_keeps_its_promises() -> None:
    assert check_space(nasbench201, **TINY) == []


def test_a_study_minimises_sizes_over_it(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        """
[study]
name = "sizes"
trials = 5
[space]
name = "nasbench201"
channels = 4
[sampler]
name = "random"
[[objective]]
metric = "params"
[[objective]]
metric = "macs"
"""
    )
    study = open_study(tmp_path)
    study.run()
    found = study.frame
    assert len(found) == 5
    for _, row in found.iterrows():
        arch = study[int(row["number"])].arch
        plan = Plan(channels=4)
        assert (row["params"], row["macs"]) == (params(arch, plan), macs(arch, plan))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "nasbench201 channels = 0: give a whole number above 0"),
        ({"cells": 1.5}, "nasbench201 cells = 1.5: give a whole number above 0"),
        ({"classes": -1}, "nasbench201 classes = -1: give a whole number above 0"),
        ({"input_shape": (3, 32)}, "nasbench201 input_shape = [3, 32]: give images as"),
        ({"input_shape": (3, 32, 30)}, "that can be halved twice (multiples of 4)"),
    ],
)
def test_arguments_that_make_no_space_are_told_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(NasplatError) as error:
        nasbench201(**arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
