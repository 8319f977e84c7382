"""Elastic attention against torch's own, and against sums over heads written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nasplat.elastic import Bank, Constant, ElasticAttention, ElasticSpace, Size, Slot, WeightSource, extract
from nasplat.elastic.weights.soft import Masks, SoftArch, relax
from nasplat.space import Arch, ordinal

WIDTH, HEADS, HEAD_DIM = Size(12, "width"), Size(3, "heads"), 4
CHOICES = (ordinal("width", (4, 6, 12)), ordinal("heads", (1, 2, 3)))
SPACE = ElasticSpace("attention", CHOICES, network=lambda: ElasticAttention(WIDTH, HEADS, HEAD_DIM))
CAUSAL = ElasticSpace(
    "causal", CHOICES, network=lambda: ElasticAttention(WIDTH, HEADS, HEAD_DIM, causal=True)
)


def by_hand(layer: nn.Module, x: Tensor, width: int, heads: int, causal: bool) -> Tensor:
    """The sum over heads of softmax(q k^T / sqrt(d)) v W_o, plus the bias, head by head."""
    inwards, outwards = layer.qkv.source.bank, layer.projection.source.bank
    total = outwards.bias_0[:width].expand(*x.shape[:2], width)
    later = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
    for head in range(heads):
        q, k, v = (x @ inwards.weight_0[head, :width, i] + inwards.bias_0[head, i] for i in range(3))
        scores = q @ k.transpose(1, 2) / math.sqrt(HEAD_DIM)
        scores = scores.masked_fill(later, -math.inf) if causal else scores
        total = total + scores.softmax(-1) @ v @ outwards.weight_0[:width, head].T
    return total


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), causal=st.booleans())
def test_attention_is_the_sum_over_the_heads_in_use(seed: int, causal: bool) -> None:
    space = CAUSAL if causal else SPACE
    arch, net = space.sample(np.random.default_rng(seed)), space.supernet(seed)
    x = torch.randn(2, 5, arch["width"], generator=torch.Generator().manual_seed(seed))
    expected = by_hand(net, x, arch["width"], arch["heads"], causal)
    torch.testing.assert_close(net(x, arch), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(extract(net, arch)(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("width", "heads"), [(12, 3), (4, 1)])
def test_attention_equals_that_of_torch_with_the_plain_weights(width: int, heads: int) -> None:
    net, arch = SPACE.supernet(1), Arch({"width": width, "heads": heads})
    inwards, outwards = net.qkv.plain(arch), net.projection.plain(arch)
    torchs = nn.MultiheadAttention(width, heads, batch_first=True)
    with torch.no_grad():
        torchs.in_proj_weight.copy_(inwards.weight)
        torchs.in_proj_bias.copy_(inwards.bias)
    torchs.out_proj = outwards
    x = torch.randn(2, 7, width)
    torch.testing.assert_close(net(x, arch), torchs(x, x, x)[0])


def test_rows_of_the_plain_layer_are_queries_then_keys_then_values_head_by_head() -> None:
    net = SPACE.supernet(2)
    bank = net.qkv.source.bank
    plain = net.qkv.plain(Arch({"width": 6, "heads": 2}))
    assert plain.weight.shape == (3 * 2 * HEAD_DIM, 6)
    rows = plain.weight.unflatten(0, (3, 2, HEAD_DIM))
    biases = plain.bias.unflatten(0, (3, 2, HEAD_DIM))
    for part in range(3):
        for head in range(2):
            assert torch.equal(rows[part, head], bank.weight_0[head, :6, part].T)
            assert torch.equal(biases[part, head], bank.bias_0[head, part])


def test_a_causal_token_sees_no_later_one_and_others_do() -> None:
    arch, x = Arch({"width": 6, "heads": 3}), torch.randn(1, 6, 6)
    changed = torch.cat([x[:, :4], torch.randn(1, 2, 6)], 1)
    causal, open_ = CAUSAL.supernet(3), SPACE.supernet(3)
    torch.testing.assert_close(causal(x, arch)[:, :4], causal(changed, arch)[:, :4])
    assert not torch.allclose(open_(x, arch)[:, :4], open_(changed, arch)[:, :4])


def test_layers_start_within_the_bounds_of_their_plain_forms() -> None:
    torch.manual_seed(0)
    net = ElasticAttention(64, 4, 32)
    pairs = [(net.qkv, nn.Linear(64, 3 * 128)), (net.projection, nn.Linear(128, 64))]
    for elastic, plain in pairs:
        for ours, theirs in zip(elastic.plain(Arch({})).parameters(), plain.parameters(), strict=True):
            assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.05)
            assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.15)


def test_another_source_changes_no_layer() -> None:
    def mixed(slot: Slot) -> WeightSource:
        return WeightSource(Bank(slot, atoms=2), Constant((0.5, 0.5)))

    net, arch = ElasticAttention(WIDTH, HEADS, HEAD_DIM, source=mixed), Arch({"width": 6, "heads": 2})
    single = ElasticAttention(WIDTH, HEADS, HEAD_DIM)
    with torch.no_grad():
        for ours, theirs in ((single.qkv, net.qkv), (single.projection, net.projection)):
            for name in ("weight", "bias"):
                first, second = theirs.source.bank.atoms(name)
                ours.source.bank.atoms(name)[0].copy_((first + second) / 2)
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(net(x, arch), single(x, arch))
    torch.testing.assert_close(extract(net, arch)(x), single(x, arch))


@pytest.mark.parametrize("space", [SPACE, CAUSAL])
def test_soft_and_masked_attention_equal_the_sliced_one_also_many_at_once(space: ElasticSpace) -> None:
    net, archs = space.supernet(4), list(space.enumerate())
    x = torch.randn(2, 5, 12)
    masked = torch.vmap(lambda vector: net(cut(x, vector), Masks.unpack(space.choices, vector)))

    def cut(x: Tensor, vector: Tensor) -> Tensor:
        return x * Masks.unpack(space.choices, vector).mask(WIDTH)

    together = masked(relax(space, archs))
    for arch, many in zip(archs, together, strict=True):
        width = arch["width"]
        expected = net(x[..., :width], arch)
        outputs = [many]
        for kind in (SoftArch, Masks):
            soft = kind.one_hot(space, arch)
            outputs.append(net(x * soft.mask(WIDTH), soft))
        for output in outputs:
            torch.testing.assert_close(output[..., :width], expected, atol=1e-6, rtol=1e-6)
            assert not output[..., width:].any()
