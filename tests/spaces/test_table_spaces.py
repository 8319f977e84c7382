"""Spaces of published tables: their sizes, their words, and codes that agree with what was measured."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasplat.conformance import SPACE_PROMISES, check_space
from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.plugins import load
from nasplat.space import Arch, Space
from nasplat.table import KNOWN, Table, open_table

NAMES = ("fbnet", "nas_bench_graph", "nasbench101", "nasbench301", "transnas_macro", "transnas_micro")
SPACES: dict[str, Space] = {name: load("spaces", name)() for name in NAMES}
TABLES = [name for name, known in KNOWN.items() if known.space in SPACES]
NETWORKS = {"running networks", "repeatable networks"}


@pytest.fixture
def published(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Table, list[Arch]]]:
    """A table, and the architectures of its rows."""
    monkeypatch.setenv("NASPLAT_DATA", str(real_data))

    def read(name: str) -> tuple[Table, list[Arch]]:
        table = open_table(name)
        return table, table.archs(SPACES[str(KNOWN[name].space)])

    return read


Published = Callable[[str], tuple[Table, list[Arch]]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("promise", [promise for promise in SPACE_PROMISES if promise not in NETWORKS])
def test_a_table_space_keeps_every_promise_that_needs_no_network(name: str, promise: str) -> None:
    assert check_space(load("spaces", name), only=promise) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_table_space_says_in_one_line_that_it_builds_no_networks(name: str) -> None:
    with pytest.raises(NasplatError, match=f"space '{name}' has no builder"):
        SPACES[name].build(SPACES[name].smallest())


# Tasks of one kind share their architectures, and so do the two large graph data sets.
@pytest.mark.parametrize(
    "name", [n for n in TABLES if n.split("/")[-1] not in ("cora", "normal", "autoencoder")]
)
def test_every_key_of_a_table_is_read_and_spelled_as_it_stands(published: Published, name: str) -> None:
    table, archs = published(name)
    spell = SPACES[str(KNOWN[name].space)].notation.spell
    assert [spell(arch) for arch in archs] == list(table.keys)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fbnet", 9**22),
        ("nas_bench_graph", 9 * 9**4),
        ("nasbench101", 2**21 * 3**5),
        ("nasbench301", (2 * 6 * 12 * 20 * 7**8) ** 2),
        ("transnas_macro", 3_256),  # arXiv:2105.11871
        ("transnas_micro", 4_096),  # arXiv:2105.11871
    ],
)
def test_spaces_have_their_sizes(name: str, size: int) -> None:
    assert SPACES[name].size == size


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fbnet", "7-8-1"),
        ("fbnet", "-".join(["9"] * 22)),
        ("fbnet", "-".join(["8", "", *["8"] * 20])),
        ("nas_bench_graph", "0-0-1-1 gat-gat-gat-tag"),
        ("nas_bench_graph", "0-0-0-2 gat-gat-gat-gat"),
        ("nasbench101", "(0, 1)"),
        ("nasbench101", str((0,) * 49 + (0, 2, 2, 2, 2, 5, 1))),
        ("nasbench101", str((0,) * 48 + (1, 0, 2, 2, 2, 2, 2, 1))),  # an edge from the output to itself
        ("nasbench301", "[[(0, 0)], [(0, 0)]]"),
        ("nasbench301", str([[(0, 7), (1, 0)] * 4] * 2)),
        ("transnas_macro", "(1, 0, 2, 3, 1, 1)"),
        ("transnas_macro", "(1, 2, 3, 0, 0, 0)"),
        ("transnas_micro", "(1, 2, 3, 4, 0, 0)"),
        ("transnas_micro", "1, 2"),
    ],
)
def test_other_texts_are_refused_in_one_line(name: str, text: str) -> None:
    with pytest.raises(InvalidArchitecture, match="expected") as told:
        SPACES[name].arch(SPACES[name].notation.read(text))
    assert "\n" not in str(told.value)


def test_modules_that_no_skeleton_has_are_refused() -> None:
    space = SPACES["transnas_macro"]
    for text in ("(1, 1, 1, 1, 0, 0)", "(2, 2, 2, 2, 3, 0)", "(2, 3, 3, 3, 3, 3)"):
        with pytest.raises(InvalidArchitecture):
            space.arch(space.notation.read(text))


@pytest.mark.parametrize("name", ["nasbench101", "transnas_micro"])
def test_equal_keys_of_functions_have_equal_graphs_up_to_order(name: str) -> None:
    """The words of a graph with those that feed them, six steps back, are those of all cells of one function."""
    space, rng, seen = SPACES[name], np.random.default_rng(0), defaultdict(set)
    for arch in (space.sample(rng) for _ in range(800)):
        graph = space.notation.graph(arch)
        labels = list(graph.operations)
        for _ in range(6):
            fed = [sorted(labels[a] for a, b in graph.edges if b == node) for node in range(len(labels))]
            labels = [
                hashed(f"{word}({','.join(texts)})")
                for word, texts in zip(graph.operations, fed, strict=True)
            ]
        seen[space.notation.function_key(arch)].add(tuple(sorted(labels)))
    assert len(seen) < 750  # some were drawn twice
    assert all(len(forms) == 1 for forms in seen.values())


def hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# NAS-Bench-Graph


def brought(arch: Arch) -> Counter[str]:
    """What reaches the output, as nested words: a skip is what it gets, and raw features alone are not brought."""
    fathers = [0, *(int(n) for n in str(arch["link"]).split("-"))]
    values = ["x"]
    for node in range(1, 5):
        value, word = values[fathers[node]], arch[f"op{node}"]
        values.append(value if word == "skip" else f"{word}({value})")
    return Counter(value for node, value in enumerate(values) if node not in fathers[1:] and value != "x")


def test_the_architectures_of_the_operations_of_proteins_are_2021_networks_and_one_of_skips() -> None:
    space = load("spaces", "nas_bench_graph")(operations=["gcn", "sage", "arma", "fc", "skip"])
    spell, alike = space.notation.spell, defaultdict(set)
    for arch in space.enumerate():
        alike[spell(arch)].add(tuple(sorted(brought(arch).items())))
    assert len(alike) == 2_021 + 1
    assert all(len(functions) == 1 for functions in alike.values())
    assert {key for key in alike if set(key.split()[1].split("-")) == {"skip"}} == {
        "0-1-2-3 skip-skip-skip-skip"
    }


def test_every_architecture_has_a_row_of_the_table_but_those_of_skips(published: Published) -> None:
    table, _ = published("nas_bench_graph/arxiv")
    space, rng, rows = SPACES["nas_bench_graph"], np.random.default_rng(0), set(table.keys)
    for _ in range(1500):
        arch = space.sample(rng)
        assert space.notation.spell(arch) in rows or set(list(arch.values())[1:]) == {"skip"}


def test_the_hash_of_the_benchmark_is_its_link_and_its_operations_in_digits(published: Published) -> None:
    table, archs = published("nas_bench_graph/cora")
    module = sys.modules["nasplat.spaces.nas_bench_graph"]
    for arch, given in list(zip(archs, table.frame["hash"], strict=True))[::97]:
        digits = [
            module.LINKS.index(arch["link"]),
            *(module.OPERATIONS.index(arch[f"op{i}"]) for i in range(1, 5)),
        ]
        assert int("".join(map(str, digits))) == given


def test_nodes_that_feed_no_other_feed_the_output() -> None:
    space = SPACES["nas_bench_graph"]
    graph = space.notation.graph(space.arch(space.notation.read("0-0-1-1 gat-gcn-sage-fc")))
    assert graph.operations == ("input", "gat", "gcn", "sage", "fc", "output")
    assert set(graph.edges) == {(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (3, 5), (4, 5)}


def test_operations_that_the_benchmark_lacks_are_refused() -> None:
    with pytest.raises(NasplatError, match="operations has 'chebb': did you mean 'cheb'"):
        load("spaces", "nas_bench_graph")(operations=["chebb"])


# TransNAS-Bench-101


@pytest.mark.parametrize("task", ["class_scene", "jigsaw", "room_layout"])
def test_cells_without_a_path_are_all_at_chance_in_the_order_of_edges_that_is_read(
    published: Published, task: str
) -> None:
    table, archs = published(f"transnas_micro/{task}")
    key = SPACES["transnas_micro"].notation.function_key
    values = table.numbers("val_accuracy")
    dead = np.array([key(arch) == "dead" for arch in archs])
    assert dead.sum() == 20
    assert np.ptp(values[dead]) <= 2e-6  # stored with seven digits


def test_modules_that_double_bring_parameters_and_those_that_halve_save_operations(
    published: Published,
) -> None:
    table, archs = published("transnas_macro/jigsaw")
    params, flops = table.numbers("params_m"), table.numbers("flops_m")
    doubled = np.array([len(str(a[f"double{a['depth']}"]).split("+")) for a in archs])
    halved = np.array([len(str(a[f"halve{a['depth']}"]).split("+")) for a in archs])
    assert list(np.argsort([np.median(params[doubled == n]) for n in (1, 2, 3)])) == [0, 1, 2]
    assert list(np.argsort([np.median(flops[halved == n]) for n in (4, 3, 2, 1)])) == [0, 1, 2, 3]


def test_a_skeleton_is_a_chain_of_its_modules() -> None:
    space = SPACES["transnas_macro"]
    arch = space.arch(space.notation.read("(1, 2, 4, 3, 0, 0)"))
    assert dict(arch) == {"depth": 4, "halve4": "3+4", "double4": "2+3"}
    words = ("input", "plain", "double", "halve_double", "halve", "output")
    assert space.notation.graph(arch).operations == words


# NAS-Bench-101


def test_every_cell_of_the_table_is_legal_once_dead_vertices_are_cut_off(published: Published) -> None:
    _, archs = published("nb101")
    module = sys.modules["nasplat.spaces.nasbench101"]
    drawn, live = ([len(edges(arch)) for arch in archs] for edges in (module.edges, module.live_edges))
    assert min(live) > 0
    assert max(drawn) > 9 >= max(live)


def test_the_numbers_of_operations_agree_with_the_stored_parameters(published: Published) -> None:
    """Of cells of one kind of operation, 3x3 convolutions have more parameters than 1x1, and these than pooling."""
    table, archs = published("nb101")
    of = defaultdict(list)
    for arch, params in zip(archs, table.numbers("params_m"), strict=True):
        words = set(SPACES["nasbench101"].notation.graph(arch).operations[1:-1])
        of[words.pop() if len(words) == 1 else "several or none"].append(params)
    assert (
        np.median(of["conv3x3-bn-relu"])
        > 3 * np.median(of["conv1x1-bn-relu"])
        > 6 * np.median(of["maxpool3x3"])
    )
    assert min(of["conv3x3-bn-relu"]) > max(of["conv1x1-bn-relu"]) > max(of["maxpool3x3"])


def test_a_dead_vertex_and_the_order_of_vertices_change_no_function() -> None:
    space = SPACES["nasbench101"]
    names = {c.name: False for c in space.choices if c.name.startswith("edge")}
    words = {f"op{vertex}": "maxpool3x3" for vertex in range(1, 6)}
    a = {
        **names,
        **words,
        "edge01": True,
        "edge02": True,
        "edge16": True,
        "edge26": True,
        "op2": "conv1x1-bn-relu",
    }
    b = {**a, "op1": "conv1x1-bn-relu", "op2": "maxpool3x3"}
    c = {**a, "edge03": True, "edge34": True, "op4": "conv3x3-bn-relu"}
    d = {**a, "op1": "conv3x3-bn-relu"}
    keys = [space.notation.function_key(space.arch(values)) for values in (a, b, c, d)]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert len({space.notation.spell(space.arch(values)) for values in (a, b, c, d)}) == 4


# NAS-Bench-301 and FBNet


def coefficients(counts: np.ndarray, values: np.ndarray) -> list[float]:
    """What each kind of operation adds to a value, by least squares."""
    return [float(c) for c in np.linalg.lstsq(counts, values, rcond=None)[0]]


def test_the_numbers_of_darts_operations_agree_with_the_stored_parameters(published: Published) -> None:
    """In a normal cell pooling and skips have no parameters, 5x5 more than 3x3, separable twice those of dilated."""
    table, archs = published("nb301")
    module = sys.modules["nasplat.spaces.nasbench301"]
    counts = np.array(
        [
            [
                sum(n == kind for _, n in module.operations(arch, cell))
                for cell in module.CELLS
                for kind in range(7)
            ]
            for arch in archs
        ],
        float,
    )
    found = dict(zip(module.OPERATIONS, coefficients(counts, table.numbers("params_m")), strict=False))
    free = np.mean([found.pop(word) for word in ("max_pool_3x3", "avg_pool_3x3", "skip_connect")])
    paid = {word: value - free for word, value in found.items()}
    assert paid["sep_conv_5x5"] > paid["sep_conv_3x3"] > paid["dil_conv_5x5"] > paid["dil_conv_3x3"] > 0.03
    assert paid["sep_conv_3x3"] == pytest.approx(2 * paid["dil_conv_3x3"], rel=0.05)


def test_a_darts_cell_is_two_operations_for_each_node_whatever_their_order() -> None:
    space = SPACES["nasbench301"]
    first = [(0, 0), (1, 5), (1, 1), (0, 1), (2, 3), (0, 3), (4, 3), (2, 2)]
    turned = [pair for k in range(0, 8, 2) for pair in (first[k + 1], first[k])]
    a, b = (space.arch(space.notation.read(str([cell, first]))) for cell in (first, turned))
    assert a != b
    assert space.notation.function_key(a) == space.notation.function_key(b)
    graph = space.notation.graph(a)
    assert graph.operations[10:12] == ("concat", "input")
    assert {source for source, target in graph.edges if target == 8} == {
        6,
        7,
    }  # node 3's operations feed (4, 3)
    assert {source for source, target in graph.edges if target == 21} == set(range(13, 21))


def test_the_numbers_of_fbnet_blocks_agree_with_latencies(published: Published) -> None:
    """A phone's time grows with the expansion and, where it is large, with the kernel; a skip takes the least."""
    table, archs = published("fbnet")
    blocks = sys.modules["nasplat.spaces.fbnet"].BLOCKS
    counts = np.array([[list(arch.values()).count(block) for block in blocks] for arch in archs], float)
    time = dict(zip(blocks, coefficients(counts, table.numbers("pixel3")), strict=True))
    for kernel in ("k3", "k5"):
        assert time["skip"] < time[f"{kernel}_e1"] < time[f"{kernel}_e3"] < time[f"{kernel}_e6"]
    assert time["k5_e3"] > time["k3_e3"]
    assert time["k5_e6"] > time["k3_e6"]
