"""Divergences between student and teacher, each against its formula or the gradient of its definition."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasplat.data import generator
from nasplat.supernet import adaptive_alpha, distillation, soft_labels
from nasplat.supernet.divergence import AlphaDivergence

SHAPES = ((4, 3), (2, 3, 5), (2, 3, 2, 2))


def logits(seed: int, shape: tuple[int, ...] = (6, 4), scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Student and teacher in double precision."""
    student, teacher = scale * torch.randn(2, *shape, generator=generator(seed), dtype=torch.float64)
    return student.requires_grad_(), teacher


def definition(student: Tensor, teacher: Tensor, alpha: float) -> Tensor:
    """D_alpha from probabilities, with the gradient that autograd finds for it."""
    p, q = teacher.softmax(1), student.softmax(1)
    if alpha == 1:
        return (p * (p / q).log()).sum(1)
    if alpha == 0:
        return (q * (q / p).log()).sum(1)
    return (q * ((p / q) ** alpha - 1)).sum(1) / (alpha * (alpha - 1))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.sampled_from([-1.0, 0.5, 2.0, 0.0, 1.0]),
    shape=st.sampled_from(SHAPES),
)
def test_without_a_cut_value_and_surrogate_gradient_are_those_of_the_definition(
    seed: int, alpha: float, shape: tuple[int, ...]
) -> None:
    student, teacher = logits(seed, shape)
    value, surrogate = AlphaDivergence(alpha)(student, teacher)
    expected = definition(student, teacher, alpha)
    torch.testing.assert_close(value, expected.detach())
    (ours,) = torch.autograd.grad(surrogate.sum(), student)
    (theirs,) = torch.autograd.grad(expected.sum(), student)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("special", [0.0, 1.0])
def test_the_special_cases_are_the_limits_of_the_others(special: float) -> None:
    student, teacher = logits(3)
    near, limit = (AlphaDivergence(alpha)(student, teacher) for alpha in (special + 1e-6, special))
    torch.testing.assert_close(near[0], limit[0], rtol=1e-4, atol=1e-6)
    gradients = [torch.autograd.grad(surrogate.sum(), student)[0] for _, surrogate in (near, limit)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_ratios_are_cut_off_where_they_reach_the_clip() -> None:
    """p = (.9, .1), q = (.5, .5): r^2 = (3.24, .04), cut at 2; r^-1 = (.56, 5), cut at 5."""
    student, teacher = torch.zeros(1, 2), torch.tensor([[0.9, 0.1]]).log()
    value, surrogate = AlphaDivergence(2.0, clip=2.0)(student, teacher)
    weights = [2 / 2 + 1 / 2, 0.04 / 2 + 1 / 2]
    assert float(value) == pytest.approx(0.5 * (2 - 1) / 2 + 0.5 * (0.04 - 1) / 2)
    assert float(surrogate) == pytest.approx(0.5 * sum(weights) * 0.6931471805599453)
    uncut = AlphaDivergence(-1.0)(student, torch.tensor([[0.95, 0.05]]).log())[0]
    cut = AlphaDivergence(-1.0, clip=5.0)(student, torch.tensor([[0.95, 0.05]]).log())[0]
    assert float(uncut) == pytest.approx(0.5 * (0.5 / 0.95 - 1) / 2 + 0.5 * (10 - 1) / 2)
    assert float(cut) == pytest.approx(0.5 * (0.5 / 0.95 - 1) / 2 + 0.5 * (5 - 1) / 2)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from(SHAPES))
def test_each_sample_and_position_follows_the_larger_divergence(seed: int, shape: tuple[int, ...]) -> None:
    student, teacher = logits(seed, shape, scale=2.0)
    objective = adaptive_alpha(F.cross_entropy, clip=1e12)
    expected = torch.maximum(definition(student, teacher, -1.0), definition(student, teacher, 1.0)).mean()
    value = objective(student, torch.zeros(0), teacher)
    torch.testing.assert_close(value, expected)
    (ours,), (theirs,) = (torch.autograd.grad(loss, student) for loss in (value, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_both_divergences_have_samples_that_follow_them() -> None:
    """A teacher that spreads mass which the student lacks is for alpha = 1, the other way round for alpha = -1."""
    sharp, flat = torch.tensor([[9.0, 0.0, 0.0]]).double(), torch.zeros(1, 3).double()
    for student, teacher, larger in ((sharp, flat, 1.0), (flat, sharp, -1.0)):
        low, high = (AlphaDivergence(alpha, 5.0)(student, teacher)[0] for alpha in (-1.0, 1.0))
        assert bool(high > low) is (larger == 1.0)
        got = adaptive_alpha(F.cross_entropy)(student, torch.zeros(0), teacher)
        assert float(got) == pytest.approx(float(high if larger == 1.0 else low))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_extreme_logits_give_finite_values_and_gradients_in_single_precision(
    dtype: torch.dtype, scale: float
) -> None:
    student, teacher = (x.detach().to(dtype) for x in logits(1, scale=scale))
    student.requires_grad_()
    for alpha in (-1.0, 0.0, 0.5, 1.0, 2.0):
        value, surrogate = AlphaDivergence(alpha, clip=5.0)(student, teacher)
        assert value.dtype == surrogate.dtype == torch.float32
        (gradient,) = torch.autograd.grad(surrogate.sum(), student)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


def test_adaptive_alpha_at_one_is_distillation_and_at_equal_logits_nothing() -> None:
    student, teacher = logits(5)
    ours = adaptive_alpha(F.cross_entropy, low=1.0, high=1.0)(student, torch.zeros(0), teacher)
    theirs = distillation(F.cross_entropy, alpha=1.0)(student, torch.tensor([0] * 6), teacher)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*gradients)
    same = adaptive_alpha(F.cross_entropy)(teacher.requires_grad_(), torch.zeros(0), teacher.detach())
    assert float(same.detach()) == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(same, teacher)[0].abs().max() < 1e-12


@pytest.mark.parametrize("objective", [adaptive_alpha(F.cross_entropy), soft_labels(F.cross_entropy)])
def test_without_a_teacher_labels_teach(objective: object) -> None:
    outputs, targets = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    assert objective(outputs, targets, None).equal(F.cross_entropy(outputs, targets))  # type: ignore[operator]


@pytest.mark.parametrize("shape", SHAPES)
def test_soft_labels_add_the_cross_entropy_to_the_teacher(shape: tuple[int, ...]) -> None:
    student, teacher = logits(2, shape)
    targets = torch.zeros(shape[0], *shape[2:], dtype=torch.long)
    value = soft_labels(F.cross_entropy, weight=0.5)(student, targets, teacher)
    soft = -(teacher.softmax(1) * student.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(value, F.cross_entropy(student, targets) + 0.5 * soft)
