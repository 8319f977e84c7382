"""Named data sets: their facts are the published ones, their files are checked before they are trusted."""

from __future__ import annotations

import gzip
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nasplat.data import load_data
from nasplat.data.images import channel_statistics
from nasplat.errors import DataError


def test_digits_are_those_of_scikit_learn_split_without_overlap() -> None:
    data = load_data("digits", seed=3)
    mean, std = data.origin["mean"][0], data.origin["std"][0]
    pixels = torch.cat([s.inputs for s in (data.train, data.validation, data.test)]) * std + mean
    ours = {tuple((image * 16).round().int().flatten().tolist()) for image in pixels}
    assert ours == {tuple(image.astype(int).flatten().tolist()) for image in load_digits().images}
    assert (len(data.train), len(data.validation), len(data.test)) == (900, 400, 497)


def test_equal_seeds_give_equal_data_and_other_seeds_other_data() -> None:
    first, again, other = (load_data("translated_digits", seed=s, copies=1) for s in (1, 1, 2))
    assert first.hash == again.hash != other.hash


def test_translated_digits_have_the_sizes_that_were_asked_for() -> None:
    data = load_data("translated_digits", canvas=20, copies=2)
    assert data.input_shape == (1, 20, 20)
    assert (len(data.train), len(data.validation), len(data.test)) == (1800, 400, 497)
    assert data.train.targets[:900].equal(data.train.targets[900:])
    assert not data.train.inputs[:900].equal(data.train.inputs[900:])
    assert data.train.inputs.mean().abs() < 1e-3
    assert (data.train.inputs.std() - 1).abs() < 1e-3


def test_without_clutter_and_noise_a_translated_digit_is_the_digit_somewhere() -> None:
    plain, drawn = load_data("digits"), load_data("translated_digits", clutter=0, noise=0.0, copies=1)
    for data in (plain, drawn):
        data.train.inputs.mul_(data.origin["std"][0]).add_(data.origin["mean"][0])
    ink = [data.train.inputs.sum((1, 2, 3)) for data in (plain, drawn)]
    torch.testing.assert_close(ink[0], ink[1], rtol=0, atol=0.05)
    window = drawn.train.inputs[0, 0].unfold(0, 8, 1).unfold(1, 8, 1)
    distance = (window - plain.train.inputs[0, 0]).abs().amax((2, 3))
    assert distance.min() < 1e-3


def test_clutter_comes_from_other_digits_of_the_same_split() -> None:
    data = load_data("translated_digits", clutter=2, noise=0.0, copies=1)
    bare = load_data("translated_digits", clutter=0, noise=0.0, copies=1)
    more = [d.train.inputs * d.origin["std"][0] + d.origin["mean"][0] for d in (data, bare)]
    gained = more[0].sum((1, 2, 3)) - more[1].sum((1, 2, 3))
    assert gained.min() > -0.05  # to the rounding of the statistics, ink is only added
    assert (gained > 0.5).double().mean() > 0.9


@pytest.mark.parametrize(
    ("argument", "value"), [("canvas", 7), ("clutter", -1), ("noise", -0.1), ("copies", 0)]
)
def test_impossible_arguments_of_translated_digits_are_refused(argument: str, value: float) -> None:
    with pytest.raises(DataError, match=argument):
        load_data("translated_digits", **{argument: value})


def test_fashion_mnist_has_its_published_facts(real_data: Path) -> None:
    data = load_data("fashion_mnist", folder=real_data / "fashion-mnist")
    assert (len(data.train), len(data.validation), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.input_shape == (1, 28, 28)
    assert data.test.targets.bincount().tolist() == [1000] * 10
    both = torch.cat([data.train.targets, data.validation.targets])
    assert both.bincount().tolist() == [6000] * 10
    pixels = (
        torch.cat([data.train.inputs, data.validation.inputs]) * data.origin["std"][0]
        + data.origin["mean"][0]
    )
    assert float(pixels.double().mean()) == pytest.approx(0.2860, abs=5e-5)
    assert float(pixels.double().std()) == pytest.approx(0.3530, abs=5e-5)
    labels = gzip.decompress((real_data / "fashion-mnist" / "train-labels-idx1-ubyte.gz").read_bytes())
    where = int(np.random.default_rng(0).permutation(60_000).tolist().index(0))
    assert (
        both[where - 6_000].item() == labels[8] == 9
    )  # the first label; order[:6000] is the validation split


def test_cifar10_has_its_published_facts(real_data: Path) -> None:
    from nasplat.data.cifar10 import TEST, TRAIN, _read

    images, labels = _read(real_data / "cifar10", TRAIN)
    assert np.bincount(labels).tolist() == [5000] * 10
    mean, std = channel_statistics(images)
    assert mean == [0.4914, 0.4822, 0.4465]
    assert std == [0.2470, 0.2435, 0.2616]
    assert np.bincount(_read(real_data / "cifar10", TEST)[1]).tolist() == [1000] * 10


def test_limit_and_validation_count_training_images(real_data: Path) -> None:
    data = load_data("fashion_mnist", folder="fashion-mnist", base=real_data, limit=500, validation=100)
    assert (len(data.train), len(data.validation), len(data.test)) == (400, 100, 10_000)
    with pytest.raises(DataError, match="limit = 70000: expected 2 to 60000"):
        load_data("fashion_mnist", folder="fashion-mnist", base=real_data, limit=70_000)
    with pytest.raises(DataError, match=r"validation = -0\.5: expected a share"):
        load_data("fashion_mnist", folder="fashion-mnist", base=real_data, validation=-0.5)


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """The four files of Fashion-MNIST, all pixels and labels 0, plain."""
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        images = np.array([2051, count, 28, 28], ">i4").tobytes() + bytes(count * 784)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(images)
        labels = np.array([2049, count], ">i4").tobytes() + bytes(count)
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return tmp_path


LABELS = "t10k-labels-idx1-ubyte"


def test_plain_files_are_read_as_well(fashion: Path) -> None:
    assert len(load_data("fashion_mnist", folder=fashion).test) == 10_000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "is missing"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "holds 10007 bytes, expected 10008"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "holds more than 10008 bytes"),
        (lambda p: p.write_bytes(b"\x00" * 10_008), "starts with"),
        (lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\x0a"), "label 10, expected 0 to 9"),
        (lambda p: _cut_gzip(p), "is damaged"),
    ],
)
def test_a_damaged_file_gets_one_line_that_names_it_and_its_source(
    fashion: Path, damage, message: str
) -> None:  # type: ignore[no-untyped-def]
    damage(fashion / LABELS)
    with pytest.raises(DataError, match=message) as caught:
        load_data("fashion_mnist", folder=fashion)
    line = str(caught.value)
    assert LABELS in line
    assert "github.com/zalandoresearch/fashion-mnist" in line
    assert "\n" not in line


def _cut_gzip(path: Path) -> None:
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name(path.name + ".gz").write_bytes(packed[:-6])


def test_a_truncated_xz_file_is_damaged_and_not_an_empty_data_set(tmp_path: Path) -> None:
    whole = lzma.compress(bytes(30_730_000))
    for k in range(1, 6):
        (tmp_path / f"data_batch_{k}.bin.xz").write_bytes(whole if k < 5 else whole[:-20])
    with pytest.raises(DataError, match=r"data_batch_5\.bin\.xz is damaged.*www\.cs\.toronto\.edu"):
        load_data("cifar10", folder=tmp_path)


def test_a_folder_comes_from_the_environment_where_none_is_given(
    fashion: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("root")
    shutil.move(fashion, root / "fashion-mnist")
    monkeypatch.setenv("NASPLAT_DATA", str(root))
    assert len(load_data("fashion_mnist").test) == 10_000
    monkeypatch.delenv("NASPLAT_DATA")
    with pytest.raises(DataError, match="set NASPLAT_DATA"):
        load_data("fashion_mnist")
    with pytest.raises(DataError, match="is not a folder"):
        load_data("fashion_mnist", folder=root / "nowhere")
