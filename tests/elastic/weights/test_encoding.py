"""The encoding of architectures, plain and soft, against `Space.encode` and sums over all architectures."""

from __future__ import annotations

import copy
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from nasplat.elastic import Masks, SoftArch, relax
from nasplat.elastic.weights.encoding import ArchEncoding
from nasplat.errors import NasplatError
from nasplat.space import Arch, Space, categorical, ordinal, positions, subset

SPACE = Space(
    "all kinds",
    [
        ordinal("depth", (1, 2, 3)),
        categorical("op", ("conv", "pool", "skip"), when={"depth": (2, 3)}),
        ordinal("kernel", (3, 5), when={"op": ("conv",)}),
        subset("paths", ("a", "b", "c"), least=1, most=2, when={"depth": (1, 3)}),
        positions("pools", slots=4, count=2),
    ],
)
ARCHS = list(SPACE.enumerate())
CPU = torch.device("cpu")
ENCODING = ArchEncoding(SPACE.choices)


def expected(arch: Arch) -> Tensor:
    return torch.from_numpy(SPACE.encode(arch))


def test_the_vector_of_an_architecture_is_that_of_the_space_and_is_kept() -> None:
    assert len(ENCODING) == len(SPACE.encoding_names)
    for arch in ARCHS:
        assert ENCODING(arch, CPU).equal(expected(arch))
        assert ENCODING(Arch(dict(arch)), CPU) is ENCODING(arch, CPU)


@pytest.mark.parametrize("soft", [SoftArch, Masks])
def test_a_soft_form_of_an_architecture_has_the_same_vector(soft: type[SoftArch]) -> None:
    for arch in ARCHS[::7]:
        assert ENCODING(soft.one_hot(SPACE, arch), CPU).equal(expected(arch))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_soft_architecture_has_the_mean_over_all_architectures(seed: int) -> None:
    """The second route: the probability of every architecture is the product over its active choices."""
    rng = torch.Generator().manual_seed(seed)
    p = {c.name: torch.rand(len(c.values), generator=rng, dtype=torch.float64) for c in SPACE.choices}
    p = {name: values / values.sum() for name, values in p.items()}
    single = {c.name: dict(zip(c.values, p[c.name].tolist(), strict=True)) for c in SPACE.choices}
    joint = [prod(single[name][value] for name, value in arch.items()) for arch in ARCHS]
    mean = torch.tensor(joint, dtype=torch.float64) @ torch.stack([*map(expected, ARCHS)]).double()
    torch.testing.assert_close(ENCODING(SoftArch(SPACE.choices, p), CPU), mean)


def test_architectures_of_a_part_of_the_space_keep_their_vectors() -> None:
    part = SPACE.restrict({"depth": (2, 3), "op": ("skip", "pool")})
    for arch in part.enumerate():
        assert ENCODING(Masks.one_hot(part, arch), CPU).equal(expected(arch))
    wider = SPACE.extended([categorical("expert", (0, 1))])
    arch = wider.largest()
    assert ENCODING(Masks.one_hot(wider, arch), CPU).equal(ENCODING(arch, CPU))


def test_the_mean_passes_gradients_to_the_probabilities_every_time() -> None:
    p = {c.name: torch.full((len(c.values),), 1 / len(c.values)).requires_grad_() for c in SPACE.choices}
    soft = SoftArch(SPACE.choices, p)
    for times in (1, 2):
        ENCODING(soft, CPU).sum().backward()
        assert all(float(values.grad.abs().max()) > 0 for values in p.values())
        torch.testing.assert_close(p["pools"].grad, torch.full((6,), 2.0 * times))  # two of four positions


def test_the_vectors_serve_training_after_inference_and_vmap() -> None:
    encoding, archs = ArchEncoding(SPACE.choices), ARCHS[:3]
    with torch.inference_mode():
        encoding(archs[0], CPU)
    weight = torch.ones(len(encoding), requires_grad=True)
    (weight * encoding(archs[0], CPU)).sum().backward()
    assert weight.grad is not None
    rows = torch.vmap(lambda v: encoding(Masks.unpack(SPACE.choices, v), CPU))(relax(SPACE, archs))
    assert rows.equal(torch.stack([expected(arch) for arch in archs]))


def test_an_encoding_is_no_copy_in_a_copied_network_and_needs_a_choice() -> None:
    assert copy.deepcopy(ENCODING) is ENCODING
    with pytest.raises(NasplatError, match="nothing to route by"):
        ArchEncoding([])


def test_nothing_made_of_fake_tensors_outlives_their_mode() -> None:
    encoding, arch = ArchEncoding(SPACE.choices), ARCHS[0]
    soft, fresh = (SoftArch.one_hot(SPACE, arch) for _ in range(2))
    with FakeTensorMode(allow_non_fake_inputs=True):
        encoding(arch, CPU), encoding(soft, CPU)
    for answer in (encoding(arch, CPU), encoding(soft, CPU), encoding(fresh, CPU)):
        assert type(answer) is Tensor
        assert answer.equal(expected(arch))


def test_a_mean_without_gradients_is_not_kept_of_probabilities_that_learn() -> None:
    p = {c.name: torch.full((len(c.values),), 1 / len(c.values)).requires_grad_() for c in SPACE.choices}
    soft = SoftArch(SPACE.choices, p)
    with torch.no_grad():
        ENCODING(soft, CPU)
        p["depth"].copy_(torch.tensor([0.0, 0.0, 1.0]))
    mean = ENCODING(soft, CPU)
    assert mean.requires_grad
    torch.testing.assert_close(mean, ENCODING(SoftArch(SPACE.choices, p), CPU))
