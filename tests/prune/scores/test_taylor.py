"""First-order scores: against differences of the loss, and torch-pruning."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp

from nasplat.errors import NasplatError
from nasplat.prune.scores import SCORES, Evidence, Taylor
from nasplat.prune.scores.members import member_slots
from nasplat.prune.slots import spread

from .networks import classified, evidence, theirs


@pytest.mark.parametrize("name", ["resnet8", "depthwise_then_grouped", "unet", "self_concat", "decoder"])
def test_the_score_of_a_member_is_the_difference_of_losses_when_it_is_scaled(name: str) -> None:
    one = evidence(name)
    losses = classified(one.example, 1)
    count, small = max(space.stop for space in one.spec.spaces), 1e-5
    slots = member_slots(one.spec, ("weight", "scale"))

    def loss(slot, channel: int, by: float) -> float:
        network = copy.deepcopy(one.module)
        factors = torch.ones(count + 1, dtype=torch.float64)
        factors[channel] += by
        tensor = network.state_dict()[slot.parameter]
        tensor *= spread(slot, tuple(tensor.shape), factors)
        (found,) = losses(network)
        return found.item()

    generator = torch.Generator().manual_seed(0)
    everything = Taylor(1, joint=True)(Evidence(one.module, one.example, one.spec, losses))
    for channel in torch.randint(count, (4,), generator=generator).tolist():
        own = [slot for slot in slots if (slot.channels == channel).any()]
        slopes = [(loss(slot, channel, small) - loss(slot, channel, -small)) / (2 * small) for slot in own]
        assert float(everything[channel]) == pytest.approx(sum(map(abs, slopes)), rel=1e-4, abs=1e-8)


def test_scaling_the_output_of_a_norm_scales_its_scale_and_shift() -> None:
    """The gate of the paper: the loss' slope by a factor on a channel is that of all that reads the channel."""
    one = evidence("vgg11")
    (loss,) = classified(one.example, 1)(one.module)
    norm = next(m for m in one.module.modules() if isinstance(m, torch.nn.BatchNorm2d))
    by_scale, by_shift = torch.autograd.grad(loss, [norm.weight, norm.bias])
    gate = by_scale * norm.weight + by_shift * norm.bias
    alone = Evidence(one.module, one.example, one.spec, classified(one.example, 1))
    readers = Taylor(1, joint=True, kinds=("weight",))(alone)
    first = Taylor(1, joint=True, reduction="first", kinds=("weight",))(alone)
    torch.testing.assert_close((readers - first)[3:5], gate.abs()[:2].detach())


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("name", ["resnet8", "vgg11"])
def test_products_are_those_of_torch_pruning(name: str, joint: bool) -> None:
    """It forgets the scales of batch norms, so members here are weights."""
    one = evidence(name, single=True)
    losses = classified(one.example, 1)
    one.module.zero_grad()
    next(iter(losses(one.module))).backward()
    found = Taylor(1, joint, "mean", "none", ("weight",))(Evidence(one.module, one.example, one.spec, losses))
    for channels, expected in theirs(
        one, tp.importance.GroupTaylorImportance("mean", None, multivariable=joint)
    ):
        torch.testing.assert_close(found[channels], expected, rtol=1e-4, atol=1e-6)


def test_batches_are_averaged_after_the_square_and_the_module_stays_as_it_was() -> None:
    one = evidence("lenet")
    before = copy.deepcopy(one.module.state_dict())
    for tensor in one.module.parameters():
        tensor.requires_grad_(False)
    score = Taylor(2, joint=True)
    both = score(one)

    def only(batch: int) -> torch.Tensor:
        def loss(module):
            yield list(classified(one.example, 2)(module))[batch]

        return score(Evidence(one.module, one.example, one.spec, loss))

    torch.testing.assert_close(both, (only(0) + only(1)) / 2)
    assert all(p.grad is None and not p.requires_grad for p in one.module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in one.module.state_dict().items())


@pytest.mark.parametrize("score", ["taylor", "hessian"])
def test_a_score_that_looks_at_data_says_so_in_one_line(score: str) -> None:
    one = evidence("lenet")
    for loss, message in (
        (None, f"the score '{score}' looks at data; give `loss`"),
        (lambda module: [], "yielded no batch"),
        (lambda module: [module(*one.example)], "yield one differentiable number"),
        (lambda module: [torch.zeros(())], "requires_grad=False"),
    ):
        with pytest.raises(NasplatError, match=message):
            SCORES[score](Evidence(one.module, one.example, one.spec, loss))
