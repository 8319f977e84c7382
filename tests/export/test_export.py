"""Exported bundles: verified, whole or absent, and nobody's files lost."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from nasplat.data import CLASSIFICATION, Task
from nasplat.errors import ExportError, MissingExtra
from nasplat.export import FORMATS, check_bundle, export_network, load_bundle, load_program
from nasplat.export.network import Network, prepare
from nasplat.files import file_hash

from .conftest import CARD, Exported, export, make


def refused(message: str, action: Callable[[], object], error: type[Exception] = ExportError) -> None:
    """The action fails with one plain line that matches the message."""
    with pytest.raises(error, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


@pytest.fixture
def copied(small: Exported, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(small.bundle.folder, tmp_path / "bundle"))


# What an export gives


def test_every_format_reproduces_the_network_in_a_process_without_nasplat(exported: Exported) -> None:
    bundle = exported.bundle
    assert bundle.fresh
    assert list(bundle.drift) == ["state", "pt2", "onnx"]
    assert max(bundle.drift.values()) <= 1e-5
    assert set(bundle.values.values()) == {bundle.value}
    expected = (exported.module(exported.inputs).argmax(1) == exported.targets).double().mean()
    assert bundle.value == pytest.approx(float(expected), abs=1e-12)


def test_a_bundle_lists_its_files_by_hash_and_holds_nothing_else(exported: Exported) -> None:
    bundle = check_bundle(exported.bundle.folder)
    assert {path.name for path in bundle.folder.iterdir()} == {*bundle.files, "card.json"}
    assert {*bundle.files} == {
        "network.py", "weights.safetensors", "network.json", "network.pt2", "network.onnx", "README.md",
    }  # fmt: skip
    assert all(file_hash(bundle.folder / name) == digest for name, digest in bundle.files.items())


def test_a_loaded_bundle_is_the_network_from_state_and_from_pt2(exported: Exported) -> None:
    x = exported.inputs[:3]
    expected = exported.module(x)
    torch.testing.assert_close(load_bundle(exported.bundle.folder)(x), expected, rtol=0, atol=1e-5)
    program = load_program(exported.bundle.folder / "network.pt2").module()
    torch.testing.assert_close(program(x), expected, rtol=0, atol=1e-5)


def test_the_onnx_file_takes_any_batch_and_carries_its_weights(exported: Exported) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        str(exported.bundle.folder / "network.onnx"), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]
    for n in (1, 7):
        (outputs,) = session.run(None, {"x": exported.inputs[:n].numpy()})
        expected = exported.module(exported.inputs[:n]).detach()
        torch.testing.assert_close(torch.from_numpy(outputs), expected, rtol=0, atol=1e-5)


def test_the_card_and_the_readme_say_how_good_where_from_and_how_to_load(exported: Exported) -> None:
    folder = exported.bundle.folder
    card = json.loads((folder / "card.json").read_text())
    assert {key: card[key] for key in CARD} == CARD
    assert card["export"]["formats"]["onnx"]["drift"] == exported.bundle.drift["onnx"]
    assert card["export"]["network"]["params"] == sum(p.numel() for p in exported.module.parameters())
    assert card["export"]["network"]["macs"] > 0
    assert card["export"]["versions"]["torch"] == str(torch.__version__)
    text = (folder / "README.md").read_text()
    assert "| accuracy | 0.97 | 1 | seed 0 |" in text
    assert "| latency, median | 1.25 | ms | a quiet CPU, inter-quartile range 0.1 ms |" in text
    assert "- origin: study digits, trial 17" in text
    assert all(f"### Load {name}" in text for name in FORMATS)


def test_network_json_describes_every_tensor(small: Exported) -> None:
    folder = small.bundle.folder
    description = json.loads((folder / "network.json").read_text())
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    assert description["architecture"] == CARD["architecture"]
    assert {name: tuple(t["shape"]) for name, t in description["tensors"].items()} == {
        name: tuple(tensor.shape) for name, tensor in weights.items()
    }


def test_an_export_leaves_the_module_as_it_was() -> None:
    module, inputs, _ = make("residual")
    module.train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    prepare(module, inputs)
    assert [part.training for part in module.modules()] == modes
    torch.testing.assert_close(dict(module.state_dict()), before, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_network_on_a_gpu_is_exported_from_a_copy(tmp_path: Path) -> None:
    module, inputs, targets = make("residual")
    module.cuda()
    bundle = export(module, tmp_path / "out", inputs.cuda(), targets.cuda(), formats=tuple(FORMATS))
    assert max(bundle.drift.values()) <= 1e-5
    assert {parameter.device.type for parameter in module.parameters()} == {"cuda"}


def test_a_regression_task_is_verified_by_its_own_metric(tmp_path: Path) -> None:
    module, inputs, _ = make("perceptron")
    task = Task("mse", "minimize", "1", nn.functional.mse_loss, lambda y, t: float((y - t).square().mean()))
    bundle = export(module, tmp_path / "out", inputs, torch.randn(300, 3), task=task)
    assert bundle.metric == "mse"
    assert bundle.values["state"] == pytest.approx(bundle.value, rel=1e-5)


# An export that fails leaves nothing


def tampered(network: Network, folder: Path, architecture: Any) -> list[str]:
    """Writes a network whose weights are not the network's."""
    weights = {name: tensor * 1.01 for name, tensor in network.weights.items()}
    return FORMATS_BEFORE["state"].write(replace(network, weights=weights), folder, architecture)


def dependent(network: Network, folder: Path, architecture: Any) -> list[str]:
    """Writes a source that needs nasplat."""
    source = network.source.replace("import torch\n", "import torch\nimport nasplat.errors\n", 1)
    return FORMATS_BEFORE["state"].write(replace(network, source=source), folder, architecture)


FORMATS_BEFORE = dict(FORMATS)


@pytest.mark.parametrize(
    ("write", "message"), [(tampered, "state gives other outputs: off by"), (dependent, "state: .*nasplat")]
)
def test_a_bundle_that_does_not_come_back_the_same_never_appears(
    write: Callable[..., list[str]],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small: Exported,
) -> None:
    monkeypatch.setitem(FORMATS, "state", replace(FORMATS["state"], write=write))
    refused(message, lambda: export(small.module, tmp_path / "out", small.inputs, small.targets))
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_changes_is_refused_though_the_outputs_are_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Exported
) -> None:
    def shifted(network: Network, folder: Path, architecture: Any) -> list[str]:
        weights = {name: t + 1e-5 if name == "layer3.bias" else t for name, t in network.weights.items()}
        return FORMATS_BEFORE["state"].write(replace(network, weights=weights), folder, architecture)

    monkeypatch.setitem(FORMATS, "state", replace(FORMATS["state"], write=shifted))
    scale = Task(
        "sum", "maximize", "1", nn.functional.mse_loss, lambda y, t: float((1e4 * (y.sum() - near)).round())
    )
    near = small.module(small.inputs).sum().item() - 0.01
    refused(
        "state has sum",
        lambda: export(small.module, tmp_path / "out", small.inputs, small.targets, task=scale),
    )
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_keeps_the_bundle_that_was_there(
    copied: Path, small: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "state", replace(FORMATS["state"], write=tampered))
    refused(
        "other outputs", lambda: export(small.module, copied, small.inputs, small.targets, overwrite=True)
    )
    assert check_bundle(copied).content == small.bundle.content


class Branching(nn.Module):
    """Its path depends on its values: it has no graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Fixed(nn.Module):
    """Takes its batch apart: no free batch size."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack(x.unbind(0))


def test_a_network_that_cannot_be_exported_is_told_in_one_line(tmp_path: Path, small: Exported) -> None:
    folder, inputs, targets = tmp_path / "out", small.inputs, small.targets
    refused("cannot trace Branching", lambda: export(Branching(), folder, inputs, targets))
    refused("layer .*ParametrizedLinear", lambda: export(
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))), folder, inputs, targets
    ))  # fmt: skip
    refused("does not run", lambda: export(nn.Linear(7, 2), folder, inputs, targets))
    refused("torch.export cannot", lambda: export(Fixed(), folder, inputs, targets, formats=("pt2",)))
    assert list(tmp_path.iterdir()) == []


def test_wrong_arguments_are_told_in_one_line(tmp_path: Path, small: Exported) -> None:
    def attempt(**changes: Any) -> Callable[[], object]:
        given = {"inputs": small.inputs, "targets": small.targets} | changes
        return lambda: export(small.module, tmp_path / "out", **given)

    refused("unknown format 'onx'; did you mean 'onnx'", attempt(formats=("state", "onx")))
    refused("formats must be a list", attempt(formats=()))
    refused("300 validation inputs have 2 targets", attempt(targets=small.targets[:2]))
    refused("at least one", attempt(inputs=small.inputs[:0], targets=small.targets[:0]))
    refused("plain JSON", attempt(card={"metrics": float("nan")}))
    refused("'export'", attempt(card={"export": 1}))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_names_the_command_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Exported
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name)
    )
    attempt = lambda: export(small.module, tmp_path / "out", small.inputs, small.targets, formats=("onnx",))  # noqa: E731
    refused(r"onnxruntime: pip install 'nasplat\[onnx\]'", attempt, MissingExtra)
    assert list(tmp_path.iterdir()) == []


# Folders that exist


def test_the_same_export_again_is_found_and_checked_and_not_done_again(copied: Path, small: Exported) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in copied.iterdir()}
    bundle = export(small.module, copied, small.inputs, small.targets)
    assert not bundle.fresh
    assert bundle.files == small.bundle.files
    assert {path.name: path.stat().st_mtime_ns for path in copied.iterdir()} == before


def test_another_export_is_replaced_only_when_asked(copied: Path, small: Exported) -> None:
    other, inputs, targets = make("perceptron")[0], small.inputs, small.targets
    with torch.no_grad():
        other.get_parameter("0.bias").add_(1.0)
    (copied / "__pycache__").mkdir()  # importing network.py by hand leaves this
    refused("holds another export.*--overwrite", lambda: export(other, copied, inputs, targets))
    assert check_bundle(copied).content == small.bundle.content
    bundle = export(other, copied, inputs, targets, overwrite=True)
    assert bundle.fresh
    assert bundle.content != small.bundle.content
    assert check_bundle(copied).files == bundle.files


def test_the_files_of_others_are_never_replaced(copied: Path, small: Exported, tmp_path: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    plain, file = tmp_path / "plain", tmp_path / "file"
    plain.mkdir()
    (plain / "photo.png").write_text("mine too")
    file.write_text("a file")
    changed = {"card": {"metrics": {}}, "overwrite": True}
    for folder, message in [
        (copied, "'notes.txt', which is not of its bundle"),
        (plain, "not empty and not a whole bundle"),
        (file, "not a folder"),
        (file / "out", "cannot write"),
    ]:
        refused(
            message,
            lambda folder=folder: export(small.module, folder, small.inputs, small.targets, **changed),
        )
    assert (copied / "notes.txt").read_text() + (plain / "photo.png").read_text() == "minemine too"


# Bundles that are damaged


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _rehash(folder: Path, name: str) -> None:
    """Let the card name the hash of a changed file, as somebody would who edits a bundle by hand."""
    card = json.loads((folder / "card.json").read_text())
    card["export"]["files"][name] = file_hash(folder / name)
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize("read", [check_bundle, load_bundle])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "weights.safetensors").unlink(), "weights.safetensors is missing"),
        (lambda b: _cut(b / "weights.safetensors"), "weights.safetensors is not what was exported"),
        (lambda b: (b / "network.py").write_text("import os"), "network.py is not what was exported"),
        (lambda b: (b / "card.json").unlink(), "has no card.json"),
        (lambda b: _cut(b / "card.json"), "card.json cannot be read"),
        (lambda b: (b / "card.json").write_bytes(b"\xff\xfe"), "card.json cannot be read"),
        (lambda b: (b / "card.json").write_text("[]"), "is not a bundle"),
        (lambda b: (b / "card.json").write_text('{"kind": "nasplat bundle 1"}'), "card.json is not complete"),
    ],
)
def test_a_damaged_bundle_is_told_in_one_line(
    read: Callable[[Path], object], damage: Callable[[Path], object], message: str, copied: Path
) -> None:
    damage(copied)
    refused(message, lambda: read(copied))


def test_a_card_cannot_name_files_outside_its_bundle(copied: Path) -> None:
    card = json.loads((copied / "card.json").read_text())
    card["export"]["files"]["../secret"] = "0"
    (copied / "card.json").write_text(json.dumps(card))
    refused("not complete", lambda: check_bundle(copied))


def test_weights_that_do_not_fit_the_source_are_refused_though_the_hashes_are_right(copied: Path) -> None:
    weights = safetensors.torch.load_file(copied / "weights.safetensors")
    path = copied / "weights.safetensors"
    safetensors.torch.save_file({k: v for k, v in weights.items() if k != "layer0.bias"}, path)
    _rehash(copied, path.name)
    refused("does not load", lambda: load_bundle(copied))
    _cut(path)
    _rehash(copied, path.name)
    refused("its weights", lambda: load_bundle(copied))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    refused("is not a bundle", lambda: load_bundle(tmp_path / "nowhere"))


def test_the_public_function_takes_a_path_as_text(small: Exported, copied: Path) -> None:
    bundle = export_network(
        small.module,
        str(copied),
        inputs=small.inputs,
        targets=small.targets,
        task=CLASSIFICATION,
        card=CARD,
    )  # type: ignore[arg-type]
    assert not bundle.fresh
