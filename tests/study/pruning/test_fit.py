"""Fitting a metanetwork from a page: what it learns from, resuming, and pages that make no sense."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.data import load_data
from nasplat.errors import NasplatError
from nasplat.networks import resnet
from nasplat.prune.meta import Pruner
from nasplat.study.pruning import Finetuning, PruneOrder, fit, prune_model, training
from nasplat.study.pruning.fit import fit_metanet
from nasplat.study.pruning.page import read_page
from nasplat.study.pruning.run import Delivery
from nasplat.supernet import train_network

PAGE = """
[data]
name = "nets.py:stripes"
[models]
family = "resnet"
widths = [[3, 4], [4, 4]]
depths = [6]
count = 3
epochs = 1
[metanet]
width = 4
layers = 1
epochs = 2
[losses]
batch = 16
[judge]
speedups = [1.5]
calibration = 32
"""

NET = """
from nasplat.networks import resnet

def NET():
    return resnet(6, widths={widths}, channels=1, classes=3)
"""
VGG = 'family = "vgg"\nwidths = [[2, 2, 2, 2, 2]]\ndepths = [11]'
Order = Callable[..., PruneOrder]
Deliver = Callable[..., Delivery]


class Notes:
    """A watcher that remembers the lines of trials."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def training(self, done: int, total: int, figures: Mapping[str, float]) -> None: ...

    def trial(self, done: int, total: int, line: str) -> None:
        self.lines.append(f"{done}/{total} {line}")


@pytest.fixture
def page(place: Path) -> Path:
    path = place / "meta.toml"
    path.write_text(PAGE)
    return path


def test_a_page_becomes_a_metanetwork_that_prunes_its_family(page: Path) -> None:
    notes = Notes()
    fitted = fit_metanet(read_page(page), watcher=notes)
    card = fitted.pruner.card
    assert fitted.folder == page.with_suffix("")
    assert (card.networks, card.held_out, len(card.epochs)) == (2, 1, 2)
    assert card.command == f"nasplat fit metanet {page} -o {fitted.folder}"
    assert [line[:3] for line in notes.lines] == ["1/3", "2/3", "3/3", "1/2", "2/2"]
    assert Pruner.load(fitted.folder).card == card


def test_a_fit_that_has_nothing_left_to_do_keeps_the_card_of_the_code_that_trained(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "commit_of", lambda: "first")
    fit_metanet(read_page(page))
    monkeypatch.setattr(fit, "commit_of", lambda: "second")
    assert fit_metanet(read_page(page)).pruner.card.commit == "first"
    page.write_text(PAGE.replace("epochs = 2", "epochs = 3"))
    longer = fit_metanet(read_page(page)).pruner.card
    assert (longer.commit, len(longer.epochs)) == ("second", 3)


def test_an_interrupted_fit_goes_on_to_the_same_metanetwork(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_metanet(read_page(page), place / "whole").pruner
    trained: list[int] = []
    train = train_network

    def dies(*given: object, **more: object) -> None:
        trained.append(1)
        if len(trained) == 3:
            raise KeyboardInterrupt
        train(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "train_network", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_metanet(read_page(page), place / "parts")
    parts = fit_metanet(read_page(page), place / "parts").pruner
    assert len(trained) == 4
    for name, tensor in whole.rewriter.state_dict().items():
        assert torch.equal(tensor, parts.rewriter.state_dict()[name]), name


@pytest.mark.usefixtures("quick")
def test_a_fitted_metanetwork_scores_and_rewrites_what_is_of_its_family(
    page: Path, place: Path, order: Order, delivery: Deliver
) -> None:
    folder = fit_metanet(read_page(page)).folder
    (place / "net.py").write_text(NET.format(widths=(4, 6)))
    mine = {"model": "net.py:NET", "weights": None, "metanet": str(folder)}
    scored = prune_model(order(**mine), delivery("a"))
    assert scored.plan.score == f"metanetwork {folder}"
    rewritten = prune_model(order(**mine, finetuning=Finetuning(1, before=1, batch_size=16)), delivery("b"))
    assert rewritten.plan.score == "l2"
    assert rewritten.card["pruned"]["metanetwork"] == str(folder)
    assert {name: len(values) for name, values in rewritten.card["pruned"]["epochs"].items()} == {
        "rewritten": 1,
        "pruned": 1,
    }
    assert scored.trial != rewritten.trial
    with pytest.raises(NasplatError, match="metanetwork learned from"):
        prune_model(order(metanet=str(folder)), delivery("c"))
    assert not (place / "c").exists()
    with pytest.raises(NasplatError, match="no metanetwork 'none'"):
        prune_model(order(metanet="none"), delivery("c"))


def test_networks_of_ones_own_are_learned_from(page: Path, place: Path) -> None:
    (place / "own").mkdir()
    fitted = fit_metanet(read_page(page), place / "fitted")
    for path in (fitted.folder / "models").glob("000[02].safetensors"):
        shutil.copy(path, place / "own" / path.name)
    (place / "net.py").write_text(NET.format(widths=_width(place / "own")))
    family, rest = PAGE.index("family"), PAGE.index("[metanet]")
    page.write_text(f'{PAGE[:family]}folder = "own"\nmodule = "net.py:NET"\n{PAGE[rest:]}')
    card = fit_metanet(read_page(page), place / "again").pruner.card
    assert (card.networks, card.held_out) == (1, 1)
    (place / "net.py").write_text(NET.replace("classes=3", "classes=2").format(widths=_width(place / "own")))
    with pytest.raises(NasplatError, match="none of the 2 files"):
        fit_metanet(read_page(page), place / "misfit")


def test_networks_of_a_zoo_are_drawn_from_all_its_forms_and_must_fit_the_data(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    class Forms:
        """Twenty networks of one width, then twenty of another."""

        rows = ({"status": "given"},) * 40
        skipped = ()

        def module(self, place: int) -> nn.Module:
            built.append(place)
            return resnet(6, widths=(3 + place // 20, 4), channels=1, classes=classes).eval()

    family, rest = PAGE.index("family"), PAGE.index("[metanet]")
    page.write_text(f'{PAGE[:family]}zoo = "zoo"\ncount = 8\n{PAGE[rest:]}')
    monkeypatch.setattr(training, "open_zoo", lambda path: Forms())
    mine, data, classes = read_page(page), load_data("nets.py:stripes"), 3
    found = training.trained_networks(mine, data, page.parent, "cpu", Notes())
    assert {module.get_parameter("conv1.weight").shape[0] for module in found} == {3, 4}
    assert (len(found), len({*built})) == (8, 8)
    classes = 2
    with pytest.raises(NasplatError, match=r"gives \(2, 2\) for 2 inputs of .*stripes, which has 3 classes"):
        training.trained_networks(mine, data, page.parent, "cpu", Notes())


def _width(folder: Path) -> tuple[int, int]:
    from safetensors.torch import load_file

    state = load_file(min(folder.iterdir()))
    return state["conv1.weight"].shape[0], state["fc.weight"].shape[1]


def test_a_folder_of_other_networks_or_judges_is_refused(page: Path) -> None:
    fit_metanet(read_page(page))
    page.write_text(PAGE.replace("speedups = [1.5]", "speedups = [2.0]"))
    with pytest.raises(NasplatError, match="made with judge"):
        fit_metanet(read_page(page))
    page.write_text(PAGE.replace("depths = [6]", "depths = [10]"))
    with pytest.raises(NasplatError, match="made with depths"):
        fit_metanet(read_page(page))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("speedups", "speedup", r"\[judge\] has no key 'speedup'; did you mean 'speedups'"),
        ("[losses]", "[loses]", "no table 'loses'; did you mean 'losses'"),
        ("[models]", "[model]", "no table 'model'; did you mean 'models'"),
        ("epochs = 2", 'epochs = "two"', r"\[metanet\] epochs = 'two'"),
        ("epochs = 2", "epochs = 0", "epochs = 0"),
        ("count = 3", "count = 1", "at least 2 networks"),
        ("batch = 16", "batch = 0", r"\[losses\] batch = 0"),
        ("batch = 16", "batch = 97", "1 batches of 97 of 96 inputs"),
        ("[1.5]", "[0.5]", r"\[judge\] speedups = \[0\.5\]"),
        ("calibration = 32", "before = -1", r"\[judge\] before = -1"),
        ('family = "resnet"\nwidths = [[3, 4], [4, 4]]\ndepths = [6]', VGG, "does not take inputs"),
        ('family = "resnet"', "", "give one of them"),
        ('family = "resnet"', 'family = "resnet"\nzoo = "zoo"', "zoo and family; give one of them"),
        ('family = "resnet"', 'family = "resnets"', "did you mean 'resnet'"),
        ("depths = [6]", "depths = [7]", "depth 7 does not fit"),
        ('name = "nets.py:stripes"', "", r"\[data\] needs 'name'"),
        ("[data]", "data", "is not TOML"),
    ],
)
def test_a_page_that_makes_no_sense_is_one_line(page: Path, before: str, after: str, message: str) -> None:
    page.write_text(PAGE.replace(before, after, 1))
    with pytest.raises(NasplatError, match=message) as told:
        fit_metanet(read_page(page))
    assert "\n" not in str(told.value)
    assert not [*page.with_suffix("").glob("models/*.safetensors")], "it is told before anything is trained"
