"""A trained metanetwork in use: files, families, scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from nasplat.channels import channel_spec
from nasplat.errors import DataError, NasplatError
from nasplat.prune.meta import PRUNERS, Pruner, train_pruner
from nasplat.prune.scores import Evidence

from .pupils import EXAMPLE, TINY, pupil, task


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("pruner")
    train_pruner(task(), made, TINY)
    return made


def test_what_is_saved_and_loaded_rewrites_alike(folder: Path, tmp_path: Path) -> None:
    first = Pruner.load(folder)
    first.save(tmp_path)
    again = Pruner.load(tmp_path.name, tmp_path.parent)
    assert again.card == first.card
    one, other = (p.rewrite(pupil(5, 9), EXAMPLE).state_dict() for p in (first, again))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_rewriting_leaves_the_network_as_it_was_and_keeps_its_mode(folder: Path) -> None:
    network = pupil().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    easy = Pruner.load(folder).rewrite(network, EXAMPLE)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert easy.training
    assert not torch.equal(easy.state_dict()["0.weight"], before["0.weight"])


def test_importance_is_the_share_of_the_greatest_group_norm_of_the_rewritten_network(folder: Path) -> None:
    pruner, network = Pruner.load(folder), pupil(5, 9)
    importance = pruner.importance(network, EXAMPLE)
    spec, easy = channel_spec(network, EXAMPLE), pruner.rewrite(network, EXAMPLE).state_dict()
    block = next(space for space in spec.spaces if "3.conv1" in space.name)
    own = [easy["3.conv1.weight"], easy["3.bn1.weight"], easy["3.conv2.weight"].transpose(0, 1)]
    squares = sum(t.reshape(5, -1).double().square().sum(1) for t in own) / len(own)
    torch.testing.assert_close(
        importance[block.start : block.stop], squares / squares.max(), atol=1e-6, rtol=1e-5
    )
    assert importance.shape == (max(space.stop for space in spec.spaces),)
    assert torch.equal(pruner(Evidence(network, (EXAMPLE,), spec)), importance)


def test_other_widths_of_the_family_are_rewritten_and_what_lies_beyond_is_refused_in_one_line(
    folder: Path,
) -> None:
    pruner = Pruner.load(folder)
    pruner.rewrite(pupil(7), EXAMPLE)
    with pytest.raises(DataError, match=r"has \d+ neurons, .* have \d+ to \d+") as large:
        pruner.rewrite(pupil(40), EXAMPLE)
    with pytest.raises(DataError, match=r"has after: tanh, .*learned from networks of") as strange:
        pruner.importance(pupil(4, inner=[nn.Conv2d(4, 4, 3), nn.Tanh()]), EXAMPLE)
    with pytest.raises(DataError, match="has conv 1x1,"):
        pruner.rewrite(pupil(4, inner=[nn.Conv2d(4, 4, 1), nn.ReLU()]), EXAMPLE)
    assert "\n" not in str(large.value) + str(strange.value)


def test_files_that_are_not_each_others_or_damaged_are_refused(folder: Path, tmp_path: Path) -> None:
    Pruner.load(folder).save(tmp_path)
    card = tmp_path / "card.json"
    page = json.loads(card.read_text())
    card.write_text(json.dumps(page | {"weights": "0" * 64}))
    with pytest.raises(NasplatError, match="is not the file that"):
        Pruner.load(tmp_path)
    card.write_text(json.dumps(page | {"strange": 1}))
    with pytest.raises(NasplatError, match="holds no trained metanetwork"):
        Pruner.load(tmp_path)
    card.write_text(json.dumps(page | {"settings": page["settings"] | {"width": 16}}))
    with pytest.raises(NasplatError, match="of another version"):
        Pruner.load(tmp_path)


def test_an_unknown_name_is_told_what_is_known(tmp_path: Path) -> None:
    names = [place.name for place in PRUNERS.shipped()]
    with pytest.raises(NasplatError, match="no trained metanetwork 'nothing'") as told:
        PRUNERS.find("nothing", tmp_path)
    assert all(name in str(told.value) for name in names)
