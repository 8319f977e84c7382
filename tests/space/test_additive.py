"""Counting and sampling by a sum of terms, against listing everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, permutations, product
from math import comb
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice, Space, Value, additive, categorical, ordinal, walk
from nasplat.space.additive import Additive, Term, random_below

few = settings(max_examples=60, deadline=None)
VALUES: list[tuple[Value, ...]] = [
    (1, 2, 3),
    (16, 24),
    (7,),
    ("a", None),
    (False, True),
    (0.5, 1.0, 2.0, 4.0),
]


@st.composite
def sums(draw: st.DrawFn) -> tuple[Space, list[Term]]:
    """Small spaces with conditions, and terms over any of their choices with a random number in every entry."""
    choices: list[Choice] = []
    for i in range(draw(st.integers(1, 5))):
        when: dict[str, Sequence[Value]] = {}
        for parent in draw(st.lists(st.sampled_from(choices), max_size=2, unique=True)) if choices else []:
            when[parent.name] = draw(st.permutations(parent.values))[
                : draw(st.integers(1, len(parent.values)))
            ]
        choices.append(ordinal(f"x{i}", draw(st.sampled_from(VALUES)), when))
    space = Space("random", choices)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([3, 1000, 10**9]))
    terms = []
    for some in draw(st.lists(st.lists(st.sampled_from(choices), max_size=3, unique=True), max_size=4)):
        keys = product(*({*c.values, None} for c in some))
        terms.append(
            Term(tuple(c.name for c in some), {key: int(rng.integers(-scale, scale)) for key in keys})
        )
    return space, terms


def totals(space: Space, terms: Sequence[Term]) -> dict[Arch, int]:
    """The sum of every architecture by hand."""
    return {a: sum(t.table[tuple(a.get(n) for n in t.choices)] for t in terms) for a in space.enumerate()}


@contextmanager
def no_exact_tables() -> Iterator[None]:
    """Round even in small spaces."""
    with patch.object(additive, "EXACT", 0):
        yield


def chi_squared(counts: Sequence[int], expected: Sequence[float]) -> float:
    return sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))


@few
@given(sums())
def test_bounds_and_histograms_equal_those_of_all_architectures(summed: tuple[Space, list[Term]]) -> None:
    space, terms = summed
    every, ours = totals(space, terms), Additive(space, terms)
    assert {arch: ours.total(arch) for arch in every} == every
    assert ours.bounds == (min(every.values()), max(every.values()))
    assert ours.rounding == 0
    edges = [-1e18, *sorted(every.values()), *ours.edges(5), 1e18]
    edges.sort()
    assert ours.histogram(edges) == [
        sum(low <= total < high for total in every.values()) for low, high in pairwise(edges)
    ]
    assert sum(ours.histogram(ours.edges(3))) == space.size


@few
@given(sums(), st.integers(1, 9))
def test_a_rounded_histogram_is_wrong_near_its_edges_only(
    summed: tuple[Space, list[Term]], resolution: int
) -> None:
    space, terms = summed
    every = sorted(totals(space, terms).values())
    with no_exact_tables():
        ours = Additive(space, terms, resolution=resolution)
        rounding = ours.rounding
        for edge in {*every, *ours.edges(4)}:
            (below, _) = ours.histogram([-1e18, edge, 1e18])
            assert sum(t < edge - rounding for t in every) <= below <= sum(t < edge + rounding for t in every)


@few
@given(sums(), st.data())
def test_what_is_sampled_lies_in_the_interval_and_an_empty_one_is_told(
    summed: tuple[Space, list[Term]], data: st.DataObject
) -> None:
    space, terms = summed
    every = totals(space, terms)
    ends = st.integers(min(every.values()) - 2, max(every.values()) + 2)
    low, high = data.draw(ends), data.draw(ends)
    inside = {arch for arch, total in every.items() if low <= total < high}
    rng = np.random.default_rng(0)
    with no_exact_tables(), patch.object(additive, "TRIES", 500):
        for ours in (Additive(space, terms), Additive(space, terms, resolution=3)):
            if inside:
                assert {ours.sample(rng, low, high) for _ in range(3)} <= inside
            else:
                with pytest.raises(
                    InvalidArchitecture, match="no architecture, or hardly any, of a total from"
                ):
                    ours.sample(rng, low, high)


STAGED = Space(
    "staged",
    [
        ordinal("depth", (1, 2, 3)),
        ordinal("k1", (3, 5, 7)),
        ordinal("k2", (3, 5, 7), {"depth": (2, 3)}),
        ordinal("k3", (3, 5, 7), {"depth": (3,)}),
        categorical("pool", (True, False)),
    ],
)
SQUARES = [
    Term((k, "pool"), {(v, p): (v or 0) ** 2 * (2 - p) for v in (None, 3, 5, 7) for p in (True, False)})
    for k in ("k1", "k2", "k3")
]


@pytest.mark.parametrize("resolution", [None, 5, 40])
def test_every_architecture_of_an_interval_is_sampled_equally_often(resolution: int | None) -> None:
    inside = [arch for arch, total in totals(STAGED, SQUARES).items() if 40 <= total < 90]
    with patch.object(additive, "EXACT", 0 if resolution else 10**6):
        ours = Additive(STAGED, SQUARES, resolution=resolution or 1)
        assert (ours.rounding > 0) == (resolution is not None)
        rng = np.random.default_rng(3)
        drawn = Counter(ours.sample(rng, 40, 90) for _ in range(100 * len(inside)))
    assert len(inside) == 29
    assert (
        chi_squared([drawn[arch] for arch in inside], [100] * 29) < 56.9
    )  # 28 degrees of freedom, p = 0.001


def test_a_space_too_large_to_list_is_sampled_as_combinatorics_say() -> None:
    n, total = 60, 48  # 3^60 architectures: sums of 60 numbers from 0 to 2
    names = [f"x{i}" for i in range(n)]
    space = Space("ternary", [ordinal(name, (0, 1, 2)) for name in names])
    ours = Additive(space, [Term((name,), {(v,): v for v in (0, 1, 2)}) for name in names])

    def ways(n: int, total: int) -> int:  # the coefficient of z^total in (1 + z + z^2)^n
        return sum(comb(n, twos) * comb(n - twos, total - 2 * twos) for twos in range(total // 2 + 1))

    assert ours.histogram(range(total, total + 3)) == [ways(n, total), ways(n, total + 1)]
    rng = np.random.default_rng(0)
    drawn = [ours.sample(rng, total, total + 1) for _ in range(300)]
    assert {sum(arch.values()) for arch in drawn} == {total}
    counts = Counter(arch["x17"] for arch in drawn)
    expected = [300 * ways(n - 1, total - v) / ways(n, total) for v in (0, 1, 2)]
    assert chi_squared([counts[v] for v in (0, 1, 2)], expected) < 13.8  # 2 degrees of freedom, p = 0.001


def phone_space(
    order: Sequence[str] = ("resolution", "depth", "kernel", "expand"),
) -> tuple[Space, list[Term]]:
    """Five stages of two to four blocks with three kernels and three expansions each, at four resolutions."""
    choices = [ordinal("resolution", (128, 160, 192, 224))]
    terms: list[Term] = []
    for stage in range(1, 6):
        choices.append(ordinal(f"depth{stage}", (2, 3, 4)))
        for block in range(1, 5):
            when = {f"depth{stage}": [d for d in (2, 3, 4) if d >= block]} if block > 2 else {}
            names = ("resolution", f"kernel{stage}_{block}", f"expand{stage}_{block}")
            choices += [ordinal(names[1], (3, 5, 7), when), ordinal(names[2], (3, 4, 6), when)]
            table: dict[tuple[Value, ...], int] = {(r, None, None): 0 for r in (128, 160, 192, 224)}
            for r, k, e in product((128, 160, 192, 224), (3, 5, 7), (3, 4, 6)):
                table[r, k, e] = (r // 2**stage) ** 2 * 16 * stage * e * (32 * stage + k * k) + 97 * e * e
            terms.append(Term(names, table))
    choices.sort(key=lambda c: next(order.index(kind) for kind in order if c.name.startswith(kind)))
    return Space("phone", choices), terms


def test_a_space_of_phone_networks_is_sampled_in_every_part_of_its_range() -> None:
    space, terms = phone_space()
    assert space.size == 4 * (9**2 + 9**3 + 9**4) ** 5
    ours = Additive(space, terms)
    edges = ours.edges(10)
    numbers = ours.histogram(edges)
    assert sum(numbers) == space.size
    assert 0 < ours.rounding < (edges[1] - edges[0]) / 20
    rng = np.random.default_rng(1)
    for low, high, number in zip(edges, edges[1:], numbers, strict=False):
        if number:
            assert low <= ours.total(ours.sample(rng, low, high)) < high


KINDS = ("resolution", "depth", "kernel", "expand")


@pytest.mark.parametrize(
    "order", [o for o in permutations(KINDS) if o.index("depth") < min(map(o.index, KINDS[2:]))]
)
def test_the_order_in_which_a_space_lists_its_choices_costs_nothing(order: Sequence[str]) -> None:
    space, terms = phone_space(order)
    steps = walk.walk(space.choices, terms)
    assert max(len(step.options) for step in steps) <= 4 * 3 * 3  # resolution, depth, one option of a block
    place = {step.choice.name: i for i, step in enumerate(steps)}
    assert all(place[parent] < place[c.name] for c in space.choices for parent, _ in c.when)


def test_a_chain_is_walked_with_one_neighbour_in_mind() -> None:
    choices = [ordinal(f"w{i}", (1, 2)) for i in (3, 1, 4, 0, 2)]
    links = [(f"w{i}", f"w{i + 1}") for i in range(4)]
    terms = [Term(link, dict.fromkeys(product((1, 2), repeat=2), 0)) for link in links]
    assert [len(step.options) for step in walk.walk(choices, terms)] == [1, 2, 2, 2, 2]


def test_terms_of_the_whole_space_hold_for_a_restriction() -> None:
    smaller = STAGED.restrict({"depth": (1, 2), "k1": (7,)})
    assert Additive(smaller, SQUARES).bounds == (49, 2 * (49 + 49))


def test_a_table_without_a_needed_entry_is_told() -> None:
    terms = [Term(("depth", "k2"), {(2, k): k for k in (3, 5, 7)} | {(1, None): 0})]
    with pytest.raises(NasplatError, match=r"the term of \['depth', 'k2'\] has no entry for \[3, 3\]"):
        Additive(STAGED, terms)


def test_terms_that_link_too_much_are_refused() -> None:
    space = Space("all", [ordinal(f"x{i}", range(8)) for i in range(4)])
    message = "terms link too many choices: 512 settings of x"
    with patch.object(walk, "MOST_STATES", 100), pytest.raises(NasplatError, match=message):
        Additive(space, [Term(tuple(c.name for c in space.choices), {})])


@pytest.mark.parametrize("bound", [1, 2, 7, 256, 3 * 2**70])
def test_random_integers_of_any_size_are_uniform(bound: int) -> None:
    rng = np.random.default_rng(5)
    groups = min(bound, 6)
    counts = Counter(random_below(bound, rng) * groups // bound for _ in range(3000))
    expected = [
        3000 * (-(-(g + 1) * bound // groups) - -(-g * bound // groups)) / bound for g in range(groups)
    ]
    assert chi_squared([counts[g] for g in range(groups)], expected) < 20.6  # 5 degrees of freedom, p = 0.001


def test_widths_crowd_in_the_middle_of_the_range() -> None:
    """Four convolutions of 8 to 32 channels at 16^2, 8^2, 4^2, 4^2 pixels; the shares were found by listing all 256."""
    widths, pixels = (8, 16, 24, 32), (256, 64, 16, 16)
    space = Space("widths", [ordinal(f"w{i}", widths) for i in range(1, 5)])
    first = Term(("w1",), {(w,): 9 * 256 * w for w in widths})
    others = [
        Term((f"w{i}", f"w{i + 1}"), {(a, b): 9 * pixels[i] * a * b for a in widths for b in widths})
        for i in (1, 2, 3)
    ]
    ours = Additive(space, [first, *others])
    shares = [n / 256 for n in ours.histogram(ours.edges(6))]
    assert [round(s, 2) for s in shares] == [0.19, 0.32, 0.22, 0.15, 0.08, 0.03]


def test_what_cannot_be_counted_is_refused_in_one_line() -> None:
    space = Space("s", [ordinal("a", (1, 2))])
    with pytest.raises(NasplatError, match=r"^a term has the value 0\.5: give whole numbers"):
        Additive(space, [Term(("a",), {(1,): 0.5, (2,): 1})])  # type: ignore[dict-item]
    with pytest.raises(NasplatError, match=r"^bins = 0: give a number from 1 on$"):
        Additive(space, [Term(("a",), {(1,): 1, (2,): 3})]).edges(0)
