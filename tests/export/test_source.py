"""The printed source of a network."""

from __future__ import annotations

import operator
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from nasplat.errors import ExportError
from nasplat.export.layers import layer_expression
from nasplat.export.names import attribute_names
from nasplat.export.network import trace
from nasplat.export.source import Shapes, network_source, network_weights

from .nets import Functional, Residual, perceptron

SHAPES = Shapes((1,), (1,))


def rebuilt(module: nn.Module) -> nn.Module:
    """The module made from its printed source and its named weights."""
    traced = trace(module.eval())
    names: dict[str, Any] = {"__file__": "network.py"}
    exec(network_source(traced, SHAPES), names)
    network: nn.Module = names["Network"]()
    network.load_state_dict(network_weights(traced), strict=True)
    return network.eval()


@pytest.mark.parametrize("build", [Residual, Functional])
def test_the_printed_source_computes_what_the_network_computes(build: type[nn.Module]) -> None:
    module, x = build(), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(rebuilt(module)(x), module.eval()(x), rtol=0, atol=1e-6)


def test_a_residual_network_reads_as_a_person_would_write_it() -> None:
    source = network_source(trace(Residual().eval()), Shapes((1, 8, 8), (5,)))
    assert "        self.stage1_0_conv1 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)\n" in source
    assert "        self.stage0_0_norm1 = nn.BatchNorm2d(4)\n" in source
    assert (
        """
        y = self.stage0_0_relu(self.stage0_0_norm1(self.stage0_0_conv1(x)))
        x = torch.relu(self.stage0_0_norm2(self.stage0_0_conv2(y)) + x)

        y = """
        in source
    )
    assert "        return self.head(x)\n" in source
    assert "None;" not in source
    assert "= None" not in source


def test_functions_lose_the_defaults_that_tracing_records() -> None:
    source = network_source(fx.symbolic_trace(Functional().eval()), SHAPES)
    assert "F.relu(F.max_pool2d(x, 2, stride=1, padding=1)[:, :, 1:, 1:])" in source
    assert ".softmax(dim=-1)" in source
    assert "from torch.nn import functional as F" in source


@pytest.mark.parametrize(
    "module", [Residual(), Functional(), perceptron()], ids=["residual", "functional", "mlp"]
)
def test_the_source_is_clean_for_ruff(module: nn.Module, tmp_path: Path) -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed")
    path = tmp_path / "network.py"
    path.write_text(network_source(fx.symbolic_trace(module.eval()), SHAPES))
    rules = ["--select", "E,F,W,I,UP,B,SIM,C4,RUF,N,PLE", "--ignore", "N812", "--line-length", "110"]
    subprocess.run([ruff, "check", "--isolated", *rules, path], check=True)
    subprocess.run([ruff, "format", "--isolated", "--check", "--line-length", "110", path], check=True)


LAYERS = {
    "nn.Conv1d(2, 4, 3, dilation=2)": nn.Conv1d(2, 4, 3, dilation=2),
    "nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4)": nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4),
    'nn.Conv2d(1, 2, 3, padding="same", padding_mode="reflect")': nn.Conv2d(
        1, 2, 3, padding="same", padding_mode="reflect"
    ),
    "nn.ConvTranspose2d(2, 3, 2, stride=2, output_padding=1)": nn.ConvTranspose2d(
        2, 3, 2, 2, output_padding=1
    ),
    "nn.Linear(2, 3, bias=False)": nn.Linear(2, 3, bias=False),
    "nn.BatchNorm1d(3, eps=0.01, momentum=0.2)": nn.BatchNorm1d(3, 0.01, 0.2),
    "nn.LayerNorm(8)": nn.LayerNorm(8),
    "nn.LayerNorm((2, 2))": nn.LayerNorm((2, 2)),
    "nn.GroupNorm(2, 4)": nn.GroupNorm(2, 4),
    "nn.MaxPool2d(2)": nn.MaxPool2d(2),
    "nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)": nn.MaxPool2d(3, 2, 1, ceil_mode=True),
    "nn.AvgPool2d(2, count_include_pad=False)": nn.AvgPool2d(2, count_include_pad=False),
    "nn.AdaptiveAvgPool2d(1)": nn.AdaptiveAvgPool2d(1),
    "nn.AdaptiveMaxPool2d((2, None))": nn.AdaptiveMaxPool2d((2, None)),
    "nn.ReLU()": nn.ReLU(),
    "nn.ReLU6(inplace=True)": nn.ReLU6(inplace=True),
    "nn.LeakyReLU(negative_slope=0.2)": nn.LeakyReLU(0.2),
    'nn.GELU(approximate="tanh")': nn.GELU(approximate="tanh"),
    "nn.PReLU(num_parameters=3)": nn.PReLU(3),
    "nn.Softmax(dim=1)": nn.Softmax(dim=1),
    "nn.Dropout(p=0.1)": nn.Dropout(0.1),
    "nn.Flatten()": nn.Flatten(),
    "nn.Flatten(start_dim=2)": nn.Flatten(2),
    "nn.Unflatten(1, (2, 3))": nn.Unflatten(1, (2, 3)),
    "nn.Embedding(7, 3, padding_idx=0)": nn.Embedding(7, 3, padding_idx=0),
    'nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)': nn.Upsample(
        scale_factor=2, mode="bilinear", align_corners=False
    ),
    "nn.PixelShuffle(2)": nn.PixelShuffle(2),
    "nn.ZeroPad2d((1, 0, 1, 0))": nn.ZeroPad2d((1, 0, 1, 0)),
    "nn.Identity()": nn.Identity(),
}


@pytest.mark.parametrize("text", LAYERS)
def test_a_layer_is_written_with_what_differs_from_its_defaults(text: str) -> None:
    assert layer_expression(LAYERS[text]).text == text


class Doubling(nn.Linear):
    """No plain layer: its forward is its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (Doubling(2, 2), "Doubling"),
        (nn.LSTM(2, 2), "LSTM"),
        (nn.TransformerEncoderLayer(4, 2), "TransformerEncoderLayer"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "ParametrizedLinear"),
    ],
)
def test_a_layer_that_is_not_plain_is_named(layer: nn.Module, name: str) -> None:
    with pytest.raises(ExportError, match=name) as caught:
        layer_expression(layer)
    assert "\n" not in str(caught.value)


def _graph(target: object, *args: object) -> fx.GraphModule:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(target, (x, *args)))  # type: ignore[arg-type]
    return fx.GraphModule(nn.Module(), graph)


@pytest.mark.parametrize("target", [operator.contains, len, sorted])
def test_an_operation_without_a_public_torch_name_is_named(target: Any) -> None:
    with pytest.raises(ExportError, match=target.__name__):
        network_source(_graph(target, 1), SHAPES)


def test_a_constant_that_has_no_source_is_named() -> None:
    with pytest.raises(ExportError, match="complex"):
        network_source(_graph(torch.mul, 1j), SHAPES)


def test_attribute_names_are_legal_readable_and_different() -> None:
    names = attribute_names(
        ["stages.0.blocks.1.conv", "0", "a.b", "a_b", "forward", "class", "bias.0", "0.1"]
    )
    assert list(names.values()) == [
        "stage0_block1_conv", "layer0", "a_b", "a_b_2", "forward_", "class_", "bias0", "layer0_1",
    ]  # fmt: skip


class Recipe(nn.Module):
    """Steps on a stack of values, drawn by a test: every step takes two earlier values."""

    def __init__(self, steps: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.steps = steps
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 1) for _ in steps)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for (kind, first, second), conv in zip(self.steps, self.convs, strict=True):
            a, b = values[first % len(values)], values[second % len(values)]
            results = {
                0: lambda a=a, b=b: a - b * 2,
                1: lambda a=a, b=b: (a + b) / 3 - (a - b),
                2: lambda a=a, conv=conv: torch.relu(conv(a)),
                3: lambda a=a, b=b: torch.cat([a, b], dim=1)[:, 1:3],
                4: lambda a=a, b=b: -(a.tanh() ** 2) + F.silu(b),
                5: lambda a=a, b=b: a.view(a.shape[0], -1).softmax(-1).view(b.size()),
            }
            values.append(results[kind]())
        return values[-1] + values[len(values) // 2].mean((2, 3), keepdim=True)


step = st.tuples(st.integers(0, 5), st.integers(0, 20), st.integers(0, 20))


@settings(max_examples=40, deadline=None)
@given(st.lists(step, min_size=1, max_size=12))
def test_any_dag_of_operations_is_printed_with_its_values_kept_apart(
    steps: list[tuple[int, int, int]],
) -> None:
    torch.manual_seed(0)
    module, x = Recipe(steps), torch.randn(2, 2, 3, 3)
    torch.testing.assert_close(rebuilt(module)(x), module(x), rtol=1e-5, atol=1e-5)


def test_a_long_line_is_broken_between_its_arguments() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_layer_with_quite_a_long_name_for_a_layer_of_this_kind = nn.Conv2d(
                12, 12, (1, 3), padding=(0, 1), groups=12, bias=False, padding_mode="circular"
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.a_layer_with_quite_a_long_name_for_a_layer_of_this_kind(x)

    source = network_source(fx.symbolic_trace(Wide()), SHAPES)
    assert max(map(len, source.splitlines())) <= 110
    assert (
        """_of_this_kind = nn.Conv2d(
            12, 12, (1, 3), padding=(0, 1), groups=12, bias=False, padding_mode="circular"
        )"""
        in source
    )
