"""One idiom each between a layer and its reader: what channels go through in the wild.

`IDIOMS` by name: a function of the layers below and of x, maps (n, 8, 4, 4) of a convolution with eight channels or
tokens (n, 5, 8) of a linear layer, that gives class scores (n, 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Idiom(nn.Module):
    """A layer of eight channels, an idiom with layers of its own, and a head on what comes out."""

    def __init__(
        self, maps: bool, width: int, run: Callable[[nn.Module, Tensor], Tensor], **own: object
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1) if maps else nn.Linear(3, 8)
        self.head, self.run = nn.Linear(width, 3), run
        for name, value in own.items():
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
                persistent = not name.startswith("given")
                self.register_buffer(name, value, persistent=persistent)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.run(self, torch.relu(self.stem(x))))


def maps(width: int, run: Callable[..., Tensor], **own: Callable[[], object]) -> Callable[[], nn.Module]:
    return lambda: Idiom(True, width, run, **{name: make() for name, make in own.items()})


def tokens(width: int, run: Callable[..., Tensor], **own: Callable[[], object]) -> Callable[[], nn.Module]:
    return lambda: Idiom(False, width, run, **{name: make() for name, make in own.items()})


def mean(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def heads(x: Tensor, number: int) -> Tensor:
    """(n, t, c) -> (n, heads, t, c / heads)."""
    return x.unflatten(-1, (number, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, change: Callable[[Tensor], Tensor] = lambda s: s) -> Tensor:
    return (torch.softmax(change(q @ k.transpose(-1, -2)), -1) @ v).transpose(1, 2).flatten(2)


def three(net: nn.Module, x: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = net.qkv(x).chunk(3, -1)
    return heads(q, number), heads(k, number), heads(v, number)


def rotated(x: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864) for heads (n, h, t, 4)."""
    angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def cbam(net: nn.Module, x: Tensor) -> Tensor:
    """The gate over places of arXiv:1807.06521."""
    seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return mean(x * torch.sigmoid(net.conv(seen)))


def eca(net: nn.Module, x: Tensor) -> Tensor:
    """A convolution over neighbouring channels (arXiv:1910.03151)."""
    y = x.mean((2, 3), keepdim=True)
    y = net.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
    return mean(x * torch.sigmoid(y))


def standardised(net: nn.Module, x: Tensor) -> Tensor:
    """arXiv:1903.10520."""
    w = net.conv.weight
    w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    return mean(F.conv2d(x, w, net.conv.bias, padding=1))


def written(net: nn.Module, x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 2:5] = 0.5 * y[:, 2:5]
    return mean(y)


def grouped_queries(net: nn.Module, x: Tensor) -> Tensor:
    """Four heads of queries for two of keys and values (arXiv:2305.13245)."""
    q = heads(net.q(x), 4)
    k, v = (heads(one, 2).repeat_interleave(2, dim=1) for one in net.kv(x).chunk(2, -1))
    return net.out(attend(q, k, v)).mean(1)


def one_key(net: nn.Module, x: Tensor) -> Tensor:
    """One head of keys and values for all (arXiv:1911.02150)."""
    k, v = net.kv(x).chunk(2, -1)
    return net.out(attend(heads(net.q(x), 4), k[:, None], v[:, None])).mean(1)


def slopes(net: nn.Module, x: Tensor) -> Tensor:
    """A constant for each head (arXiv:2108.12409)."""
    far = torch.arange(5).view(1, 5) - torch.arange(5).view(5, 1)
    bias = far.to(x.dtype) * torch.tensor([0.5, 0.25], dtype=x.dtype).view(2, 1, 1)
    return net.out(attend(*three(net, x, 2), lambda s: s + bias)).mean(1)


def linear_attention(net: nn.Module, x: Tensor) -> Tensor:
    """Keys meet values first (arXiv:2006.16236)."""
    q, k, v = three(net, x, 2)
    y = F.elu(q) @ (F.elu(k).transpose(-1, -2) @ v)
    return net.out(y.transpose(1, 2).flatten(2)).mean(1)


def rotary(net: nn.Module, x: Tensor) -> Tensor:
    q, k, v = three(net, x, 2)
    return net.out(attend(rotated(q), rotated(k), v)).mean(1)


def windows(net: nn.Module, x: Tensor) -> Tensor:
    """Attention in shifted windows of two by two (arXiv:2103.14030)."""
    y = torch.roll(x.permute(0, 2, 3, 1), shifts=(-1, -1), dims=(1, 2))
    n, h, w, c = y.shape
    y = y.view(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 4, c)
    y = net.out(attend(*three(net, y, 2)))
    y = y.view(n, h // 2, w // 2, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    return mean(x + y.permute(0, 3, 1, 2))


def unrolled(net: nn.Module, x: Tensor) -> Tensor:
    h = c = x.new_zeros(x.shape[0], 6)
    for step in range(x.shape[1]):
        h, c = net.cell(x[:, step], (h, c))
    return h


def experts(net: nn.Module, x: Tensor) -> Tensor:
    """A mixture of two layers, weighed anew for each token."""
    gate = torch.softmax(net.gate(x), -1)
    return (gate[..., :1] * net.one(x) + gate[..., 1:] * net.two(x)).mean(1)


def asked(net: nn.Module, x: Tensor) -> Tensor:
    """Learned queries look at the tokens."""
    return net.attention(net.queries.expand(x.shape[0], -1, -1), x, x)[0].mean(1)


def halves_in_groups(net: nn.Module, x: Tensor) -> Tensor:
    """The halves that a gate tells apart are the groups of another layer."""
    first, second = x.chunk(2, 1)
    return mean(torch.cat([first * torch.sigmoid(second), net.conv(x)], 1))


def groups_in_halves(net: nn.Module, x: Tensor) -> Tensor:
    first, second = net.conv(x).chunk(2, 1)
    return mean(first * torch.sigmoid(second))


def qkv(width: int = 24) -> dict[str, Callable[[], object]]:
    return {"qkv": lambda: nn.Linear(8, width), "out": lambda: nn.Linear(8, 8)}


def grouped_qkv(keys: int) -> dict[str, Callable[[], object]]:
    return {"q": lambda: nn.Linear(8, 8), "kv": lambda: nn.Linear(8, keys), "out": lambda: nn.Linear(8, 8)}


def conv(inputs: int, outputs: int, kernel: int = 3, **how: object) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **how)


def scale(*shape: int) -> Callable[[], nn.Parameter]:
    return lambda: nn.Parameter(torch.ones(shape))


RAMP = torch.linspace(0.5, 2.0, 8, dtype=torch.float64)

ORDERED: dict[str, Callable[[], nn.Module]] = {
    "constant_per_channel": maps(8, lambda net, x: mean(x * RAMP.view(1, 8, 1, 1))),
    "constant_list": maps(
        8, lambda net, x: mean(x) + torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7], dtype=x.dtype)
    ),
    "buffer_not_in_the_state": maps(
        8, lambda net, x: mean(x * net.given.view(8, 1, 1)), given=lambda: RAMP.clone()
    ),
    "buffer_in_the_state": maps(
        8, lambda net, x: mean(x * net.ramp.view(8, 1, 1)), ramp=lambda: RAMP.clone()
    ),
    "cumulative_sum": maps(8, lambda net, x: mean(x.cumsum(1))),
    "neighbours_normed": maps(8, lambda net, x: mean(F.local_response_norm(x, 3))),
    "neighbours_convolved": maps(8, eca, conv=lambda: nn.Conv1d(1, 1, 3, padding=1)),
    "neighbours_pooled": tokens(4, lambda net, x: F.max_pool1d(x, 2).mean(1)),
    "neighbours_unfolded": maps(6, lambda net, x: mean(x).unfold(1, 3, 1).amax(-1)),
    "rolled": maps(8, lambda net, x: mean(x + x.roll(1, 1))),
    "flipped": maps(8, lambda net, x: mean(x + x.flip(1))),
    "sliced": maps(5, lambda net, x: mean(x[:, 1:6])),
    "strided": maps(4, lambda net, x: mean(x[:, ::2])),
    "picked": maps(3, lambda net, x: mean(x[:, [5, 0, 3]])),
    "picked_by_a_buffer": maps(
        3, lambda net, x: mean(x.index_select(1, net.order)), order=lambda: torch.tensor([5, 0, 3])
    ),
    "written_in_place": maps(8, written),
    "neighbours_maximum": maps(4, lambda net, x: mean(x.unflatten(1, (4, 2)).amax(2))),
    "half_maximum": maps(4, lambda net, x: mean(x.unflatten(1, (2, 4)).amax(1))),
    "channels_as_width": maps(4, lambda net, x: mean(net.conv(x.transpose(1, 3))), conv=conv(4, 4)),
    "positions_on_channels": maps(8, lambda net, x: F.softmax(mean(x), 1) * torch.arange(8)),
    "pixels_shuffled": maps(2, lambda net, x: mean(F.pixel_shuffle(x, 2))),
    "grouped_transposed": maps(
        6, lambda net, x: mean(net.up(x)), up=lambda: nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
    ),
    "own_weights": maps(8, lambda net, x: mean(x) @ net.weight + net.weight[0], weight=scale(8, 8)),
    "halves_in_groups": maps(8, halves_in_groups, conv=conv(8, 4, groups=2)),
    "groups_in_halves": maps(4, groups_in_halves, conv=conv(8, 8, groups=2)),
}
"""Where channels meet neighbours, constants or positions: not all of them may change places."""

FREE: dict[str, Callable[[], nn.Module]] = {
    "softmax_over_channels": maps(8, lambda net, x: mean(F.softmax(x, 1))),
    "unit_length": maps(8, lambda net, x: mean(F.normalize(x, dim=1))),
    "centred": maps(8, lambda net, x: mean(x - x.mean(1, keepdim=True)) / x.std()),
    "places_gated": maps(8, cbam, conv=lambda: nn.Conv2d(2, 1, 3, padding=1)),
    "both_signs": maps(16, lambda net, x: mean(torch.cat([F.relu(x), F.relu(-x)], 1))),
    "with_coordinates": maps(
        5, lambda net, x: mean(net.conv(torch.cat([x, torch.ones_like(x[:, :2])], 1))), conv=conv(10, 5)
    ),
    "padded_channels": maps(5, lambda net, x: mean(net.conv(F.pad(x, (0, 0, 0, 0, 1, 2)))), conv=conv(11, 5)),
    "pixels_unshuffled": maps(32, lambda net, x: mean(F.pixel_unshuffle(x, 2))),
    "patches_unfolded": maps(72, lambda net, x: F.unfold(x, 3).mean(-1)),
    "upsampled": maps(8, lambda net, x: mean(F.interpolate(x, scale_factor=2, mode="bilinear"))),
    "masked": maps(8, lambda net, x: mean(x.masked_fill(x > 1, 0.3) + torch.where(x > 0.5, x, -x))),
    "clamped": maps(
        8,
        lambda net, x: mean(x.clamp(0.1, 0.9).sqrt() + x.pow(2) + torch.maximum(x, net.conv(x))),
        conv=conv(8, 8),
    ),
    "stacked": maps(8, lambda net, x: mean(torch.stack([x, net.conv(x)], 1).sum(1)), conv=conv(8, 8)),
    "wider_depthwise": maps(16, lambda net, x: mean(net.conv(x)), conv=conv(8, 16, groups=8)),
    "circular": maps(5, lambda net, x: mean(net.conv(x)), conv=conv(8, 5, padding_mode="circular")),
    "norm_without_scale": maps(
        8, lambda net, x: mean(net.norm(x)), norm=lambda: nn.BatchNorm2d(8, affine=False)
    ),
    "norm_of_the_batch": maps(
        8, lambda net, x: mean(net.norm(x)), norm=lambda: nn.BatchNorm2d(8, track_running_stats=False)
    ),
    "norm_over_maps": maps(8, lambda net, x: mean(net.norm(x) ** 2), norm=lambda: nn.LayerNorm([8, 4, 4])),
    "norm_over_places": maps(8, lambda net, x: mean(net.norm(x) ** 2), norm=lambda: nn.LayerNorm([4, 4])),
    "merged_with_height": maps(
        32, lambda net, x: net.fc(x.reshape(-1, 32, 4)).mean(-1), fc=lambda: nn.Linear(4, 4)
    ),
    "scaled_by_a_parameter": maps(
        8, lambda net, x: mean(x * net.scale + net.shift), scale=scale(8, 1, 1), shift=scale(1)
    ),
    "flattened_norm": maps(128, lambda net, x: net.norm(x.flatten(1)), norm=lambda: nn.BatchNorm1d(128)),
    "grouped_queries": tokens(8, grouped_queries, **grouped_qkv(8)),
    "one_key": tokens(8, one_key, **grouped_qkv(4)),
    "rotary": tokens(8, rotary, **qkv()),
    "slopes": tokens(8, slopes, **qkv()),
    "temperatures": tokens(
        8,
        lambda net, x: net.out(attend(*three(net, x, 2), lambda s: s * net.warm)).mean(1),
        warm=scale(2, 1, 1),
        **qkv(),
    ),
    "bias_table": tokens(
        8,
        lambda net, x: net.out(
            attend(*three(net, x, 2), lambda s: s + net.table[net.given].permute(2, 0, 1))
        ).mean(1),
        table=scale(9, 2),
        given=lambda: torch.arange(5)[:, None] - torch.arange(5)[None] + 4,
        **qkv(),
    ),
    "talking_heads": tokens(
        8,
        lambda net, x: net.out(
            attend(*three(net, x, 2), lambda s: net.talk(s.movedim(1, -1)).movedim(-1, 1))
        ).mean(1),
        talk=lambda: nn.Linear(2, 2),
        **qkv(),
    ),
    "channel_attention": tokens(
        8,
        lambda net, x: net.out(
            attend(*(t.transpose(-1, -2) for t in three(net, x, 2)), lambda s: s / math.sqrt(5)).reshape(
                -1, 5, 8
            )
        ).mean(1),
        **qkv(),
    ),
    "linear_attention": tokens(8, linear_attention, **qkv()),
    "encoder_layer": tokens(
        8,
        lambda net, x: net.layer(x).mean(1),
        layer=lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
    ),
    "windows": maps(8, windows, **qkv()),
    "both_directions": tokens(
        8, lambda net, x: net.rnn(x)[0][:, -1], rnn=lambda: nn.GRU(8, 4, bidirectional=True, batch_first=True)
    ),
    "experts": tokens(
        6, experts, gate=lambda: nn.Linear(8, 2), one=lambda: nn.Linear(8, 6), two=lambda: nn.Linear(8, 6)
    ),
    "pooled_by_weights": tokens(
        8, lambda net, x: (torch.softmax(net.score(x), 1) * x).sum(1), score=lambda: nn.Linear(8, 1)
    ),
    "bare_weights": maps(
        5,
        lambda net, x: mean(F.conv2d(x, net.kernel, net.bias, padding=1)),
        kernel=scale(5, 8, 3, 3),
        bias=scale(5),
    ),
    "low_rank": tokens(6, lambda net, x: (x @ net.u @ net.v).mean(1), u=scale(8, 2), v=scale(2, 6)),
}
"""Where all eight channels may change places."""

OPAQUE: dict[str, Callable[[], nn.Module]] = {
    "unrolled": tokens(6, unrolled, cell=lambda: nn.LSTMCell(8, 6)),
    "asked": tokens(
        8, asked, attention=lambda: nn.MultiheadAttention(8, 2, batch_first=True), queries=scale(1, 3, 8)
    ),
    "sorted": maps(8, lambda net, x: mean(x).sort(1).values),
    "top": maps(3, lambda net, x: mean(x).topk(3, 1).values),
    "pairs": maps(64, lambda net, x: torch.einsum("nchw,ndhw->ncd", x, x).flatten(1)),
    "pairs_by_matmul": maps(64, lambda net, x: (x.flatten(2) @ x.flatten(2).transpose(1, 2)).flatten(1)),
    "bilinear": tokens(4, lambda net, x: net.both(x, x.flip(1)).mean(1), both=lambda: nn.Bilinear(8, 8, 4)),
    "similar": tokens(
        5, lambda net, x: F.cosine_similarity(x, net.fc(x), dim=-1), fc=lambda: nn.Linear(8, 8)
    ),
    "standardised_weights": maps(5, standardised, conv=conv(8, 5)),
    "weight_normed": maps(
        5, lambda net, x: mean(net.conv(x)), conv=lambda: nn.utils.parametrizations.weight_norm(conv(8, 5)())
    ),
    "stacked_weights": tokens(
        8, lambda net, x: torch.einsum("ntc,kcd->nkd", x, net.weight).mean(1), weight=scale(2, 8, 8)
    ),
}
"""What is not followed: all channels are frozen, with a reason."""

IDIOMS = ORDERED | FREE | OPAQUE
