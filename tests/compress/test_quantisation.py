"""Int8 networks: grids against torch's observers, files against the network that was written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.ao.quantization import default_per_channel_weight_observer, default_weight_observer

from nasplat.compress import (
    Rounding,
    correct_bias,
    fold_norms,
    input_means,
    load_quantised,
    quantise,
    round_weights,
    save_quantised,
)
from nasplat.errors import DataError, NasplatError
from nasplat.measure import Repeats, measure_latency

from .blocks import lived_in


def network(width: int = 8) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 9, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


@pytest.mark.parametrize("per_channel", [True, False])
def test_rounding_has_the_steps_of_torchs_int8_observers(per_channel: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(500, 3, 2, 2)  # so many that the largest weight of some rows lies between two steps
    observer = (default_per_channel_weight_observer if per_channel else default_weight_observer)()
    observer(weight)
    scale, zero = observer.calculate_qparams()
    if per_channel:
        expected = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, -128, 127)
    else:
        expected = torch.fake_quantize_per_tensor_affine(weight, float(scale), int(zero), -128, 127)
    torch.testing.assert_close(Rounding(8, per_channel)(weight), expected)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("static", [True, False])
def test_an_int8_network_is_close_and_comes_back_from_its_file(
    static: bool, per_channel: bool, tmp_path: Path
) -> None:
    model, x = network(), torch.randn(64, 2, 6, 6)
    int8 = quantise(model, x[:1], [x] if static else None, per_channel=per_channel)
    with torch.no_grad():
        drift = (int8(x) - model(x)).norm() / model(x).norm()
    assert 0 < float(drift) < 0.06
    save_quantised(int8, tmp_path / "net.safetensors")
    other = network()
    for tensor in other.parameters():
        tensor.data.normal_()
    again = load_quantised(tmp_path / "net.safetensors", other, x[:1])
    assert torch.equal(again(x), int8(x))


def test_static_int8_runs_on_quantised_kernels_and_can_be_measured() -> None:
    int8 = quantise(network(), torch.randn(1, 2, 6, 6), [torch.randn(8, 2, 6, 6)])
    kinds = {type(part).__module__ for part in int8.modules()}
    assert any("intrinsic.quantized" in kind for kind in kinds)
    quick = Repeats(minimum=3, warmup_s=0.0, budget_s=0.01)
    assert measure_latency(int8, torch.randn(1, 2, 6, 6), repeats=quick).median_ms > 0


def test_a_corrected_bias_keeps_the_measured_mean_of_a_layer() -> None:
    layer, x = nn.Sequential(nn.Conv2d(4, 6, 1, groups=2)), torch.rand(32, 4, 3, 3)
    coarse = Rounding(3, per_channel=False)
    means = input_means(layer, x, batches=[x[:16], x[16:]])
    torch.testing.assert_close(means["0"].float(), x.mean((0, 2, 3)))
    corrected = round_weights(correct_bias(layer, x, means, coarse).module, x, coarse).module
    plain = round_weights(layer, x, coarse).module
    wanted = layer(x).mean((0, 2, 3))
    torch.testing.assert_close(corrected(x).mean((0, 2, 3)), wanted, rtol=0, atol=1e-6)
    assert float((plain(x).mean((0, 2, 3)) - wanted).detach().abs().max()) > 1e-3


class Normed(nn.Module):
    """A norm, a rectifier, a flattened map and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(x))).flatten(1))


def test_means_without_data_are_those_of_rectified_normal_numbers() -> None:
    model = lived_in(Normed())
    means = input_means(model, torch.randn(1, 2, 2, 2))
    beta, gamma = model.norm.bias.double(), model.norm.weight.double()
    normal = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    ratio = beta / gamma
    expected = gamma * normal.log_prob(ratio).exp() + beta * normal.cdf(
        ratio
    )  # equation 19 with a = 0, b = infinity
    assert set(means) == {"fc"}
    torch.testing.assert_close(means["fc"], expected.detach().repeat_interleave(4), rtol=0, atol=2e-3)


def test_bias_correction_leaves_layers_of_unknown_inputs() -> None:
    model = lived_in(Normed())
    x = torch.randn(1, 2, 2, 2)
    found = correct_bias(fold_norms(model, x).module, x, input_means(model, x))
    assert found.changed == ("fc",)
    assert "not known" in found.left["conv"]


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    x = torch.randn(1, 2, 6, 6)
    with pytest.raises(NasplatError, match="batches is empty"):
        quantise(network(), x, [])
    with pytest.raises(NasplatError, match="has no linear layers; give batches"):
        quantise(nn.ReLU(), x)
    with pytest.raises(NasplatError, match="batches is empty"):
        input_means(network(), x, batches=[])
    with pytest.raises(NasplatError, match="batches gives tuple; give inputs alone"):
        input_means(network(), x, batches=[(x, x)])  # type: ignore[list-item]
    with pytest.raises(NasplatError, match="batches is one tensor"):
        quantise(network(), x, x)
    with pytest.raises(NasplatError, match="does not take an example of shape"):
        quantise(network(), x, [x[:, :1]])
    with pytest.raises(NasplatError, match=r"0.weight is torch.float64; int8 is made from float32"):
        quantise(network().double(), x.double(), [x.double()])
    with pytest.raises(NasplatError, match="bits = 1 cannot round"):
        Rounding(1)
    with pytest.raises(NasplatError, match="has no int8 layers"):
        save_quantised(network(), tmp_path / "none")
    with pytest.raises(DataError, match="cannot be read"):
        load_quantised(tmp_path / "none", network(), x)
    save_quantised(quantise(network(), x, [x]), tmp_path / "net")
    with pytest.raises(DataError, match="has shape"):
        load_quantised(tmp_path / "net", network(4), x)
    with pytest.raises(DataError, match="of another network"):
        load_quantised(tmp_path / "net", nn.Sequential(nn.Flatten(), nn.Linear(72, 4)), x)


def test_rounding_reaches_layers_that_run_twice_or_share_weights() -> None:
    conv, twin = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    twin.weight = conv.weight
    model, x = (
        nn.Sequential(conv, nn.ReLU(), conv, twin, nn.ConvTranspose2d(2, 2, 1)),
        torch.randn(1, 2, 3, 3),
    )
    found = round_weights(model, x, Rounding(4))
    assert set(found.changed) == {"0", "3"}
    assert set(found.left) == {"4"}
    torch.testing.assert_close(found.module[0].weight, Rounding(4)(conv.weight))  # type: ignore[index]
    assert found.module[3].weight is found.module[0].weight  # type: ignore[index]


def test_a_network_with_trained_slopes_comes_back_from_its_file(tmp_path: Path) -> None:
    def sloped(slope: float) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 1), nn.PReLU(2, slope)).eval()

    x = torch.randn(2, 1, 3, 3)
    int8 = quantise(sloped(0.7), x, [x])
    save_quantised(int8, tmp_path / "net.safetensors")
    torch.testing.assert_close(load_quantised(tmp_path / "net.safetensors", sloped(0.1), x)(x), int8(x))
