"""Networks made to mislead: whatever order of channels a trace allows, the network computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nasplat.channels.permutation import node_permutation, permute_graph, permute_state, random_permutation

from .architectures import Entry
from .conftest import traced_once
from .nets.idioms import attend, conv, heads, maps, mean, qkv, scale, three, tokens

RAMP = torch.linspace(0.5, 2.0, 8, dtype=torch.float64)
WIDE = RAMP.view(8, 1, 1)


def mask(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.arange(torch.Size(shape).numel()).reshape(shape) % 3 == 0


def zeroed(net: nn.Module, x: Tensor) -> Tensor:
    x = x.clone()
    x[:, 0] = 0.0
    return mean(x)


def overwritten(net: nn.Module, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, :4], y[:, 4:] = x[:, 4:], 2 * x[:, :4]
    return mean(y)


def doubled(net: nn.Module, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :4].mul_(2.0)
    return mean(y)


def copied(net: nn.Module, x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y.copy_(x.flip(1))
    return mean(y)


def masked_heads(net: nn.Module, x: Tensor) -> Tensor:
    q, k, v = three(net, x, 2)
    return net.out(
        F.scaled_dot_product_attention(q, k, v, attn_mask=net.given).transpose(1, 2).flatten(2)
    ).mean(1)


def normed_heads(net: nn.Module, x: Tensor) -> Tensor:
    q, k, v = three(net, x, 2)
    return net.out(attend(net.norm(q), net.norm(k), v)).mean(1)


def paired(x: Tensor) -> Tensor:
    angle = torch.arange(5)[:, None] * torch.tensor([1.0, 0.1])
    one, two = x[..., ::2], x[..., 1::2]
    return torch.stack(
        [one * angle.cos() - two * angle.sin(), one * angle.sin() + two * angle.cos()], -1
    ).flatten(-2)


def rotary_pairs(net: nn.Module, x: Tensor) -> Tensor:
    q, k, v = three(net, x, 2)
    return net.out(attend(paired(q), paired(k), v)).mean(1)


def in_halves(first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda net, x: mean(net.conv(torch.cat([first(x[:, :4]), second(x[:, 4:])], 1)))


def coordinates(x: Tensor) -> Tensor:
    line = torch.linspace(0, 1, 4, dtype=x.dtype)
    rows, columns = line.view(1, 1, 4, 1).expand(2, 1, 4, 4), line.view(1, 1, 1, 4).expand(2, 1, 4, 4)
    return torch.cat([x, rows, columns], 1)


def linear(inputs: int, outputs: int) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(inputs, outputs)


def gru(both: bool) -> Callable[[], nn.Module]:
    return lambda: nn.GRU(8, 6, batch_first=True, bidirectional=both)


def attention() -> nn.Module:
    return nn.MultiheadAttention(8, 2, batch_first=True)


CONSTANTS = {
    "added": maps(8, lambda net, x: mean(x + torch.sin(torch.arange(8)).view(8, 1, 1))),
    "divided": maps(8, lambda net, x: (1 + torch.arange(8)) / (1 + mean(x))),
    "a_power": maps(8, lambda net, x: mean((1 + x).pow(WIDE))),
    "a_power_of_it": maps(8, lambda net, x: mean(torch.pow(WIDE, x))),
    "a_parameter_power": maps(8, lambda net, x: mean((1 + x).pow(net.own)), own=scale(8, 1, 1)),
    "clamped": maps(8, lambda net, x: mean(torch.clamp(x, max=WIDE))),
    "clamped_by_a_buffer": maps(8, lambda net, x: mean(x.clamp_min(net.own)), own=lambda: WIDE.clone()),
    "masked": maps(8, lambda net, x: mean(x.masked_fill(net.given, 0.5)), given=mask(8, 1, 1)),
    "masked_by_a_buffer": maps(8, lambda net, x: mean(x.masked_fill(net.own, 0.5)), own=mask(8, 1, 1)),
    "chosen": maps(8, lambda net, x: mean(torch.where(torch.arange(8).view(8, 1, 1) < 3, x, -x))),
    "compared": maps(8, lambda net, x: mean(x * (x > WIDE / 4))),
    "a_table_of_places": tokens(
        8, lambda net, x: (x + net.given).mean(1), given=lambda: torch.outer(RAMP[:5], RAMP)
    ),
    "a_table_in_the_state": tokens(
        8, lambda net, x: (x + net.own).mean(1), own=lambda: torch.outer(RAMP[:5], RAMP)
    ),
    "beside_channels": maps(12, lambda net, x: torch.cat([mean(x), RAMP[:4].expand(2, 4)], 1)),
    "coordinates": maps(5, lambda net, x: mean(net.conv(coordinates(x))), conv=conv(10, 5)),
    "coordinates_added": maps(
        10, lambda net, x: mean(torch.relu(net.conv(x) + coordinates(x))), conv=conv(8, 10)
    ),
    "weighed_places": maps(1, lambda net, x: (mean(x).softmax(1) * torch.arange(8)).sum(1, keepdim=True)),
    "a_masked_weight": maps(
        5, lambda net, x: F.linear(mean(x), net.own * torch.ones(5, 8).tril()), own=scale(5, 8)
    ),
    "a_scale_of_constants": maps(8, lambda net, x: mean(x) * (net.own * RAMP), own=scale(8)),
    "a_convolution": maps(
        8, lambda net, x: mean(F.conv2d(x, net.given, groups=8)), given=lambda: WIDE[..., None]
    ),
    "heads": tokens(
        8, lambda net, x: net.out(attend(*three(net, x, 2), lambda s: s * WIDE[:2])).mean(1), **qkv()
    ),
    "masked_heads": tokens(8, masked_heads, given=mask(2, 5, 5), **qkv()),
    "pairs_turned": tokens(8, rotary_pairs, **qkv()),
    "a_first_state": tokens(
        8, lambda net, x: net.rnn(x, RAMP[:6].expand(1, 2, 6).clone())[0].mean(1)[:, [0] * 8], rnn=gru(False)
    ),
}
"""Constants that differ along channels, heads or pairs."""

ORDER = {
    "zeroed": maps(8, zeroed),
    "overwritten": maps(8, overwritten),
    "doubled_in_place": maps(8, doubled),
    "copied": maps(8, copied),
    "a_flipped_half": maps(8, in_halves(lambda x: x.flip(3), lambda x: x), conv=conv(8, 8)),
    "a_shifted_half": maps(8, in_halves(lambda x: x.roll(1, 3), lambda x: x), conv=conv(8, 8)),
    "two_functions": maps(8, in_halves(torch.relu, torch.tanh), conv=conv(8, 8)),
    "a_pooled_half": maps(8, in_halves(lambda x: F.max_pool2d(x, 3, 1, 1), lambda x: x), conv=conv(8, 8)),
    "counted_twice": maps(
        1, lambda net, x: torch.cat([mean(x), mean(x)[:, :4]], 1).exp().sum(1, keepdim=True)
    ),
    "turned_in_threes": maps(6, lambda net, x: mean(x[:, :6] + 2 * x[:, [1, 2, 0, 5, 3, 4]])),
    "rolled_when_flat": maps(128, lambda net, x: x.flatten(1).roll(3, 1)),
    "cut_when_flat": maps(64, lambda net, x: x.flatten(1)[:, 3:67]),
    "a_triangle": maps(8, lambda net, x: x.flatten(2)[:, :, :8].tril().sum(2)),
    "a_diagonal": maps(8, lambda net, x: torch.diagonal(x.flatten(2)[:, :, :8], dim1=1, dim2=2)),
    "channels_as_height": maps(4, lambda net, x: mean(net.conv(x.transpose(1, 2))), conv=conv(4, 4)),
    "the_largest": maps(4, lambda net, x: net.table(mean(x).argmax(1)), table=lambda: nn.Embedding(8, 4)),
    "the_place_of_the_largest": maps(8, lambda net, x: mean(x) * mean(x).max(1, keepdim=True)[1]),
    "the_three_largest": maps(3, lambda net, x: mean(x).topk(3)[1].to(x.dtype)),
    "larger_than_the_next": maps(8, lambda net, x: (mean(x) > mean(x).flip(1)).to(x.dtype)),
    "larger_than_a_number": maps(8, lambda net, x: (mean(x) > 0.3).to(x.dtype)),
    "three_statistics": maps(
        3, lambda net, x: torch.stack([f(x, (1, 2, 3)) for f in (torch.mean, torch.amax, torch.std)], 1)
    ),
    "places_meet_channels": tokens(5, lambda net, x: net.fc(x).mean(1) * x.mean(-1), fc=linear(8, 5)),
    "one_element_alone": maps(8, lambda net, x: mean(x) * net.own * net.own[3], own=scale(8)),
    "a_parameter_compared": maps(
        8, lambda net, x: mean(x) * (net.own > net.other), own=scale(8), other=scale(8)
    ),
    "a_mean_of_buffers": maps(
        8, lambda net, x: mean(x) - net.own.mean(0), own=lambda: torch.outer(RAMP[:3], RAMP)
    ),
    "a_scale_for_each_pair": maps(8, lambda net, x: (mean(x)[:, :, None] * net.own).sum(1), own=scale(8, 8)),
    "distances": maps(5, lambda net, x: ((mean(x)[:, None] - net.own) ** 2).sum(-1), own=scale(5, 8)),
    "a_norm_over_width": maps(8, lambda net, x: mean(net.norm(x) ** 2), norm=lambda: nn.LayerNorm(4)),
    "one_norm_for_heads": tokens(8, normed_heads, norm=lambda: nn.LayerNorm(4), **qkv()),
    "spectral": maps(
        5,
        lambda net, x: mean(net.conv(x)),
        conv=lambda: nn.utils.parametrizations.spectral_norm(conv(8, 5)()),
    ),
    "complex": maps(
        8,
        lambda net, x: torch.view_as_real(torch.view_as_complex(mean(x).unflatten(1, (4, 2))) * 1j).flatten(
            1
        ),
    ),
    "states_of_both_directions": tokens(
        12,
        lambda net, x: net.rnn(x, net.first(x.mean(1)).unflatten(1, (2, 6)).transpose(0, 1))[0].mean(1),
        rnn=gru(True),
        first=linear(8, 12),
    ),
    "a_first_state_of_parameters": tokens(
        6, lambda net, x: net.rnn(x, net.own.expand(1, 2, 6))[0].mean(1), rnn=gru(False), own=scale(1, 1, 6)
    ),
    "who_looks_where": tokens(
        4, lambda net, x: net.fc(net.attention(x, x, x)[1]).mean(1), attention=attention, fc=linear(5, 4)
    ),
    "heads_that_look": tokens(
        2,
        lambda net, x: net.attention(x, x, x, average_attn_weights=False)[1].amax((2, 3)),
        attention=attention,
    ),
    "heads_rolled": tokens(
        8, lambda net, x: net.out(attend(*three(net, x, 2), lambda s: s + 2 * s.roll(1, 1))).mean(1), **qkv()
    ),
    "a_head_taken": tokens(4, lambda net, x: heads(net.qkv(x)[..., :8], 2)[:, 0].mean(1), **qkv()),
    "windows": maps(6, lambda net, x: mean(x).unfold(1, 3, 1).amax(-1)),
    "a_row_of_a_weight": maps(8, lambda net, x: mean(x) @ net.own + net.own[0], own=scale(8, 8)),
    "places_between": tokens(
        4,
        lambda net, x: net.back(net.mix(net.up(x.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)).amax(2),
        up=linear(5, 7),
        mix=linear(8, 4),
        back=linear(7, 5),
    ),
}
"""Channels told apart by where they stand, by what else reads them, or by who is the largest."""

CASES = {f"constants: {name}": make for name, make in CONSTANTS.items()} | {
    f"order: {n}": m for n, m in ORDER.items()
}


@pytest.mark.parametrize("name", CASES)
def test_no_order_of_channels_that_is_allowed_changes_what_is_computed(name: str) -> None:
    shape = (2, 3, 4, 4) if isinstance(CASES[name]().get_submodule("stem"), nn.Conv2d) else (2, 5, 3)
    entry = Entry(CASES[name], (shape,), ())
    one = traced_once(entry.network(), entry.example())
    graph, wanted = one.graph, one.network(*one.example)
    back = graph.replace(graph.features, graph.edges).tensors
    assert [key for key, tensor in graph.tensors.items() if not torch.equal(back[key], tensor)] == []
    for seed in range(3):
        order = random_permutation(one.spec, torch.Generator().manual_seed(seed))
        tensors = permute_state(one.spec, graph.tensors, order)
        by_nodes = permute_graph(graph, node_permutation(one.spec, order)).tensors
        assert [key for key in tensors if not torch.equal(tensors[key], by_nodes[key])] == []
        permuted = copy.deepcopy(one.network)
        permuted.load_state_dict(tensors, strict=False)
        torch.testing.assert_close(permuted(*one.example), wanted, rtol=1e-9, atol=1e-9)
