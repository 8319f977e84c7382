"""The networks that a person can name, and weights that do not fit them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from nasplat.data import CLASSIFICATION
from nasplat.errors import DataError, ExportError, InvalidStudy, NasplatError
from nasplat.export import export_network
from nasplat.study.pruning.model import load_subject
from nasplat.study.pruning.program import load_layers

from .nets import Baked, Small


def write_program(module: nn.Module, path: Path, free: bool = True) -> Path:
    """A program of torch.export without example inputs, which torch would pickle."""
    x = torch.randn(2, 1, 6, 6)
    shapes = ({0: torch.export.Dim("batch", min=1)},) if free else None
    program = torch.export.export(module.eval(), (x,), dynamic_shapes=shapes)
    program.example_inputs = None
    torch.export.save(program, path)
    return path


def one_line(message: str, action: Callable[[], Any], error: type[Exception] = DataError) -> None:
    with pytest.raises(error, match=message) as told:
        action()
    assert "\n" not in str(told.value)


def test_a_module_gets_its_weights_and_the_file_stays_the_authors(place: Path) -> None:
    subject = load_subject("nets.py:small", Path("small.safetensors"))
    state = safetensors.torch.load_file("small.safetensors")
    assert subject.name == "small"
    for name, tensor in subject.module.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert load_subject("nets.py:small").hash != subject.hash
    assert load_subject("nets.py:small", Path("small.safetensors")).hash == subject.hash


def test_weights_that_do_not_fit_are_told_by_the_first_tensor(place: Path) -> None:
    state = safetensors.torch.load_file("small.safetensors")
    torch.nn.init.zeros_(state["hidden.weight"])
    wide = state | {"hidden.weight": torch.zeros(11, 48), "head.weight": torch.zeros(3, 11)}
    safetensors.torch.save_file(wide, "wide.safetensors")
    one_line(
        r"hidden\.weight is \(11, 48\), expected \(10, 48\)",
        lambda: load_subject("nets.py:small", Path("wide.safetensors")),
    )
    del state["bn1.bias"]
    safetensors.torch.save_file(state, "less.safetensors")
    one_line(r"bn1\.bias is absent", lambda: load_subject("nets.py:small", Path("less.safetensors")))
    Path("text.safetensors").write_text("no tensors")
    one_line("cannot be read as safetensors", lambda: load_subject("nets.py:small", Path("text.safetensors")))
    one_line("cannot be read as safetensors", lambda: load_subject("nets.py:small", Path("none.safetensors")))


def test_weights_that_are_not_finite_are_refused(place: Path) -> None:
    state = safetensors.torch.load_file("small.safetensors")
    state["conv2.bias"][3] = float("nan")
    safetensors.torch.save_file(state, "nan.safetensors")
    one_line(
        r"conv2\.bias has numbers that are not finite",
        lambda: load_subject("nets.py:small", Path("nan.safetensors")),
    )


def test_what_is_no_network_is_told(place: Path) -> None:
    one_line("is no network", lambda: load_subject("resnet"), InvalidStudy)
    one_line("no file", lambda: load_subject("none.pt2"), InvalidStudy)
    one_line("has no 'smal'", lambda: load_subject("nets.py:smal"), NasplatError)
    one_line("not a bundle", lambda: load_subject("."), ExportError)
    one_line("has weights of its own", lambda: load_subject(".", Path("small.safetensors")), InvalidStudy)


@pytest.mark.usefixtures("quick")
def test_bundles_of_every_form_are_the_network(place: Path) -> None:
    subject = load_subject("nets.py:small", Path("small.safetensors"))
    x = torch.randn(5, 1, 6, 6)
    options: dict[str, Any] = {
        "inputs": x,
        "targets": torch.zeros(5).long(),
        "task": CLASSIFICATION,
        "card": {},
    }
    for formats in (("state",), ("pt2",)):
        export_network(subject.module, place / "bundle", formats=formats, **options)
        again = load_subject("bundle")
        assert again.name == "bundle"
        torch.testing.assert_close(again.module(x), subject.module(x), atol=1e-5, rtol=0)
        assert {type(m) for m in again.module.modules()} >= {nn.Conv2d, nn.BatchNorm2d, nn.Linear}
        shutil.rmtree(place / "bundle")


def test_a_program_comes_back_as_layers_that_train(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Small().eval()
    found = load_layers(write_program(module, tmp_path / "net.pt2"))
    x = torch.randn(7, 1, 6, 6)
    torch.testing.assert_close(found(x), module(x), atol=1e-6, rtol=0)
    assert {name: t.shape for name, t in found.state_dict().items()} == {
        name: t.shape for name, t in module.state_dict().items()
    }
    found.train()
    found(x)
    assert not torch.equal(found.get_buffer("bn1.running_mean"), module.bn1.running_mean)


class Odd(nn.Module):
    """Whatever a layer does not make: a shared layer, a bare parameter, slices, sizes, means, a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(6, 1, 1))
        self.conv = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 6)
        self.stem = nn.Conv2d(1, 6, 1)
        self.line = nn.Linear(6, 6)
        self.last = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) * self.scale
        x = self.norm(self.conv(self.conv(x)))[:, :, 1:-1]
        a, b = x.chunk(2, dim=1)
        x = torch.cat([a + b, a - b], 1).permute(0, 2, 3, 1).reshape(x.shape[0], -1, 6)
        return nn.functional.linear(self.last(self.line(x).mean(1)), self.line.weight)


def test_a_program_of_odd_operations_comes_back_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Odd().eval()
    found = load_layers(write_program(module, tmp_path / "odd.pt2"))
    x = torch.randn(3, 1, 6, 6)
    torch.testing.assert_close(found(x), module(x), atol=1e-6, rtol=0)
    assert sum(isinstance(m, nn.Conv2d) for m in found.modules()) == 2


def test_a_size_that_a_program_holds_freezes_what_stands_before_it(tmp_path: Path) -> None:
    from nasplat.prune import prunable

    frozen = prunable(
        load_layers(write_program(Baked(), tmp_path / "baked.pt2")), torch.randn(2, 1, 6, 6)
    ).frozen
    assert any("conv2" in name for name in frozen), frozen
    assert not any("conv1" in name or "hidden" in name for name in frozen), frozen


def test_a_program_for_one_size_of_batch_is_told(tmp_path: Path) -> None:
    class Fixed(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).reshape(x.shape[0], 3)

    path = write_program(Fixed(), tmp_path / "fixed.pt2", free=False)
    one_line("free batch size", lambda: load_layers(path), ExportError)


def test_a_damaged_program_is_told(tmp_path: Path) -> None:
    path = write_program(Small(), tmp_path / "net.pt2")
    path.write_bytes(path.read_bytes()[:2000])
    one_line("not a whole .pt2 archive", lambda: load_layers(path), ExportError)
