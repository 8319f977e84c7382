"""Ten modules on which tools for pruning fail, or fail without a word: cut right here, or left whole and said so.

`test_equality` compares what all of them compute; here it is what was cut, in sizes that follow from their definitions.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nasplat.prune import Plan, plan_pruning

from ...channels.architectures import PITFALLS
from .conftest import prepared
from .reference import outputs


def halved(name: str) -> tuple[Plan, nn.Module]:
    """The plan that keeps half of every group that may go, and the network that it gives, which runs."""
    network = prepared(name)
    plan = plan_pruning(network.module, network.examples, "random", keep_ratio=0.5)
    small = plan.apply(network.module)
    assert outputs(small, network.examples).isfinite().all()
    return plan, small


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {
        name.removesuffix(".weight"): tuple(p.shape) for name, p in module.named_parameters() if p.ndim > 1
    }


def whole(name: str) -> dict[str, tuple[int, ...]]:
    return shapes(prepared(name).module)


def test_channels_before_a_reshape_to_a_number_stay_and_the_number_is_in_the_reason() -> None:
    plan, small = halved("hard_reshape")
    assert shapes(small) == whole("hard_reshape")
    assert "[-1, 256]" in plan.frozen["conv"]


def test_heads_that_the_code_counts_stay_and_the_stream_around_them_goes() -> None:
    plan, small = halved("fused_three")
    assert shapes(small) == {"stem": (4, 4), "qkv": (24, 4), "out": (4, 8), "head": (3, 4)}
    assert [reason.startswith("it does not run") for reason in plan.frozen.values()] == [True] * 3


def test_a_fused_projection_loses_as_many_queries_keys_and_values_of_every_head() -> None:
    plan, small = halved("fused_unbound")
    # stream and heads share their width in the code: 4 heads of 1 from a stream of 4
    assert shapes(small) == {
        "stem": (4, 4),
        "attention.qkv": (12, 4),
        "attention.proj": (4, 4),
        "head": (3, 4),
    }
    assert list(plan.frozen) == ["blocks of attention.qkv"]


def test_inner_channels_of_torchs_attention_are_not_taken_for_those_of_the_stream() -> None:
    network = prepared("multihead")
    spec, plan = network.spec, halved("multihead")[0]
    kept = plan.kept(spec)
    inner = next(
        slot for slot in spec.slots if slot.parameter == "attention.in_proj_weight" and slot.axis == 0
    )
    stream = next(slot for slot in spec.slots if slot.parameter == "stem.weight" and slot.axis == 0)
    assert set(inner.channels.ravel()).isdisjoint(stream.channels.ravel())
    queries, _, values = kept[inner.channels[0]].reshape(3, 4, 2).sum(2)
    assert queries.tolist() == values.tolist() == [1] * 4  # of every head one of two
    assert kept[stream.channels].sum() == 4


def test_a_depthwise_layer_follows_what_it_reads_and_groups_lose_equally_many() -> None:
    _, small = halved("depthwise_then_grouped")
    # 2 of 4 groups stay; of each 1 of 2 inputs, and 2 (of 3, rounded up) outputs
    assert shapes(small) == {
        "stem": (2, 3, 3, 3),
        "depthwise": (2, 1, 3, 3),
        "grouped": (4, 1, 1, 1),
        "head": (3, 4),
    }
    assert (small.depthwise.groups, small.grouped.groups) == (2, 2)
    assert (small.depthwise.in_channels, small.grouped.in_channels, small.grouped.out_channels) == (2, 2, 4)


def test_a_channel_that_is_concatenated_to_itself_goes_in_both_places() -> None:
    plan, small = halved("self_concat")
    assert shapes(small) == {"stem": (3, 3, 3, 3), "mix": (4, 6, 1, 1), "head": (3, 4)}
    columns = plan.cuts["mix.weight"][1].keep[0]
    assert [column + 6 for column in columns[:3]] == list(columns[3:])


def test_a_bare_parameter_for_each_channel_is_cut_with_them() -> None:
    plan, small = halved("layer_scale")
    original = prepared("layer_scale").module
    stay = list(plan.cuts["gamma"][0].keep[0])
    assert torch.equal(small.gamma, original.gamma[stay])
    assert isinstance(small.gamma, nn.Parameter)
    assert torch.equal(small.body.bias, original.body.bias[stay])


def test_a_layer_that_is_called_twice_is_cut_once() -> None:
    _, small = halved("called_twice")
    assert shapes(small) == {"stem": (3, 3, 3, 3), "body": (3, 3, 3, 3), "head": (3, 3)}
    assert small.norm.num_features == 3


def test_channels_that_a_branch_of_training_reads_stay_so_that_training_goes_on() -> None:
    plan, small = halved("only_in_training")
    assert shapes(small) == whole("only_in_training") | {"body": (3, 8, 3, 3), "head": (3, 3)}
    assert "training" in plan.frozen["stem"]
    assert "nothing reads it in evaluation mode" in plan.frozen["aux.weight"]
    logits, auxiliary = small.train()(prepared("only_in_training").examples[0])
    assert logits.shape == auxiliary.shape == (2, 3)


def test_the_operations_of_a_mixture_are_cut_together_with_what_comes_in() -> None:
    plan, small = halved("mixture")
    assert shapes(small) == {"stem": (4, 3, 3, 3), "p": (4, 4, 3, 3), "q": (4, 4, 1, 1), "head": (3, 4)}
    assert torch.equal(small.alpha, prepared("mixture").module.alpha)
    assert not plan.frozen


@pytest.mark.parametrize("name", PITFALLS)
def test_a_pruned_pitfall_can_be_trained(name: str) -> None:
    _, small = halved(name)
    found = small.train()(*prepared(name).examples)
    sum(one.sum() for one in ([found] if isinstance(found, Tensor) else found)).backward()
    assert all(p.grad is not None for p in small.parameters())
