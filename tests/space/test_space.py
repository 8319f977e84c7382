from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasplat.errors import InvalidArchitecture, NasplatError
from nasplat.space import Arch, Choice, Space, categorical, ordinal, positions, subset

VALUES = [
    (1, 2, 3),
    (16, 24, 32, 40),
    (3, 5, 9),
    (7,),
    ("a", "b"),
    (None, "c", 0.5),
    (False, True),
    (0.1, 0.2),
]


@st.composite
def conditional_spaces(draw: st.DrawFn) -> Space:
    """Small spaces with random conditions, some of which can never hold together."""
    choices: list[Choice] = []
    for i in range(draw(st.integers(1, 5))):
        when: dict[str, Any] = {}
        for parent in draw(st.lists(st.sampled_from(choices), max_size=2, unique=True)) if choices else []:
            size = draw(st.integers(1, len(parent.values)))
            when[parent.name] = draw(st.permutations(parent.values))[:size]
        choices.append(draw(choices_named(f"x{i}", when)))
    return Space("random", choices)


@st.composite
def choices_named(draw: st.DrawFn, name: str, when: dict[str, Any]) -> Choice:
    """Any kind of choice."""
    kind = draw(st.sampled_from(["subset", "positions", "categorical", "ordinal"]))
    if kind == "subset":
        least = draw(st.integers(0, 3))
        return subset(name, ("a", "b", "c"), least, draw(st.integers(least, 3)), when)
    if kind == "positions":
        return positions(name, 3, draw(st.integers(0, 3)), when)
    make = categorical if kind == "categorical" else ordinal
    return make(name, draw(st.sampled_from(VALUES)), when)


def param_names(space: Space) -> list[str]:
    return [name for choice in space.choices for name in choice.param_names]


space_and_seed = given(conditional_spaces(), st.integers(0, 2**32 - 1))
few = settings(max_examples=60, deadline=None)


def brute_force(space: Space) -> dict[str, dict[str, Any]]:
    """All canonical architectures by dropping inactive choices from the full product."""
    found = {}
    for combination in itertools.product(*(c.values for c in space.choices)):
        kept: dict[str, Any] = {}
        for choice, value in zip(space.choices, combination, strict=True):
            if all(kept.get(name, "absent") in legal for name, legal in choice.when):
                kept[choice.name] = value
        found[json.dumps(kept, sort_keys=True)] = kept
    return found


@few
@given(conditional_spaces())
def test_size_and_enumeration_equal_brute_force(space: Space) -> None:
    listed = [json.dumps(arch.to_json(), sort_keys=True) for arch in space.enumerate()]
    assert len(listed) == len(set(listed)) == space.size
    assert set(listed) == set(brute_force(space))


@few
@given(conditional_spaces(), st.data())
def test_a_restriction_holds_the_architectures_whose_active_choices_keep_to_it(
    space: Space, data: st.DataObject
) -> None:
    named = data.draw(st.lists(st.sampled_from(space.choices), unique=True))
    allowed = {c.name: data.draw(st.lists(st.sampled_from(c.values), min_size=1, unique=True)) for c in named}
    smaller = space.restrict(allowed)
    expected = {a.key for a in space.enumerate() if all(a[n] in v for n, v in allowed.items() if n in a)}
    assert {arch.key for arch in smaller.enumerate()} == expected
    assert smaller.size == len(expected)
    for arch in (smaller.largest(), smaller.smallest(), smaller.sample(np.random.default_rng(0))):
        space.validate(arch)
        smaller.validate(arch)
        assert arch.key in expected
    for whole, choice in zip(space.choices, smaller.choices, strict=True):
        assert (choice.name, choice.when) == (whole.name, whole.when)
        assert choice.values == tuple(v for v in whole.values if v in allowed.get(choice.name, whole.values))


@few
@space_and_seed
def test_every_outer_form_leads_back_to_the_same_architecture(space: Space, seed: int) -> None:
    arch = space.sample(np.random.default_rng(seed))
    assert space.arch(arch) == arch
    assert space.arch(json.loads(json.dumps(arch.to_json()))).key == arch.key
    params = space.params(arch)
    assert list(params) == list(space.distributions()) == param_names(space)
    assert space.from_params(json.loads(json.dumps(params))) == arch
    space.validate(arch)


@few
@space_and_seed
def test_values_of_inactive_choices_change_nothing(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = {c.name: c.values[int(rng.integers(len(c.values)))] for c in space.choices}
    arch = space.arch(full)
    assert arch == space.arch({**full, **arch}) == space.arch(arch)
    dropped = full.keys() - arch.keys()
    if dropped:
        with pytest.raises(InvalidArchitecture, match="must be absent"):
            space.validate(full)


@few
@given(conditional_spaces())
def test_neighbours_are_other_architectures_one_change_away_and_know_each_other(space: Space) -> None:
    relation = {arch: list(space.neighbours(arch)) for arch in itertools.islice(space.enumerate(), 40)}
    for arch, near in relation.items():
        assert len(near) == len(set(near))
        assert arch not in near
        for other in near:
            space.validate(other)
            changed = [c for c in space.choices if c.name in arch and c.name in other]
            changed = [c for c in changed if arch[c.name] != other[c.name]]
            assert len(changed) == 1
            places = [changed[0].index(a[changed[0].name]) for a in (arch, other)]
            assert type(changed[0]) is not Choice or not changed[0].ordered or abs(places[0] - places[1]) == 1
            assert arch in space.neighbours(other)


@few
@space_and_seed
def test_mutation_changes_one_choice_that_stays_active(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arch = space.sample(rng)
    if space.size == 1:
        with pytest.raises(NasplatError, match="single architecture"):
            space.mutate(arch, rng)
        return
    child = space.mutate(arch, rng)
    space.validate(child)
    assert sum(arch[name] != child[name] for name in arch.keys() & child.keys()) == 1


@few
@space_and_seed
def test_children_take_every_value_from_a_parent_that_has_one(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = space.sample(rng), space.sample(rng)
    child = space.cross(a, b, rng)
    space.validate(child)
    for name, value in child.items():
        assert value in [p[name] for p in (a, b) if name in p] or (name not in a and name not in b)
    assert space.cross(a, a, rng) == a


@few
@given(conditional_spaces())
def test_encodings_differ_and_have_one_length(space: Space) -> None:
    codes = [space.encode(arch) for arch in space.enumerate()]
    assert len({code.tobytes() for code in codes}) == space.size
    assert {(code.shape, code.dtype) for code in codes} == {
        ((len(space.encoding_names),), np.dtype("float32"))
    }


@few
@space_and_seed
def test_optuna_draws_every_choice_in_order_and_the_draw_is_the_architecture(space: Space, seed: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    arch = space.suggest(trial)
    assert trial.distributions == space.distributions()
    assert list(trial.params) == param_names(space)
    assert space.from_params(trial.params) == arch
    assert space.suggest(optuna.trial.FixedTrial(space.params(arch))) == arch


@pytest.fixture
def staged() -> Space:
    return Space(
        "staged",
        [
            ordinal("depth", (1, 2)),
            categorical("op", ("conv", "pool")),
            ordinal("width", (8, 16), when={"depth": (2,)}),
            ordinal("kernel", (3, 5, 9), when={"op": ("conv",), "width": (16,)}),
        ],
    )


def test_a_restriction_is_the_same_space_in_all_else() -> None:
    class Marked(Space):
        mark = 0

    choices = [ordinal("depth", (1, 2)), ordinal("width", (8, 16), {"depth": (2,)})]
    space = Marked(
        "s", choices, build=lambda arch: torch.nn.Linear(2, 2), input_shape=(1,), constants={"a": 1}
    )
    space.mark = 3
    sizes = space.size, space.hash, space.encoding_names
    smaller = space.restrict({"depth": [1]})
    assert type(smaller) is Marked
    assert (smaller.mark, smaller.name, smaller.input_shape, smaller.constants) == (3, "s", (1,), {"a": 1})
    assert (smaller.size, smaller.encoding_names) == (1, ("depth", "width"))
    assert smaller.arch({"depth": 1, "width": 8}) == Arch({"depth": 1})
    assert smaller.hash != space.hash == space.restrict({}).hash == space.restrict({"width": (16, 8)}).hash
    assert (space.size, space.hash, space.encoding_names) == sizes
    assert isinstance(smaller.build(smaller.largest()), torch.nn.Linear)
    with pytest.raises(InvalidArchitecture, match=r"depth is 2: choose one of \[1\]"):
        smaller.build(space.largest())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depht": (1,)}, r"staged has no choice 'depht': did you mean 'depth'\?"),
        ({"depth": (3,)}, r"depth is 3: choose one of \[1, 2\]"),
        ({"depth": (True,)}, r"depth is True: choose one of \[1, 2\]"),
        ({"depth": ()}, "'depth' has no values: give at least one"),
        ({"depth": 1}, "the values of 'depth' are 1: give a sequence"),
        ({"op": "conv"}, "the values of 'op' are 'conv': give a sequence"),
    ],
)
def test_a_restriction_to_what_a_space_does_not_have_is_refused(
    staged: Space, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        staged.restrict(values)
    assert "\n" not in str(caught.value)


def test_sampling_covers_a_small_space(staged: Space) -> None:
    rng = np.random.default_rng(0)
    assert staged.size == 2 + 2 + 3 + 1
    assert {staged.sample(rng) for _ in range(300)} == set(staged.enumerate())


def test_smallest_and_largest_are_the_ends_of_ordered_choices(staged: Space) -> None:
    assert staged.smallest() == Arch({"depth": 1, "op": "conv"})
    assert staged.largest() == Arch({"depth": 2, "op": "conv", "width": 16, "kernel": 9})


def test_the_kind_of_a_choice_is_the_first_word_of_its_name() -> None:
    named = {
        "kernel1_2": "kernel",
        "width3": "width",
        "resolution": "resolution",
        "paths_1": "paths",
        "3x3": "3x3",
    }
    assert {name: categorical(name, (0, 1)).kind for name in named} == named


def test_a_chain_of_conditions_is_counted_without_being_listed() -> None:
    choices = [ordinal(f"depth{i}", (1, 2, 3)) for i in range(30)]
    choices += [
        ordinal(f"k{i}.{j}", (3, 5), {f"depth{i}": range(j, 4)}) for i in range(30) for j in (1, 2, 3)
    ]
    assert Space("deep", choices).size == (2 + 4 + 8) ** 30
    assert repr(Space("deep", choices)) == "Space('deep', 120 choices, about 10^34 architectures)"


def test_distributions_keep_int_ranges_and_number_other_orders() -> None:
    space = Space(
        "d",
        [
            ordinal("w", (16, 24, 32)),
            ordinal("k", (3, 5, 9)),
            ordinal("r", (3, 2, 1)),
            categorical("o", ("a", "b")),
        ],
    )
    assert space.distributions() == {
        "w": optuna.distributions.IntDistribution(16, 32, step=8),
        "k": optuna.distributions.IntDistribution(0, 2),
        "r": optuna.distributions.IntDistribution(0, 2),
        "o": optuna.distributions.CategoricalDistribution(("a", "b")),
    }
    arch = space.arch({"w": 24, "k": 9, "r": 3, "o": "b"})
    assert space.params(arch) == {"w": 24, "k": 2, "r": 0, "o": "b"}


def test_encoding_is_a_level_where_ordered_and_one_hot_elsewhere(staged: Space) -> None:
    assert staged.encoding_names == ("depth", "op='conv'", "op='pool'", "width", "kernel")
    arch = staged.arch({"depth": 2, "op": "pool", "width": 8})
    np.testing.assert_array_equal(staged.encode(arch), np.float32([1, 0, 1, 0.5, 0]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 3, "op": "conv"}, r"depth is 3: choose one of \[1, 2\]"),
        ({"depth": 1.0, "op": "conv"}, r"depth is 1.0: choose one of \[1, 2\]"),
        ({"depth": True, "op": "conv"}, r"depth is True: choose one of \[1, 2\]"),
        ({"depth": 1}, r"op is missing: choose one of \['conv', 'pool'\]"),
        ({"depht": 1, "op": "conv"}, r"staged has no choice 'depht': did you mean 'depth'\?"),
    ],
)
def test_a_wrong_architecture_is_told_its_field_and_legal_values(
    staged: Space, values: dict[str, Any], message: str
) -> None:
    for check in (staged.arch, staged.validate):
        with pytest.raises(InvalidArchitecture, match=message):
            check(values)


def test_a_present_inactive_choice_is_told_when_it_matters(staged: Space) -> None:
    with pytest.raises(InvalidArchitecture, match=r"width must be absent.*when depth is one of \[2\]"):
        staged.validate({"depth": 1, "op": "conv", "width": 8})


def test_wrong_parameters_are_told_like_wrong_architectures(staged: Space) -> None:
    params = staged.params(staged.smallest())
    with pytest.raises(InvalidArchitecture, match="kernel is 3: choose a position from 0 to 2"):
        staged.from_params({**params, "kernel": 3})
    with pytest.raises(InvalidArchitecture, match="no choice 'other'"):
        staged.from_params({**params, "other": 3})


def bad_spaces() -> Iterator[Any]:
    a = ordinal("a", (1, 2))
    yield (lambda: [a, categorical("a", ("x",))]), "two choices are named 'a'"
    yield (lambda: [ordinal("b", (1,), {"a": (1,)}), a]), "depends on 'a': name an earlier choice"
    yield (lambda: [a, ordinal("b", (1,), {"c": (1,)})]), "depends on 'c'"
    yield (lambda: [a, ordinal("b", (1,), {"b": (1,)})]), "depends on 'b'"
    yield (lambda: [a, ordinal("b", (1,), {"a": (3,)})]), "waits for 'a' = 3, which it never is"
    yield (lambda: [a, ordinal("b", (1,), {"a": ()})]), "no value of 'a' that makes it active"
    yield (lambda: [ordinal("a", ())]), "'a' has no values"
    yield (lambda: [ordinal("a", (1, 2, 1))]), "equal values"
    yield (lambda: [categorical("a", (1, True))]), "equal values"
    yield (lambda: [categorical("a", "conv")]), "give a sequence"
    yield (lambda: [a, categorical("b", ("x",), {"a": 1})]), "give a sequence"
    yield (lambda: [categorical("a", ((1, 2), (3, 4)))]), "use None, a bool, int, float or str"
    yield (lambda: [categorical("", (1,))]), "not the name of a choice"
    yield (lambda: [subset("a", ("b", "c")), ordinal("a[b]", (1, 2))]), r"'a\[b\]' shares a parameter"


@pytest.mark.parametrize(("choices", "message"), list(bad_spaces()))
def test_a_wrong_space_is_refused_in_one_line(choices: Any, message: str) -> None:
    with pytest.raises(NasplatError, match=message) as caught:
        Space("bad", choices())
    assert "\n" not in str(caught.value)


def test_the_hash_covers_what_changes_networks() -> None:
    choices = [ordinal("a", (1, 2))]
    hashes = {
        Space("s", choices).hash,
        Space("t", choices).hash,
        Space("s", [ordinal("a", (1, 3))]).hash,
        Space("s", [categorical("a", (1, 2))]).hash,
        Space("s", choices, input_shape=(1, 8, 8)).hash,
        Space("s", choices, constants={"classes": 10}).hash,
        Space("s", choices, constants={"classes": 100}).hash,
    }
    assert len(hashes) == 7
    assert Space("s", choices, build=lambda arch: None).hash in hashes  # type: ignore[arg-type,return-value]
    assert json.loads(json.dumps(Space("s", choices).description))["name"] == "s"
    with pytest.raises(NasplatError, match="not JSON"):
        _ = Space("s", choices, constants={"loss": object()}).hash


def test_the_hash_of_a_space_never_changes(staged: Space) -> None:
    space = Space("staged", staged.choices, input_shape=(1, 8, 8), constants={"classes": 10})
    assert space.hash == "cf23580969805d5250b020da1af793a47756fc7fd1a382a625c24f5378d6338f"


def test_build_checks_first_and_then_calls_the_builder() -> None:
    built: list[Arch] = []
    space = Space("s", [ordinal("a", (1, 2))], build=built.append)  # type: ignore[arg-type]
    space.build(Arch({"a": 2}))
    with pytest.raises(InvalidArchitecture, match="a is 3"):
        space.build(Arch({"a": 3}))
    assert built == [Arch({"a": 2})]
    with pytest.raises(NasplatError, match="'t' has no builder"):
        Space("t", space.choices).build(Arch({"a": 2}))


def test_a_seed_gives_the_same_weights_and_moves_no_other_draw() -> None:
    space = Space("s", [ordinal("a", (1, 2))], build=lambda arch: torch.nn.Linear(2, 2))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, again, other = (space.build(space.smallest(), seed).state_dict()["weight"] for seed in (1, 1, 2))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_optuna_says_nothing_about_our_distributions(staged: Space) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        staged.distributions()
    assert repr(staged) == "Space('staged', 4 choices, 8 architectures)"
