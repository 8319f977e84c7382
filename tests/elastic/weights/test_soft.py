"""Soft architectures: masks against slices, expected masks against sums of padded slices, vmap against a loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap

from nasplat import load
from nasplat.data import random_inputs
from nasplat.elastic import (
    NORMS,
    Dimension,
    ElasticConv2d,
    ElasticDepth,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticSpace,
    Key,
    Masks,
    Norms,
    Quotient,
    Scaled,
    Size,
    SoftArch,
    keyed,
    mask_channels,
    relax,
    transformed,
)
from nasplat.elastic.blocks.convolutional import (
    BasicBlock,
    Bottleneck,
    ElasticSequential,
    InvertedResidual,
    Shape,
    Style,
    depthwise,
    pointwise,
)
from nasplat.errors import InvalidArchitecture
from nasplat.space import Arch, Space, ordinal

WIDTH, DEPTH, KERNEL = ordinal("width", (4, 8, 12)), ordinal("depth", (0, 1, 2)), ordinal("kernel", (3, 5))
EXPAND, HEADS = ordinal("expand", (0.5, 1.0)), ordinal("heads", (1, 2), when={"depth": (2,)})
CHOICES = (WIDTH, DEPTH, KERNEL, EXPAND, HEADS)
SPACE = Space("soft", CHOICES)
W, K, HIDDEN = Size(12, "width"), Size(5, "kernel"), Scaled(Size(12, "width"), 1.0, "expand", 2)
SOFT = (SoftArch, Masks)
SMALL = SPACE.arch({"width": 4, "depth": 0, "kernel": 3, "expand": 0.5})


def uneven(requires_grad: bool = False, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """A distribution for every choice, no two values alike."""
    generator = torch.Generator().manual_seed(0)
    weights = {c.name: torch.rand(len(c.values), generator=generator, dtype=dtype) for c in CHOICES}
    return {n: (w / w.sum()).requires_grad_(requires_grad) for n, w in weights.items()}


class Block(nn.Module):
    """Everything that masks can get wrong: tied and inner widths, depthwise and transformed kernels, any activation."""

    def __init__(self, norms: Norms) -> None:
        super().__init__()
        self.widen = ElasticConv2d(W, HIDDEN, 1)
        self.norm1 = norms.activated(HIDDEN, nn.Sigmoid())  # not zero at zero
        self.depthwise = ElasticConv2d(HIDDEN, HIDDEN, K, groups=HIDDEN, source=transformed((3, 5)))
        self.dense = ElasticConv2d(HIDDEN, W, K, bias=True, stride=1)
        self.norm2 = norms.norm(W)

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        y = self.depthwise(self.norm1(self.widen(x, arch), arch), arch)
        out: Tensor = x + self.norm2(self.dense(y, arch), arch)
        return out


class Net(nn.Module):
    """Stem, an elastic number of blocks, layer norm, a head with weights of its own for every kernel."""

    def __init__(self, name: str) -> None:
        super().__init__()
        norms = Norms(name, Key.of(WIDTH) if name == "keyed" else None, group=2)
        self.stem = ElasticConv2d(3, W, 3, stride=2)
        self.blocks = ElasticDepth([Block(norms), Block(norms)], Size(2, "depth"))
        self.norm = ElasticLayerNorm(W)
        self.head = ElasticLinear(W, 5, source=keyed(Key.of(KERNEL)))

    def forward(self, x: Tensor, arch: Arch) -> Tensor:
        x = self.blocks(self.stem(x, arch), arch)
        y: Tensor = self.head(self.norm(x.mean((2, 3)), arch), arch)
        return y


@pytest.fixture(scope="module", params=NORMS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    """A network with every kind of layer, its weights and statistics drawn at random."""
    generator = torch.Generator().manual_seed(1)
    net = ElasticSpace("soft", CHOICES, network=lambda: Net(request.param)).supernet()
    for name, tensor in net.state_dict().items():
        if "running" in name or "norm" in name or "crop" in name:
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return net


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(seed))


def distance(y: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    return ((y - expected).abs().max() / expected.abs().max()).item()


def statistics(net: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in net.buffers()]


@pytest.mark.parametrize("training", [True, False])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_hot_architectures_masked_and_sliced_are_one_network(
    net: nn.Module, training: bool, seed: int
) -> None:
    arch, x = SPACE.sample(np.random.default_rng(seed)), images(seed)
    net.train(training)
    masked = [net(x, kind.one_hot(SPACE, arch)) for kind in SOFT]  # first: slices move the running statistics
    expected = net(x, arch)
    assert all(distance(y, expected) <= 1e-5 for y in masked)  # sums in another order; up to 4e-6 was seen


@pytest.mark.parametrize("norm", sorted(NORMS.keys() - {"keyed"}))
@pytest.mark.parametrize("block", ["residual", "inverted"])
def test_the_built_in_family_is_masked_as_it_is_sliced(norm: str, block: str) -> None:
    make = load("spaces", "elastic_convnet")
    options = {
        "width": [4, 8],
        "depth": [1, 2],
        "expand": [1, 2],
        "norm": norm,
        "norm_group": 4,
        "block": block,
    }
    space = make(input_shape=(3, 8, 8), classes=5, stages=2, **options)
    net, x, rng = space.supernet(), torch.randn(3, 3, 8, 8), np.random.default_rng(0)
    for arch in [space.smallest(), space.largest(), *(space.sample(rng) for _ in range(3))]:
        for kind in SOFT:
            assert distance(net(x, kind.one_hot(space, arch)), net(x, arch)) <= 1e-5


SHAPE = Shape(W, HIDDEN, W, K)
BLOCKS: dict[str, Callable[[Style], nn.Module]] = {
    "inverted": lambda style: InvertedResidual(SHAPE, style),
    "basic": lambda style: BasicBlock(SHAPE, style),
    "bottleneck": lambda style: Bottleneck(replace(SHAPE, stride=2), style),
    "depthwise": lambda style: depthwise(W, K, style),
    "pointwise": lambda style: pointwise(W, W, style),
}


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_masks_what_its_activation_puts_into_channels_that_are_not_there(
    block: str, activation: type[nn.Module]
) -> None:
    style = Style(activation=activation)
    net = ElasticSequential([pointwise(Size(3), W, style), BLOCKS[block](style)])
    masked = net(images(), Masks.one_hot(SPACE, SMALL))
    torch.testing.assert_close(masked[:, :4], net(images(), SMALL), atol=1e-5, rtol=1e-5)
    assert not masked[:, 4:].any()


@pytest.mark.parametrize(
    ("family", "shape", "values"),
    [
        ("elastic_convnet", (3, 9, 9), {"width1": [4], "depth2": [1], "kernel1_1": [3]}),
        ("elastic_vit", (3, 12, 12), {"width": [32]}),
        ("elastic_lm", (12,), {"heads1": [2]}),
    ],
)
def test_a_size_with_a_single_value_below_its_maximum_is_masked_too(
    family: str, shape: tuple[int, ...], values: dict[str, list[int]]
) -> None:
    arguments = {"width": [4, 8]} if family == "elastic_convnet" else {}
    space = load("spaces", family)(input_shape=shape, classes=5, **arguments)
    smaller, net = space.restrict(values), space.supernet()
    x = random_inputs(4, shape, space.vocabulary)
    for arch in (smaller.smallest(), smaller.largest()):
        for kind in SOFT:
            assert distance(net(x, kind.one_hot(smaller, arch)), net(x, arch)) <= 5e-6


def test_training_under_masks_leaves_running_statistics_alone(net: nn.Module) -> None:
    before = statistics(net.train())
    for kind in SOFT:
        net(images(), kind.one_hot(SPACE, SPACE.largest()))
    assert all(map(torch.equal, statistics(net), before))


@pytest.mark.parametrize("training", [True, False])
def test_vmap_over_masks_runs_several_subnets_with_their_outputs_and_gradients(
    net: nn.Module, training: bool
) -> None:
    rng, x = np.random.default_rng(0), images()
    archs = [SPACE.smallest(), SPACE.largest(), *(SPACE.sample(rng) for _ in range(3))]
    net.train(training)
    outputs = vmap(lambda vector: net(x, Masks.unpack(CHOICES, vector)))(relax(SPACE, archs))
    sliced = torch.stack([net(x, arch) for arch in archs])
    torch.testing.assert_close(outputs, sliced, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1, 2, sliced.numel()).reshape(sliced.shape)
    together, alone = (
        torch.autograd.grad((y * weights).sum(), list(net.parameters()), allow_unused=True)
        for y in (outputs, sliced)
    )
    scale = max(float(g.abs().max()) for g in alone if g is not None)
    for ours, theirs in zip(together, alone, strict=True):
        expected = torch.zeros_like(ours) if theirs is None else theirs
        torch.testing.assert_close(ours, expected, atol=2e-5 * scale, rtol=1e-3)


def test_convolution_weights_stay_one_for_all_subnets_of_a_vmap(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    convolve = F.conv2d

    def conv2d(x: Tensor, weight: Tensor, *rest: object, **options: object) -> Tensor:
        seen.append(torch._C._functorch.is_batchedtensor(weight))
        return convolve(x, weight, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(F, "conv2d", conv2d)
    layer, x = ElasticConv2d(W, HIDDEN, 3, bias=True), torch.randn(2, 12, 4, 4)
    vectors = relax(SPACE, [SPACE.smallest(), SPACE.largest()])
    vmap(lambda vector: layer(x, Masks.unpack(CHOICES, vector)))(vectors)
    assert seen == [False]


def expected_crop(weight: Tensor, dimensions: tuple[Dimension, ...], p: dict[str, Tensor]) -> Tensor:
    """sum_j p_j pad(slice_j W), j over all values of all choices, without any mask."""
    total = torch.zeros_like(weight)
    for positions in itertools.product(*(range(len(c.values)) for c in CHOICES)):
        arch = Arch({c.name: c.values[i] for c, i in zip(CHOICES, positions, strict=True)})
        window = []
        for axis, dimension in enumerate(dimensions):
            size, full = dimension(arch), weight.shape[axis]
            start = (full - size) // 2 if axis > 1 else 0
            window.append(slice(start, start + size))
        part = torch.zeros_like(weight)
        part[tuple(window)] = weight[tuple(window)]
        total = (
            total + part * torch.stack([p[c.name][i] for c, i in zip(CHOICES, positions, strict=True)]).prod()
        )
    return total


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups"), [(W, HIDDEN, 1), (HIDDEN, W, 1), (HIDDEN, HIDDEN, HIDDEN), (3, W, 1)]
)
def test_soft_weights_are_the_mean_of_the_padded_slices(
    inputs: Dimension, outputs: Dimension, groups: int | Dimension
) -> None:
    layer = ElasticConv2d(inputs, outputs, K, groups=groups, bias=True).double()
    p, bank = uneven(), layer.source.bank
    weight, bias = layer.source(SoftArch(CHOICES, p))
    rows = Size(3) if inputs == 3 else inputs if groups == 1 else Quotient(HIDDEN, HIDDEN)
    torch.testing.assert_close(weight, expected_crop(bank.weight_0, (outputs, rows, K, K), p))
    torch.testing.assert_close(bias, expected_crop(bank.bias_0, (outputs,), p))


def test_a_soft_kernel_transform_is_the_mean_of_the_transformed_kernels() -> None:
    layer = ElasticConv2d(W, W, K, groups=W, source=transformed((3, 5))).double()
    nn.init.normal_(layer.source.crop.matrix_3)
    p = uneven()
    weight, _ = layer.source(SoftArch(CHOICES, p))
    three = (
        layer.source.bank.weight_0[:, 0, 1:4, 1:4].reshape(-1, 9) @ layer.source.crop.matrix_3.T
    ).reshape(-1, 1, 3, 3)
    mean = p["kernel"][0] * F.pad(three, (1, 1, 1, 1)) + p["kernel"][1] * layer.source.bank.weight_0
    torch.testing.assert_close(weight, expected_crop(mean, (W, Size(1), Size(5), Size(5)), p))


def test_a_soft_depth_passes_each_block_by_with_the_probability_that_it_is_left_out() -> None:
    class Times(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor, arch: Arch) -> Tensor:
            return x * self.factor

    p = uneven()
    blocks = ElasticDepth([Times(2.0), Times(3.0)], Size(2, "depth"))
    none, _, two = p["depth"].tolist()
    expected = (none + (1 - none) * 2) * (1 - two + two * 3)
    assert float(blocks(torch.ones((), dtype=torch.float64), SoftArch(CHOICES, p))) == pytest.approx(expected)


def test_soft_keys_mix_weights_by_their_probabilities() -> None:
    layer, p = ElasticLinear(4, 2, source=keyed(Key.of(KERNEL))).double(), uneven()
    weight, _ = layer.source(SoftArch(CHOICES, p))
    small, large = layer.source.bank.atoms("weight")
    torch.testing.assert_close(weight, p["kernel"][0] * small + p["kernel"][1] * large)


def test_every_probability_learns_but_those_of_choices_that_nothing_reads() -> None:
    p = uneven(requires_grad=True, dtype=torch.float32)
    net = Net("batch")
    for _ in range(2):  # a mask that was kept would have lost its graph
        net(images(), SoftArch(CHOICES, p)).square().sum().backward()
    gradients = {name: tensor.grad for name, tensor in p.items()}
    assert gradients.pop("heads") is None
    assert all(g is not None and torch.isfinite(g).all() and g.any() for g in gradients.values())


def test_probabilities_masks_and_sizes_of_a_distribution() -> None:
    p = uneven()
    arch = SoftArch(CHOICES, p)
    small, middle, large = p["width"]
    torch.testing.assert_close(arch.probability("width", lambda v: v in (4, 12)), small + large)
    steps = torch.stack([small + middle + large, middle + large, large]).repeat_interleave(4)
    torch.testing.assert_close(arch.mask(W), steps)
    torch.testing.assert_close(arch.mask(Size(3)), torch.ones(3, dtype=torch.float64))
    half, full = p["expand"]
    assert arch.possible(HIDDEN) == (2, 4, 6, 8, 12)
    torch.testing.assert_close(arch.sizes(HIDDEN)[4], small * full + middle * half)
    assert arch.probability("width", lambda v: False) == 0.0


def test_masks_of_channels_act_along_any_axis_and_under_masks_only() -> None:
    y, arch = torch.ones(2, 12, 3), Arch({"width": 8, "depth": 0, "kernel": 3, "expand": 1.0})
    masked = mask_channels(y, W, Masks.one_hot(SPACE, arch))
    assert torch.equal(masked.sum((0, 2)), torch.tensor([6.0] * 8 + [0.0] * 4))
    last = mask_channels(y.transpose(1, 2), W, Masks.one_hot(SPACE, arch), axis=-1)
    assert torch.equal(last, masked.transpose(1, 2))
    for kind in (arch, SoftArch.one_hot(SPACE, arch)):
        assert mask_channels(y, W, kind) is y
    assert mask_channels(y, Size(12), Masks.one_hot(SPACE, arch)) is y


def test_what_does_not_matter_in_an_architecture_is_at_its_largest() -> None:
    vectors = relax(
        SPACE,
        [SPACE.smallest(), SPACE.arch({"width": 8, "depth": 2, "kernel": 5, "expand": 1.0, "heads": 1})],
    )
    assert vectors.tolist() == [[1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": torch.tensor([0.5, 0.5])}, r"^width has 3 values: give \(3,\) probabilities, not \(2,\)$"),
        (
            {"width": torch.tensor([0.5, 0.5, 0.5])},
            r"^the probabilities of width are .*: expected a sum of 1$",
        ),
        ({"width": torch.tensor([1.5, -0.5, 0.0])}, r"^the probabilities of width are .*: expected"),
        ({"wdith": torch.tensor([1.0])}, r"^no choice is 'wdith': did you mean 'width'\?"),
        ({"width": None}, "^width has no probabilities: give a tensor for every choice$"),
    ],
)
def test_distributions_that_are_none_are_refused_in_one_line(
    change: dict[str, Tensor | None], message: str
) -> None:
    given = {name: p for name, p in {**uneven(), **change}.items() if p is not None}
    with pytest.raises(InvalidArchitecture, match=message):
        SoftArch(CHOICES, given)


def test_an_architecture_with_another_choice_is_refused() -> None:
    with pytest.raises(InvalidArchitecture, match=r"^no choice is 'widht': did you mean 'width'\?"):
        Masks.one_hot(SPACE, {"widht": 4})


def test_what_cannot_be_masked_says_so_in_one_line() -> None:
    arch, x = SoftArch(CHOICES, uneven(dtype=torch.float32)), torch.randn(1, 12, 6, 6)
    with pytest.raises(
        InvalidArchitecture, match=r"^width is soft and cannot be masked: use execution 'slice'$"
    ):
        W(arch)
    with pytest.raises(
        InvalidArchitecture, match=r"^a convolution in 2 groups of elastic size cannot be masked"
    ):
        ElasticConv2d(W, W, 3, groups=2)(x, arch)
    with pytest.raises(InvalidArchitecture, match=r"^an elastic kernel of fixed padding cannot be masked"):
        ElasticConv2d(W, W, K, padding=1)(x, arch)


def test_groups_of_fixed_size_are_masked_as_they_are_sliced() -> None:
    layer, x = ElasticConv2d(W, W, 3, groups=Scaled(W, 0.25)), torch.randn(2, 12, 5, 5)
    arch = SPACE.arch({"width": 8, "depth": 0, "kernel": 3, "expand": 1.0})
    for kind in SOFT:
        masked = layer(mask_channels(x, W, Masks.one_hot(SPACE, arch)), kind.one_hot(SPACE, arch))
        torch.testing.assert_close(masked[:, :8], layer(x[:, :8], arch))
        assert not masked[:, 8:].any()


def test_one_compiled_graph_serves_all_architectures() -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    choices = [WIDTH, ordinal("depth", (0, 1)), KERNEL, EXPAND]
    space, x = Space("one block", choices), torch.randn(2, 12, 5, 5)
    net = ElasticDepth([Block(Norms("group", group=2))], Size(1, "depth")).requires_grad_(False)
    run = torch.compile(lambda v: net(x, Masks.unpack(choices, v)), backend=backend, fullgraph=True)
    for arch in (space.smallest(), space.largest(), space.sample(np.random.default_rng(0))):
        torch.testing.assert_close(run(relax(space, [arch])[0]), net(x, Masks.one_hot(space, arch)))
    assert len(graphs) == 1


def test_a_mask_without_gradients_is_not_kept_of_probabilities_that_learn() -> None:
    p = torch.full((3,), 1 / 3).requires_grad_()
    soft = SoftArch([WIDTH], {"width": p})
    with torch.no_grad():
        soft.mask(W)
        p.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert soft.mask(W).requires_grad
    assert soft.mask(W).tolist() == [1.0] * 4 + [0.0] * 8
